//! The only place that issues a Redis command.
//!
//! [`Store`] is the connection; its methods are the operations of the protocol, grouped by who performs them.
//! Whatever two processes can race for is one Lua script under `src/scripts/`, atomic and fenced by the writer's
//! incarnation. [`Bus`] is the event channel, as a stream of hints.
//!
//! ```text
//!   agents      register · beat · own            an agent, for itself
//!   tasks       begin · finish                   an agent, for its work
//!   sprints     start · assign · take · end      a coordinator
//!   sweeping    observe · lock · mark            a sweeper
//!   plain       adopt · find what was left       a sweeper
//!   removal     release · reap                   an agent, or whoever cleans up after it
//!   orders      order · evidence · announce      anybody
//!   fleet       read                             anybody
//!   memory      sample · baseline · leak latch   a sweeper
//!   trends      where memory is going            a sweeper; read by anybody
//! ```

mod agents;
mod bus;
mod coordinator_reads;
mod deployment;
mod diagnosis;
mod error;
mod fleet;
mod fleet_usage;
mod orders;
mod owned_by_name;
mod plain;
mod refusal;
mod removal;
mod reply;
mod scripts;
mod sprints;
mod store;
mod sweeping;
mod tasks;
mod tls;
mod trends;

pub use agents::{BeatReply, Fenced, Life, Registered};
pub use bus::{Bus, Hint, Listening, Missed};
pub use deployment::Deployment;
pub use error::StoreError;
pub use fleet::{AgentView, LogEntry};
pub use fleet_usage::{AgentUsage, IndexCursor};
pub use plain::{Differences, is_usable};
pub use refusal::Refusal;
pub use removal::{Reap, ReapOutcome, Removed};
pub use sprints::{Assigned, Incoming, SprintEnded, SprintStarted, TaskRecords};
pub use store::{Store, Troubles};
pub use sweeping::{Grant, HoldChange, Shortened};
pub use tasks::TaskReply;
pub use trends::TrendNote;
