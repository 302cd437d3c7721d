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
//!   ended_namespace whether nothing runs any more where a life was
//!   endings     what it knows of the processes it has told (no I/O)
//!   memory_use  what processes use
//!   host_memory what the host has
//!   ledger      what a life writes down of its processes, which outlives its record in the store
//!   asker       which life a process may speak for
//!   things      what a life owns beside keys, and how it is undone
//!   leftovers   what lives that are over left on this host, and how it is ended
//!   strangers   what other agents' programs left on this host
//!   scratch     the small files of one process
//! ```

mod asker;
mod ended_namespace;
mod ender;
mod endings;
mod host_memory;
mod identity;
mod ledger;
mod leftovers;
mod life_cgroup;
mod lives_folder;
mod memory_use;
mod runtime_folder;
mod scratch;
mod signal;
mod strangers;
mod subreaper;
pub mod things;
mod tree;

pub use asker::{NotOfLife, life_of_caller};
pub use ender::{Ender, has_no_child};
pub use host_memory::host_memory;
pub use identity::{ProcessId, TOKEN_VARIABLE, is_proven_gone, place, process_here, token};
pub use ledger::{Ledger, ledgers, remove_ledger};
pub use leftovers::{
    Leftover, LifeName, Mark, Remains, Told, end, find, find_noting, is_empty_for_sure, tidy,
};
pub use life_cgroup::{LifeCgroup, OutOfMemory, remove_left_cgroups};
pub use memory_use::{Cgroup, Resident, own_cgroup, proportional, resident, tree_of};
pub use scratch::{Scratch, remove_left_scratch};
pub use signal::{signal_group, signal_process};
pub use strangers::{Stranger, end_stranger, strangers};
pub use subreaper::Subreaper;
pub use tree::{Descent, Tree, living_below};
