//! Samples of an agent's memory, as the detectors take them.

use crate::wire::ids::Incarnation;

/// Memory of one agent at one time, for the fleet's growth and the leak detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySample {
    /// The agent's id.
    pub id: String,
    /// Its life; `None` for an agent on the plain protocol.
    pub incarnation: Option<Incarnation>,
    /// Its kind; empty where that is not known.
    pub kind: String,
    /// When, in ms of server time.
    pub at: u64,
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
    /// When, in ms since the epoch.
    pub at_ms: u64,
    /// Resident memory of the process tree.
    pub rss_bytes: u64,
    /// The memory limit, if there is one.
    pub limit_bytes: Option<u64>,
}
