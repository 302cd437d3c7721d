//! A pass: observe → plan → announce → reap → report. This module is the plan and the report.
//!
//! [`plan`] turns what was observed into whom to reap and why, or whom to hold and why. It is a function of
//! data: two sweepers with the same observation plan the same, and a plan that has become stale voids itself,
//! because every reap carries the lease and the incarnation it was decided on.

use serde::{Deserialize, Serialize};

use crate::brake::{self, Brake, Hold, Holding, Witness};
use crate::ids::Incarnation;
use crate::liveness::PlainLease;
use crate::record::{AgentRecord, Order};
use crate::store_watch::Contact;
use crate::task::Cost;
use crate::word_enum::word_enum;

word_enum! {
    /// Why an agent is reaped.
    Reason, "reason" {
        /// Its lease is over; its last beat is still there.
        StaleHeartbeat = "stale_heartbeat",
        /// Its lease is over and there is no beat.
        MissingHeartbeat = "missing_heartbeat",
        /// Its coordinator was lost and it did not answer the order to stop.
        CoordinatorLost = "coordinator_lost",
        /// Its sprint is over and it did not leave.
        SprintCompleted = "sprint_completed",
        /// Its process was seen to end.
        ProcessExited = "process_exited",
        /// Somebody asked for it.
        Operator = "operator",
    }
}

impl Reason {
    /// What a task costs that was in the hands of an agent that is reaped for this.
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

/// What one look at the indexes showed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// Server time in ms.
    pub now: u64,
    /// The store's generation marker, if it has one.
    pub generation: Option<String>,
    /// Members of `agents:active`.
    pub active: u64,
    /// Members of `agents:leases`.
    pub leases: u64,
    /// Leases that are over.
    pub expired: u64,
    /// The first of them, oldest first: id and end of lease.
    pub batch: Vec<(String, u64)>,
    /// The last pass of anybody.
    pub watermark: Option<Watermark>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// End of the next lease.
    pub next_expiry: Option<u64>,
    /// Agents whose lease still runs but who have missed a beat: see [`crate::brake::is_overdue`].
    pub overdue: u64,
}

/// `sweep:watermark`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watermark {
    /// When the last pass ended, in ms of server time.
    pub at: u64,
    /// When the last pass that held nothing looked: leases that ended later are news.
    pub good: Option<u64>,
    /// Who made it.
    pub by: String,
    /// The last pass of every sweeper that has not left, in ms of server time; see [`crate::sweepers`].
    pub passes: Vec<(String, u64)>,
    /// The last sweeper that stopped, and when, in ms of server time.
    pub left: Option<(String, u64)>,
}

impl Watermark {
    /// The watermark as it counts at `now` (ms of server time): what lies in the future was written before the store's
    /// clock was set back, and counts as now.
    #[must_use]
    pub fn as_of(mut self, now: u64) -> Self {
        self.at = self.at.min(now);
        self.good = self.good.map(|good| good.min(now));
        self
    }
}

/// An agent whose lease seems to be over, with all that is needed to judge it and to clean it up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suspect {
    /// Its id, as found.
    pub id: String,
    /// End of its lease in ms.
    pub lease_end: u64,
    /// Its registration; `None` for an agent on the plain protocol.
    pub record: Option<AgentRecord>,
    /// When it was last heard of.
    pub last_seen: Option<u64>,
    /// Whether `agent:heartbeat:<id>` is there.
    pub has_heartbeat: bool,
    /// The order it has not answered, and why it was given.
    pub order: Option<(Order, String)>,
    /// For an agent on the plain protocol: the lease its heartbeat amounts to.
    pub plain: Option<PlainLease>,
    /// Whether it is a member of `agents:active`.
    pub listed: bool,
    /// The heartbeat that a plain agent is judged by: the reap script compares it once more.
    pub beat: JudgedBeat,
}

/// The heartbeat that a plain agent was judged by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JudgedBeat {
    /// There was none.
    #[default]
    Missing,
    /// These bytes.
    Bytes {
        /// As they were read.
        bytes: Vec<u8>,
        /// When their key expires, in ms of server time; `None` if it never does.
        expires_at: Option<u64>,
    },
    /// Something too long to carry around, of this length.
    Length(u64),
}

impl Suspect {
    /// The life it is judged for.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.record.as_ref().map(|record| record.incarnation)
    }

    /// Length of its lease in ms.
    #[must_use]
    pub fn lease_ms(&self, default: u64) -> u64 {
        self.record.as_ref().map_or(default, |record| record.lease_ms)
    }

    /// Whether its end is proven rather than inferred from silence.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.ended.is_some())
    }

    /// Whether this is a plain agent that took itself off the list, as the original design's shutdown does, and beats no
    /// more. It left; it did not fall silent.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.plain.is_some() && !self.listed && !self.has_heartbeat
    }

    /// Whether a plain agent's heartbeat says that it is alive although its lease is over.
    #[must_use]
    pub fn is_alive(&self, now: u64) -> bool {
        self.plain.is_some_and(|lease| lease.end > now)
    }

    /// Why it would be reaped.
    #[must_use]
    pub fn reason(&self) -> Reason {
        if let Some(ended) = self.record.as_ref().and_then(|record| record.ended.as_deref()) {
            return ended.parse().unwrap_or(Reason::ProcessExited);
        }
        match &self.order {
            Some((Order::Terminate, why)) => why.parse().unwrap_or(Reason::StaleHeartbeat),
            _ if self.has_heartbeat => Reason::StaleHeartbeat,
            _ => Reason::MissingHeartbeat,
        }
    }
}

