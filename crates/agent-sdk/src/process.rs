//! Processes, told apart by (pid, start time) and never by name.
//!
//! Pids are used again; a pid together with its process's start time is not. Everything here reads `/proc`. Systems
//! without it cannot prove a process dead nor find stragglers, and there the answer is "unknown", never "dead".
//!
//! ```text
//!   identity    which process is meant, and whether it is there
//!   subreaper   this process adopts whom its descendants leave behind
//!   tree        which processes belong to a life: by descent, by token
//!   ender       one thread that ends trees, and says what was proven
//!   life_cgroup the cgroup v2 of a life
//!   endings     what it knows of the processes it has told (no I/O)
//!   memory_use  what processes use
//! ```

mod ender;
mod endings;
mod identity;
mod life_cgroup;
mod memory_use;
mod scratch;
mod signal;
mod subreaper;
mod tree;

pub use ender::Ender;
pub use identity::{ProcessId, TOKEN_VARIABLE, is_proven_gone, place, process_here, token};
pub use life_cgroup::LifeCgroup;
pub use memory_use::{Cgroup, Resident, own_cgroup, proportional, resident, tree_of};
pub use scratch::{Scratch, remove_left_scratch};
pub use signal::{signal_group, signal_process};
pub use subreaper::Subreaper;
pub use tree::{Descent, Tree, living_below};
