//! Watches whether the store is up, for the brake.
//!
//! A task of its own asks the store for its time at a short interval, also while a pass waits for something. Every
//! answer, an observation of a pass included, counts as a probe. So a pass always plans with what its own observation
//! revealed: if that was answered only after an outage, the plan knows of the outage.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lifecycle_core::sweep::observation::IndexReading;
use lifecycle_core::sweep::store_watch::{Break, Contact, Probe};
use lifecycle_core::wire::metric;
use lifecycle_core::wire::time::{ServerTime, millis};
use lifecycle_redis::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};

/// One sweeper's answers of the store.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    epoch: Instant,
    /// Time between two probes.
    interval: Duration,
    /// Answers further apart than this are a break.
    tolerance: Duration,
    half_lease_ms: u64,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    last: Option<Probe>,
    contact: Option<Contact>,
    watermark: Option<ServerTime>,
}

impl StoreWatch {
    /// Watches closely enough for leases of about this length.
    pub(crate) fn new(threshold: Duration) -> Self {
        let interval = (threshold / 8).clamp(Duration::from_millis(50), Duration::from_secs(1));
        Self {
            epoch: Instant::now(),
            interval,
            tolerance: interval * 2 + Duration::from_millis(100),
            half_lease_ms: millis(threshold) / 2,
            answers: Mutex::default(),
        }
    }

    /// Probes for ever. An error only counts as a missing answer.
    pub(crate) async fn run(&self, store: &Store) -> Infallible {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.probe(store).await {
                tracing::trace!(%error, "no answer");
            }
        }
    }

    /// Asks once, and returns the contact as of now.
    pub(crate) async fn probe(&self, store: &Store) -> Result<Option<Contact>, StoreError> {
        let asked = Instant::now();
        let server = store.server_time().await?;
        metrics::histogram!(metric::STORE_ROUND_TRIP).record(asked.elapsed().as_secs_f64());
        let mut answers = self.lock();
        self.take_in(&mut answers, server);
        Ok(answers.contact)
    }

    /// Takes in an observation of a pass. The first one begins the watch.
    pub(crate) fn observed(&self, seen: &IndexReading) -> Contact {
        let mut answers = self.lock();
        self.take_in(&mut answers, seen.now);
        let mut contact = answers.contact.unwrap_or_else(|| begin(seen, self.half_lease_ms));
        let watermark = seen.watermark.as_ref().map(|watermark| watermark.at);
        if let (Some(then), Some(now)) = (answers.watermark, watermark)
            && now < then
        {
            tracing::warn!(
                "the store went back in time (a restored or lagging copy): silence proves nothing for now"
            );
            contact.lost_memory(seen.now, now);
        }
        answers.watermark = watermark;
        answers.contact = Some(contact);
        contact
    }

    /// Whether the store answered a moment ago.
    pub(crate) fn is_answering(&self) -> bool {
        let patience = self.tolerance + Duration::from_secs(1);
        self.lock().last.is_some_and(|last| self.epoch.elapsed().saturating_sub(last.monotonic) < patience)
    }

    fn take_in(&self, answers: &mut Answers, server: ServerTime) {
        let current = Probe { server, monotonic: self.epoch.elapsed() };
        if let (Some(contact), Some(previous)) = (&mut answers.contact, answers.last) {
            match contact.observe(previous, current, self.tolerance) {
                Some(Break::Silence(length)) => {
                    tracing::debug!(?length, "the store was not watched for a while");
                }
                Some(Break::ClockJump { millis }) => {
                    // By the new clock the store may seem to have gone back in time. It has not.
                    answers.watermark = None;
                    tracing::warn!(millis, "the store's clock was set: silence proves nothing for now");
                }
                None => {}
            }
        }
        answers.last = Some(current);
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins the watch from what the last sweeper wrote down. While a hold is in force, the break that led to it counts,
/// not the short time since the last pass.
fn begin(seen: &IndexReading, half_lease_ms: u64) -> Contact {
    let Some(mark) = &seen.watermark else { return Contact::begin(seen.now, None) };
    match &seen.hold {
        Some(hold) if hold.released_until.is_none() => Contact {
            since: if seen.now.ms_since(mark.at) <= half_lease_ms { hold.since } else { seen.now },
            before: mark.good.or(Some(mark.at)),
        },
        _ => Contact::begin(seen.now, Some(mark.at)),
    }
}

#[cfg(test)]
mod tests {
    use lifecycle_core::wire::sweep_records::Hold;
    use lifecycle_core::wire::sweep_records::Watermark;

    use super::*;

    fn at(ms: u64) -> ServerTime {
        ServerTime::from_store_ms(ms)
    }

    fn seen(now: u64, watermark: Option<u64>) -> IndexReading {
        let mark = |at| Watermark { at, good: Some(at), by: "other".into(), ..Watermark::default() };
        let (now, watermark) = (at(now), watermark.map(at).map(mark));
        IndexReading { now, watermark, ..IndexReading::default() }
    }

    #[test]
    fn the_watch_begins_where_the_last_sweeper_stopped() {
        let watch = StoreWatch::new(Duration::from_secs(120));
        assert_eq!(
            watch.observed(&seen(9_000, Some(4_000))),
            Contact { since: at(9_000), before: Some(at(4_000)) }
        );
        assert!(watch.is_answering());
        assert_eq!(StoreWatch::new(Duration::from_secs(120)).observed(&seen(9_000, None)).before, None);
    }

    #[test]
    fn a_restart_during_a_hold_does_not_forget_the_outage_before_it() {
        let mut during = seen(600_000, Some(599_000));
        during.watermark.as_mut().unwrap().good = Some(at(1_000));
        during.hold = Some(Hold { since: at(590_000), ..Hold::default() });
        assert_eq!(begin(&during, 60_000), Contact { since: at(590_000), before: Some(at(1_000)) });
        during.now = at(900_000);
        assert_eq!(begin(&during, 60_000).since, at(900_000), "nobody watched in between");
    }

    #[test]
    fn a_watermark_that_went_back_is_a_break_as_long_as_what_was_lost() {
        let watch = StoreWatch::new(Duration::from_secs(120));
        watch.observed(&seen(1_000_000, Some(999_000)));
        let contact = watch.observed(&seen(1_000_001, Some(100_000)));
        assert_eq!(contact, Contact { since: at(1_000_001), before: Some(at(100_000)) });
    }
}
