//! What passes leave for `/metrics`: the original design's counts, and the orphans that still wait for cleanup.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lifecycle_core::wire::metric;
use lifecycle_core::wire::orphan::{OrphanCleanupResult, OrphanOutcome, Reason};

use crate::http::exposition::Exposition;

/// Figures of passes. Those of the last pass are absent before the first one.
#[derive(Debug, Default)]
pub(crate) struct PassGauges {
    cleaned: [AtomicU64; Reason::ALL.len()],
    last: Mutex<Option<Last>>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    active: u64,
    orphaned: u64,
    held: u64,
    standing: [u64; Reason::ALL.len()],
}

impl PassGauges {
    /// One orphan was cleaned up.
    pub(crate) fn cleaned(&self, reason: Reason) {
        if let Some(count) = self.cleaned.get(position(reason)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A pass ended.
    pub(crate) fn passed(&self, result: &OrphanCleanupResult) {
        let mut standing = [0; Reason::ALL.len()];
        for orphan in &result.orphans {
            let stands = matches!(
                orphan.outcome,
                OrphanOutcome::Held | OrphanOutcome::Elsewhere | OrphanOutcome::Failed
            );
            if let Some(count) = standing.get_mut(position(orphan.reason)).filter(|_| stands) {
                *count += 1;
            }
        }
        let last = Last {
            active: result.healthy_agents + result.refuted,
            orphaned: result.orphans_detected - result.orphans_cleaned - result.refuted,
            held: result.held,
            standing,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// Renders what this sweeper did; and, if it `sees` the store, what its last pass saw of the fleet.
    pub(crate) fn render(&self, page: &mut Exposition, sees: bool) {
        let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
        let cleaned = self.cleaned.iter().map(|count| count.load(Ordering::Relaxed));
        page.labelled(metric::ORPHAN_CLEANUP, "reason", reasons.clone().zip(cleaned));
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.filter(|_| sees) {
            let counts = [("active", last.active), ("orphaned", last.orphaned)];
            page.labelled(metric::AGENT_COUNT, "state", counts);
            page.labelled(metric::ORPHANS, "reason", reasons.zip(last.standing));
            page.single(metric::SWEEP_HELD, Some(last.held));
        }
    }
}

fn position(reason: Reason) -> usize {
    Reason::ALL.iter().position(|known| *known == reason).unwrap_or(Reason::ALL.len())
}

#[cfg(test)]
mod tests {
    use lifecycle_core::wire::orphan::Orphan;

    use super::*;

    #[test]
    fn who_was_left_standing_is_counted_by_reason_and_who_was_cleaned_or_spoke_up_is_not() {
        let gauges = PassGauges::default();
        let mut result = OrphanCleanupResult { healthy_agents: 3, ..OrphanCleanupResult::default() };
        for outcome in [
            OrphanOutcome::Cleaned,
            OrphanOutcome::Refuted,
            OrphanOutcome::Held,
            OrphanOutcome::Elsewhere,
            OrphanOutcome::Failed,
        ] {
            let (agent_id, reason) = ("a".into(), Reason::StaleHeartbeat);
            result.add(Orphan { agent_id, reason, last_seen: None, idle_time: None, outcome });
        }
        gauges.cleaned(Reason::StaleHeartbeat);
        gauges.passed(&result);
        let mut page = Exposition::default();
        gauges.render(&mut page, true);
        let text = page.text();
        for series in [
            "agent_orphan_cleanup_count{reason=\"stale_heartbeat\"} 1",
            "agent_orphan_cleanup_count{reason=\"operator\"} 0",
            "agent_count_total{state=\"active\"} 4",
            "agent_count_total{state=\"orphaned\"} 3",
            "lifecycle_orphans{reason=\"stale_heartbeat\"} 3",
            "lifecycle_orphans{reason=\"operator\"} 0",
            "lifecycle_sweep_held_agents 1",
        ] {
            assert!(text.lines().any(|line| line == series), "{series}\n{text}");
        }
    }
}
