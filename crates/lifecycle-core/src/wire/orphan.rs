//! An orphan: why it is one, and what became of it. Passes report it, and the audit log keeps it.

use serde::{Deserialize, Serialize};

use crate::wire::task::Cost;
use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

word_enum! {
    /// Why an agent is reaped; the word stands in events, metrics and the audit log.
    Reason, "reason" {
        /// Its lease is over; its last beat is still there.
        StaleHeartbeat = "stale_heartbeat",
        /// Its lease is over and there is no beat.
        MissingHeartbeat = "missing_heartbeat",
        /// Its coordinator was lost and it did not answer the order to stop.
        CoordinatorLost = "coordinator_lost",
        /// Its sprint is over and it did not leave.
        SprintCompleted = "sprint_completed",
        /// Somebody saw its process end.
        ProcessExited = "process_exited",
        /// An operator asked for it (`lifecyclectl reap`).
        Operator = "operator",
    }
}

impl Reason {
    /// What the end of an agent that is reaped for this reason costs the task it had in hand.
    #[must_use]
    pub fn cost(self) -> Cost {
        match self {
            Self::StaleHeartbeat | Self::MissingHeartbeat | Self::CoordinatorLost | Self::ProcessExited => {
                Cost::Crash
            }
            Self::SprintCompleted | Self::Operator => Cost::Nothing,
        }
    }
}

/// One orphan, in the original design's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// Its id.
    pub agent_id: String,
    /// Why it is an orphan.
    pub reason: Reason,
    /// When it was last heard of; null if never.
    pub last_seen: Option<ServerTime>,
    /// How long ago `last_seen` was, in ms; null if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_time: Option<u64>,
    /// What became of it.
    #[serde(default)]
    pub outcome: OrphanOutcome,
}

word_enum! {
    /// What became of an orphan in a pass; log lines, metrics and `sweeper sweep` use these words.
    OrphanOutcome, "outcome of an orphan" {
        /// It was found, and nothing was tried (a dry run).
        Detected = "detected",
        /// This pass reaped it.
        Cleaned = "cleaned",
        /// It spoke up in time, and stays.
        Refuted = "refuted",
        /// It stays because reaping is held.
        Held = "held",
        /// Another sweeper is cleaning it up, or has done so.
        Elsewhere = "elsewhere",
        /// The store refused; the next pass tries again.
        Failed = "failed",
    }
}

impl OrphanOutcome {
    /// What can become of an orphan that a pass tried to reap.
    pub const DECIDED: [Self; 4] = [Self::Cleaned, Self::Refuted, Self::Elsewhere, Self::Failed];
}

#[allow(clippy::derivable_impls)] // The macro knows of no default.
impl Default for OrphanOutcome {
    fn default() -> Self {
        Self::Detected
    }
}

/// What a pass did, with true counts:
/// `detected = cleaned + refuted + held + elsewhere + failed` (all `detected` in a dry run).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrphanCleanupResult {
    /// Orphans seen.
    pub orphans_detected: u64,
    /// Orphans that this pass reaped.
    pub orphans_cleaned: u64,
    /// Agents whose lease runs.
    pub healthy_agents: u64,
    /// Orphans that spoke up in time, and stay.
    pub refuted: u64,
    /// Orphans that stay because reaping is held.
    pub held: u64,
    /// Orphans that another sweeper is cleaning up or has cleaned up.
    pub elsewhere: u64,
    /// Orphans the store refused to remove; the next pass tries again.
    pub failed: u64,
    /// Keys removed.
    pub keys_deleted: u64,
    /// Tasks handed back.
    pub tasks_requeued: u64,
    /// Why reaping is held, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether it was a dry run: nothing was written.
    pub dry_run: bool,
    /// The orphans, each with what became of it.
    pub orphans: Vec<Orphan>,
}

impl OrphanCleanupResult {
    /// Adds one orphan, and counts it by its outcome.
    pub fn add(&mut self, orphan: Orphan) {
        self.orphans_detected += 1;
        match orphan.outcome {
            OrphanOutcome::Detected => {}
            OrphanOutcome::Cleaned => self.orphans_cleaned += 1,
            OrphanOutcome::Refuted => self.refuted += 1,
            OrphanOutcome::Held => self.held += 1,
            OrphanOutcome::Elsewhere => self.elsewhere += 1,
            OrphanOutcome::Failed => self.failed += 1,
        }
        self.orphans.push(orphan);
    }
}
