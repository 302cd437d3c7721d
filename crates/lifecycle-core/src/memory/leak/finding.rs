//! What is found of an agent's memory, and what people are shown of it.

use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

word_enum! {
    /// What is wrong.
    Finding, "finding" {
        /// Memory is taken and not given back.
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
    /// What is wrong.
    pub finding: Finding,
    /// The robust slope over the window.
    pub slope_bytes_per_hour: f64,
    /// How far back the growth was looked at, in ms.
    pub window_ms: u64,
    /// 0 to 1: how orderly the growth is, and how far beyond the usual (or how near the limit).
    pub confidence: f64,
    /// When the limit is reached at this slope, if there is a limit.
    pub limit_reached_ms: Option<ServerTime>,
}

/// Where an agent's memory is going, for people to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// The robust slope at the scale that shows most; negative when memory falls.
    pub slope_bytes_per_hour: f64,
    /// As in a verdict; at most a half while the growth is not steady.
    pub confidence: f64,
    /// When the limit is reached at this slope, if there is a limit and memory grows.
    pub limit_reached_ms: Option<ServerTime>,
    /// What was alerted on, in the episode that goes on.
    pub finding: Option<Finding>,
    /// Floors of the last hour and a half, oldest first, at most 24.
    pub floors: Vec<u64>,
}
