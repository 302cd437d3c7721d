//! What the detector finds of an agent's memory: alerts with their evidence, and the trend that people see.

use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

word_enum! {
    /// What the detector alerts on.
    Finding, "finding" {
        /// The agent takes memory and does not give it back.
        Leak = "leak",
        /// At the present pace the limit is reached within five minutes.
        Runaway = "runaway",
    }
}

/// An alert with its evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakVerdict {
    /// Time of the sample that decided.
    pub at: ServerTime,
    /// What was found.
    pub finding: Finding,
    /// The robust slope over the window.
    pub slope_bytes_per_hour: f64,
    /// How far back the growth was looked at, in ms.
    pub window_ms: u64,
    /// 0 to 1: how orderly the growth is, and how far beyond the usual (or how near the limit).
    pub confidence: f64,
    /// When the limit is reached at this slope, if there is a limit.
    pub limit_reached_at: Option<ServerTime>,
}

/// The trend of an agent's memory, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// The robust slope at the scale with the highest confidence; negative when memory falls.
    pub slope_bytes_per_hour: f64,
    /// 0 to 1, as in a verdict; at most a half while the growth is not steady.
    pub confidence: f64,
    /// When the limit is reached at this slope, if there is a limit and memory grows.
    pub limit_reached_at: Option<ServerTime>,
    /// The gravest finding whose episode goes on.
    pub finding: Option<Finding>,
    /// Floors of the last hour and a half, oldest first, at most 24.
    pub floors: Vec<u64>,
}
