//! Reports what a pass did: to the log, the bus, the store and Prometheus.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lifecycle_cli::output::count;
use lifecycle_core::sweep::brake::Holding;
use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::ids::MAX_NAME_LEN;
use lifecycle_core::wire::metric::{self, PassOutcome};
use lifecycle_core::wire::orphan::{OrphanCleanupResult, OrphanOutcome, Reason};
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{Removed, StoreError};

use crate::sweeper::Sweeper;

/// Most orphans that an event lists.
const LISTED: usize = 100;
/// Most ids that a log line names.
const NAMED: usize = 10;

/// The result of a pass under way.
#[derive(Debug)]
pub(crate) struct Tally {
    now: ServerTime,
    result: OrphanCleanupResult,
}

impl Tally {
    pub(crate) fn new(now: ServerTime, healthy: u64, forgotten: u64, dry_run: bool) -> Self {
        metrics::counter!(metric::KEYS_DELETED).increment(forgotten);
        Self {
            now,
            result: OrphanCleanupResult {
                healthy_agents: healthy,
                keys_deleted: forgotten,
                dry_run,
                ..OrphanCleanupResult::default()
            },
        }
    }

    /// When the pass looked.
    pub(crate) fn now(&self) -> ServerTime {
        self.now
    }

    pub(crate) fn add(&mut self, suspect: &Suspect, reason: Reason, outcome: OrphanOutcome) {
        if OrphanOutcome::DECIDED.contains(&outcome) {
            metrics::counter!(metric::REAP_OUTCOMES, "outcome" => outcome.as_str()).increment(1);
        }
        self.result.add(suspect.as_orphan(reason, self.now, outcome));
    }

    pub(crate) fn add_cleaned(&mut self, suspect: &Suspect, reason: Reason, removed: Removed) {
        metrics::counter!(metric::KEYS_DELETED).increment(removed.keys_deleted);
        metrics::counter!(metric::TASKS_REQUEUED).increment(removed.tasks_requeued);
        self.result.keys_deleted += removed.keys_deleted;
        self.result.tasks_requeued += removed.tasks_requeued;
        self.add(suspect, reason, OrphanOutcome::Cleaned);
    }
}

impl Sweeper {
    /// Ends a pass: writes watermark and hold, publishes `orphans_detected`, logs, and updates the metrics.
    pub(crate) async fn report(
        &self,
        tally: Tally,
        hold: Option<Holding>,
        took: Duration,
    ) -> Result<OrphanCleanupResult, StoreError> {
        let Tally { now, mut result } = tally;
        result.hold = hold.map(|hold| hold.to_string());
        if result.dry_run {
            return Ok(result);
        }
        self.store.end_pass(&self.id, now, hold.as_ref().map(|hold| (hold, result.held))).await?;
        let began = self.note_hold(hold, &result);
        log(&result);
        if began || result.orphans_detected > result.held + result.elsewhere {
            self.say(detected(&result, now)).await;
        }
        self.pass_gauges.passed(&result);
        if hold.is_none() {
            self.health.held_nothing();
        }
        measure(&result, took);
        Ok(result)
    }

    /// Logs the beginning and the end of a hold. Returns whether a hold begins.
    fn note_hold(&self, hold: Option<Holding>, result: &OrphanCleanupResult) -> bool {
        let was = self.holding.swap(hold.is_some(), Ordering::Relaxed);
        if let Some(hold) = hold.filter(|_| !was) {
            metrics::counter!(metric::SWEEP_HOLDS, "reason" => hold.reason.kind().as_str()).increment(1);
        }
        let is_limiting = hold.is_some_and(|hold| hold.a_minute.is_some());
        if !self.limiting.swap(is_limiting, Ordering::Relaxed)
            && let Some(hold) = hold.filter(|_| is_limiting)
        {
            tracing::warn!(
                held = result.held,
                cleaned = result.orphans_cleaned,
                "held, but reaping goes on slowly: {hold}"
            );
        }
        match (&result.hold, was) {
            (Some(reason), false) => {
                tracing::warn!(
                    held = result.held,
                    "reaping is held: {reason}; they stay until they beat, the store was watched long enough, or \
                     sweep.hold_timeout is over; `lifecyclectl hold release` goes on at once"
                );
                true
            }
            (None, true) => {
                tracing::info!("released: reaping goes on, no agent is held any more");
                false
            }
            _ => false,
        }
    }
}

fn detected(result: &OrphanCleanupResult, now: ServerTime) -> Event {
    let orphans = result.orphans.iter().take(LISTED).cloned().collect();
    Event::new(Payload::OrphansDetected { count: Some(result.orphans_detected), orphans }, now.as_ms())
}

fn log(result: &OrphanCleanupResult) {
    if result.orphans_cleaned == 0 {
        return;
    }
    let cleaned: Vec<String> = result
        .orphans
        .iter()
        .filter(|orphan| orphan.outcome == OrphanOutcome::Cleaned)
        .take(NAMED)
        .map(|orphan| format!("{:?} ({})", named(&orphan.agent_id), orphan.reason))
        .collect();
    let further = result.orphans_cleaned - cleaned.len() as u64;
    let further = if further > 0 { format!(" and {further} more") } else { String::new() };
    tracing::info!(
        keys = result.keys_deleted,
        tasks = result.tasks_requeued,
        healthy = result.healthy_agents,
        "reaped {}: {}{further}",
        count(result.orphans_cleaned, "orphan"),
        cleaned.join(", ")
    );
}

/// An id for a log line, cut to the length that our ids can have. Others may have written anything.
pub(crate) fn named(id: &str) -> Cow<'_, str> {
    match (id.char_indices().nth(MAX_NAME_LEN - 1), id.chars().nth(MAX_NAME_LEN)) {
        (Some((end, _)), Some(_)) => format!("{}…", &id[..end]).into(),
        _ => id.into(),
    }
}

fn measure(result: &OrphanCleanupResult, took: Duration) {
    let outcome = if result.hold.is_some() { PassOutcome::Held } else { PassOutcome::Ok };
    metrics::counter!(metric::SWEEP_PASSES, "outcome" => outcome.as_str()).increment(1);
    metrics::histogram!(metric::SWEEP_DURATION).record(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_length_takes_no_more_of_a_log_line_than_one_of_ours() {
        let ours = "a".repeat(MAX_NAME_LEN);
        assert_eq!(named(&ours), ours);
        assert_eq!(named(&"é".repeat(100_000)), "é".repeat(MAX_NAME_LEN - 1) + "…");
    }
}
