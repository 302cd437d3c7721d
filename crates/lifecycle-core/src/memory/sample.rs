//! Samples of an agent's memory, as the detectors take them.

use crate::wire::ids::Incarnation;
use crate::wire::time::ServerTime;

/// Memory of one agent at one time, for the fleet's growth and the leak detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySample {
    /// The agent's id.
    pub id: String,
    /// Its life; `None` for an agent on the plain protocol.
    pub incarnation: Option<Incarnation>,
    /// Its kind; empty where that is not known.
    pub kind: String,
    /// When it was taken.
    pub at: ServerTime,
    /// Its memory limit in bytes; absent without one, or where it is not known.
    pub limit: Option<u64>,
    /// Resident memory of its process tree, in bytes.
    pub rss: u64,
    /// Heap in use, in bytes.
    pub heap_used: u64,
}

/// One sample as the leak detector of one agent takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RssSample {
    /// When it was taken. In a trace its own clock stands for the store's.
    pub at: ServerTime,
    /// Resident memory of the process tree.
    pub rss_bytes: u64,
    /// The memory limit, if there is one.
    pub limit_bytes: Option<u64>,
}
