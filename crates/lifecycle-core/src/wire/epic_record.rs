//! An epic's own record, `epic:state:<epic>`: what outlives its coordinators.
//!
//! ```text
//!   running ──its coordinator goes──▶ waiting ──the next one takes it──▶ running (epoch + 1)
//!   running ──all sprints are over──▶ gone, with an entry in epics:history
//!   waiting ──kept for long enough──▶ the same, as cancelled
//! ```

use std::collections::HashMap;

use crate::wire::ids::Incarnation;
use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

word_enum! {
    /// Whether an epic has a coordinator.
    EpicStatus, "epic status" {
        /// A coordinator works on it.
        Running = "running",
        /// It waits for a coordinator.
        Waiting = "waiting",
    }
}

word_enum! {
    /// How an epic ended.
    EpicOutcome, "epic outcome" {
        /// Every task is completed.
        Completed = "completed",
        /// Every task is settled, some as failed.
        Failed = "failed",
        /// It was given up before every task was settled.
        Cancelled = "cancelled",
    }
}

/// Fields that say where the epic runs.
pub const PLACE_HOST: &str = "host";
/// See [`EpicRecord::folder`].
pub const PLACE_FOLDER: &str = "folder";
/// See [`EpicRecord::runs`].
pub const PLACE_RUNS: &str = "runs";

/// The record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpicRecord {
    /// Whether a coordinator works on it.
    pub status: EpicStatus,
    /// How often it has been taken, from 1.
    pub epoch: u64,
    /// The coordinator that has it, or had it last.
    pub coordinator: String,
    /// That coordinator's life.
    pub incarnation: Option<Incarnation>,
    /// The text of the plan as it runs.
    pub plan: String,
    /// The SHA-1 of that text, in hex.
    pub plan_hash: String,
    /// The host that its coordinator ran on.
    pub host: Option<String>,
    /// The folder on that host in which the coordinator was started, and its agents' commands with it.
    pub folder: Option<String>,
    /// The folder on that host to which output of tasks goes.
    pub runs: Option<String>,
    /// When it was first taken.
    pub started_at: ServerTime,
    /// Since when it waits.
    pub waiting_since: Option<ServerTime>,
    /// Until when a waiting epic is kept.
    pub kept_until: Option<ServerTime>,
    /// When an operator cancelled it, if nobody has obeyed yet.
    pub cancelled_at: Option<ServerTime>,
}

impl EpicRecord {
    /// Reads the hash; `None` when no coordinator of ours wrote it.
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>) -> Option<Self> {
        let number = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
        let time = |name: &str| number(name).map(ServerTime::from_store_ms);
        Some(Self {
            status: fields.get("status")?.parse().ok()?,
            epoch: number("epoch")?,
            coordinator: fields.get("coordinator")?.clone(),
            incarnation: number("incarnation").map(Incarnation),
            plan: fields.get("plan").cloned().unwrap_or_default(),
            plan_hash: fields.get("planHash").cloned().unwrap_or_default(),
            host: fields.get(PLACE_HOST).cloned(),
            folder: fields.get(PLACE_FOLDER).cloned(),
            runs: fields.get(PLACE_RUNS).cloned(),
            started_at: time("startedAt").unwrap_or_default(),
            waiting_since: time("waitingSince"),
            kept_until: time("keptUntil"),
            cancelled_at: time("cancelledAt"),
        })
    }
}
