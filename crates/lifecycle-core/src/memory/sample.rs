//! What a judge of memory is given.

use crate::wire::ids::Incarnation;
use crate::wire::time::ServerTime;

/// Memory of one agent at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySample {
    /// The agent.
    pub id: String,
    /// Its life; `None` for an agent on the plain protocol.
    pub incarnation: Option<Incarnation>,
    /// What it is alike to; empty where that is not known.
    pub kind: String,
    /// When.
    pub at: ServerTime,
    /// What it may use, in bytes, where that is known.
    pub limit: Option<u64>,
    /// Resident bytes.
    pub rss: u64,
    /// Heap in use, in bytes.
    pub heap_used: u64,
}

/// One look at an agent's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RssSample {
    /// When. In a trace its own clock stands for the store's.
    pub at: ServerTime,
    /// Resident memory of its process tree.
    pub rss_bytes: u64,
    /// What it must not exceed, if there is such a limit.
    pub limit_bytes: Option<u64>,
}
