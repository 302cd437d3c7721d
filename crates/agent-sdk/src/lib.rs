//! What a Rust agent embeds: register, beat, tasks, shutdown, fencing.
//!
//! ```no_run
#![doc = include_str!("../examples/worker.rs")]
//! ```
//!
//! What it does for you:
//!
//! - **Beating** goes on by itself, and no error ends it. While the store is away, you only get no new tasks. A store
//!   that lost its memory is told everything again, under the same incarnation.
//! - **Every write is fenced.** Once this life was reaped or replaced, [`Agent::fenced`] resolves and nothing can be
//!   written any more. So a process that wakes up too late does no harm.
//! - **Keys** declared with [`Agent::own_key`] go when the agent goes, however it goes.
//! - **Things** that are no keys (a worktree, a container, a file, something to be run), declared with
//!   [`Agent::own_thing`], are undone when the agent goes. Work that is nowhere else is never lost.
//! - **Shutdown** on a signal or an order finishes the tasks in hand, hands the rest back and removes every key.

mod agent;
mod beat;
mod coordinator_loss;
mod error;
mod heartbeat;
pub mod leftovers;
mod listener;
mod lock;
mod loss_signal;
mod memory_tracker;
pub mod process;
mod settings;
mod shared;
mod shutdown;
mod signals;
mod stop_state;
mod takeover;
mod tasks;
mod tasks_in_hand;
mod things;
pub mod witness;

pub use agent::Agent;
pub use error::AgentError;
pub use lifecycle_core::agent::shutdown::{Stop, StopCause, Urgency};
pub use lifecycle_core::agent::thing::{Thing, ThingKind};
pub use lifecycle_core::wire::record::AgentState;
pub use lifecycle_core::wire::task::{Assignment, Outcome};
pub use settings::{AgentSettings, host};
pub use tasks::{Attempt, Work};
