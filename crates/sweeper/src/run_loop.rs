//! Decides when to make a pass, for ever.
//!
//! A wake-up carries no input: a pass looks at everything anyway, so hints may be lost, doubled or late. A pass is made
//!
//! - when the next lease ends (as of the last look),
//! - after `sweep.interval` at the latest,
//! - at once when a process was seen to end, or when an event may have been missed,
//! - soon when an agent registered, because its lease may be the next to end,
//! - often while reaping is held, and when more is granted of the limited rate; soon when another sweeper was at work or the store refused.
//!
//! An error never ends the loop.

use std::sync::Arc;
use std::time::Duration;

use lifecycle_core::wire::metric::{self, PassOutcome};
use lifecycle_redis::StoreError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::events::Wake;
use crate::pass::{How, Passed};
use crate::sweeper::Sweeper;

/// Longest time after which the loop shows that it is alive.
const TICK: Duration = Duration::from_secs(5);
/// Pause between two tries while the store does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// A lease is over in its last ms, and a timer may be early by one.
const AFTER_EXPIRY: Duration = Duration::from_millis(3);

/// The loop's own state.
pub(crate) struct RunLoop {
    sweeper: Arc<Sweeper>,
    wake: Arc<Wake>,
    stop: watch::Receiver<bool>,
    compared: Option<Instant>,
    outage: Option<Outage>,
    tries: u32,
}

struct Outage {
    since: Instant,
    kind: std::mem::Discriminant<StoreError>,
}

impl RunLoop {
    pub(crate) fn new(sweeper: Arc<Sweeper>, wake: Arc<Wake>, stop: watch::Receiver<bool>) -> Self {
        Self { sweeper, wake, stop, compared: None, outage: None, tries: 0 }
    }

    /// Makes passes until it is told to stop. A pass under way then has `shutdown.drain_timeout` to finish.
    pub(crate) async fn run(mut self) {
        let mut next = Instant::now();
        let mut stop = self.stop.clone();
        loop {
            self.sweeper.health.turned();
            let soon = self.soon();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.wake.now.notified() => {}
                () = self.wake.soon.notified() => {
                    next = next.min(Instant::now() + soon);
                    continue;
                }
                () = sleep_until(next.min(Instant::now() + TICK)) => if Instant::now() < next { continue },
            }
            match self.turn().await {
                Some(wait) => next = Instant::now() + wait,
                None => return,
            }
        }
    }

    /// One pass. Returns how long to wait for the next one, `None` to stop.
    async fn turn(&mut self) -> Option<Duration> {
        let compare_interval = self.sweeper.settings().sweep.reconcile_interval;
        let compare = self.compared.is_none_or(|last| last.elapsed() >= compare_interval);
        let sweeper = Arc::clone(&self.sweeper);
        let pass = sweeper.pass(How { dry_run: false, compare });
        let passed = tokio::select! {
            passed = pass => passed,
            () = self.cut_off() => {
                tracing::warn!("stopped in the middle of a pass: what it had begun, another sweeper ends");
                return None;
            }
        };
        Some(match passed {
            Ok(passed) => {
                if compare {
                    self.compared = Some(Instant::now());
                }
                self.sweeper.health.passed();
                self.note_success();
                self.until_next(&passed)
            }
            Err(error) => {
                metrics::counter!(metric::SWEEP_PASSES, "outcome" => PassOutcome::Failed.as_str())
                    .increment(1);
                self.note_failure(&error);
                self.tries = self.tries.saturating_add(1);
                (Duration::from_millis(50) * 2_u32.saturating_pow(self.tries.min(5))).min(RETRY)
            }
        })
    }

    async fn cut_off(&self) {
        let mut stop = self.stop.clone();
        // An error means that the sender is gone and cannot tell us to stop, so it counts as a stop.
        let _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(self.sweeper.settings().shutdown.drain_timeout).await;
    }

    fn until_next(&self, passed: &Passed) -> Duration {
        let sweep = &self.sweeper.settings().sweep;
        let mut wait = sweep.interval;
        if let Some(end) = passed.next_expiry {
            wait = wait.min(passed.now.until(end) + AFTER_EXPIRY);
        }
        // While reaping goes on at the limited rate, there is nothing to do before more is granted.
        let granted_next = passed.more_may_go_in.map(|more_in| more_in + AFTER_EXPIRY);
        if passed.hold.is_some() {
            wait = granted_next
                .map_or(wait.min(self.soon()), |more_in| sweep.interval.min(more_in.max(self.soon())));
        }
        if passed.result.elsewhere > 0 || passed.result.failed > 0 {
            wait = wait.min(self.soon());
        }
        // Held agents come first among those that a pass looks at, so the next pass would only see them again.
        if passed.more && passed.hold.is_none() { Duration::ZERO } else { wait }
    }

    /// A short wait, in proportion to the length of leases.
    fn soon(&self) -> Duration {
        (self.sweeper.settings().sweep.orphan_threshold / 4).min(Duration::from_secs(1))
    }

    /// Logs one line per outage and kind of trouble, not one per try.
    fn note_failure(&mut self, error: &StoreError) {
        let kind = std::mem::discriminant(error);
        if self.outage.as_ref().is_some_and(|outage| outage.kind == kind) {
            tracing::debug!(%error, "still no pass");
            return;
        }
        let since = self.outage.as_ref().map_or_else(Instant::now, |outage| outage.since);
        self.outage = Some(Outage { since, kind });
        let url = self.sweeper.store.url();
        if error.is_transient() {
            tracing::warn!(%error, %url, "no pass could be made: nobody is reaped, and it is tried again every second");
        } else {
            tracing::error!(%error, %url, "no pass could be made, and that will not pass by itself: nobody is reaped until it is put right; it is tried again every second");
        }
    }

    fn note_success(&mut self) {
        self.tries = 0;
        if let Some(outage) = self.outage.take() {
            tracing::info!(after = ?outage.since.elapsed(), "the store answers again, passes are made");
        }
    }
}