/// What a pass will do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SweepPlan {
    /// Positions of the suspects to reap, with the reason.
    pub reap: Vec<(usize, Reason)>,
    /// Positions of the suspects that stay for now, the longest silent first.
    pub held: Vec<usize>,
    /// Why they stay. Where it has a rate, [`SweepPlan::grant`] lets some of them go.
    pub hold: Option<Holding>,
}

impl SweepPlan {
    /// Lets the first `count` of the held go: what the store granted of the limited rate.
    pub fn grant(&mut self, count: usize, suspects: &[Suspect]) {
        let granted = self.held.drain(..count.min(self.held.len()));
        self.reap.extend(granted.map(|index| (index, suspects[index].reason())));
        self.reap.sort_unstable_by_key(|(index, _)| *index);
    }
}

/// Decides whom to reap and whom to hold.
///
/// `witnesses` are other, living agents: beats that landed while the suspect missed its own prove that the store was
/// up.
#[must_use]
pub fn plan(
    seen: &Observation,
    suspects: &[Suspect],
    contact: Contact,
    witnesses: &[Witness],
    brake: &Brake,
) -> SweepPlan {
    let (proven, silent): (Vec<usize>, Vec<usize>) =
        (0..suspects.len()).partition(|&index| suspects[index].is_proven());
    let verdict = brake::judge(seen, suspects, &silent, contact, witnesses, brake);
    let mut reap: Vec<(usize, Reason)> =
        proven.into_iter().chain(verdict.believed).map(|index| (index, suspects[index].reason())).collect();
    reap.sort_unstable_by_key(|(index, _)| *index);
    SweepPlan { reap, held: verdict.held, hold: verdict.holding }
}

/// One orphan, in the original design's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// Its id.
    pub agent_id: String,
    /// Why it is one.
    pub reason: Reason,
    /// When it was last heard of, in ms; null if never.
    pub last_seen: Option<u64>,
    /// How long ago that was, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_time: Option<u64>,
    /// What became of it.
    #[serde(default)]
    pub outcome: OrphanOutcome,
}

impl Orphan {
    /// The orphan that a suspect is.
    #[must_use]
    pub fn of(suspect: &Suspect, reason: Reason, now: u64, outcome: OrphanOutcome) -> Self {
        Self {
            agent_id: suspect.id.clone(),
            reason,
            last_seen: suspect.last_seen,
            idle_time: suspect.last_seen.map(|seen| now.saturating_sub(seen)),
            outcome,
        }
    }
}

/// What became of an orphan in a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OrphanOutcome {
    /// Seen only (a dry run).
    #[default]
    Detected,
    /// Reaped by this pass.
    Cleaned,
    /// It spoke up in time.
    Refuted,
    /// Reaping is held.
    Held,
    /// Another sweeper has it, or had it.
    Elsewhere,
    /// The store refused; the next pass tries again.
    Failed,
}

/// What a pass did, with true counts:
/// `detected = cleaned + refuted + held + elsewhere + failed` (all `detected` in a dry run).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrphanCleanupResult {
    /// Orphans seen.
    pub orphans_detected: u64,
    /// Orphans this pass reaped.
    pub orphans_cleaned: u64,
    /// Agents whose lease runs.
    pub healthy_agents: u64,
    /// Orphans that spoke up in time.
    pub refuted: u64,
    /// Orphans that stay because reaping is held.
    pub held: u64,
    /// Orphans that another sweeper has or had.
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
    /// Whether nothing was touched.
    pub dry_run: bool,
    /// The orphans, each with what became of it.
    pub orphans: Vec<Orphan>,
}

impl OrphanCleanupResult {
    /// Counts one orphan in.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_pass_in_the_future_counts_as_now() {
        let mark = |at, good| Watermark { at, good, by: "s".into(), ..Watermark::default() };
        assert_eq!(mark(9_000, Some(9_000)).as_of(5_000), mark(5_000, Some(5_000)));
        assert_eq!(mark(4_000, None).as_of(5_000), mark(4_000, None));
    }

    #[test]
    fn what_is_granted_goes_in_the_order_of_the_held_and_the_rest_stays() {
        let suspect = |id: &str| Suspect { id: id.into(), has_heartbeat: true, ..Suspect::default() };
        let suspects = ["a", "b", "c"].map(suspect);
        let mut plan = SweepPlan { held: vec![2, 0, 1], ..SweepPlan::default() };
        plan.grant(2, &suspects);
        assert_eq!(plan.reap, [(0, Reason::StaleHeartbeat), (2, Reason::StaleHeartbeat)]);
        assert_eq!(plan.held, [1]);
        plan.grant(9, &suspects);
        assert_eq!(plan.held, [0; 0]);
    }
}
