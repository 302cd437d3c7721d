//! Since when this sweeper has watched the store without a break.
//!
//! Silence counts as death only while the store was observably up. A sweeper asks the store for its time every moment.
//! From the answers this module keeps the start of the unbroken stretch and the last answer before the break. There are
//! three kinds of break: the store did not answer; the sweeper itself was stopped (SIGSTOP, a laptop's lid); server
//! time and monotonic time disagree (the server's clock was set).
//!
//! ```text
//!   answers   |  |  |  |                 |  |  |  |
//!                      ^ before          ^ since      ^ now
//! ```

use std::time::Duration;

use crate::wire::time::{ServerTime, millis};

/// One answer of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What it said.
    pub server: ServerTime,
    /// The sweeper's monotonic clock at the answer.
    pub monotonic: Duration,
}

/// What is known of the store having been up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Start of the unbroken stretch.
    pub since: ServerTime,
    /// When the store was last known to be up before `since`, to this or any other sweeper. `None` if no sweeper ever
    /// watched it, which is no outage.
    pub before: Option<ServerTime>,
}

impl Contact {
    /// The start of watching: `watermark` is the time of the last pass of any sweeper.
    #[must_use]
    pub fn begin(now: ServerTime, watermark: Option<ServerTime>) -> Self {
        Self { since: now, before: watermark }
    }

    /// Takes in the next answer. Returns the break it revealed, if any.
    #[must_use]
    pub fn observe(&mut self, previous: Probe, current: Probe, tolerance: Duration) -> Option<Break> {
        let elapsed = current.monotonic.saturating_sub(previous.monotonic);
        let jump = current.server.signed_ms_since(previous.server) - i128::from(millis(elapsed));
        let tolerated = i128::from(millis(tolerance));
        let found = if elapsed > tolerance {
            Some(Break::Silence(elapsed))
        } else if jump.abs() > tolerated {
            Some(Break::ClockJump { millis: i64::try_from(jump).unwrap_or(i64::MAX) })
        } else {
            None
        };
        if found.is_some() {
            self.begin_again(current.server, previous.server);
        }
        found
    }

    /// The store went back in time: the last pass it knows of is now `watermark`, earlier than before.
    pub fn lost_memory(&mut self, now: ServerTime, watermark: ServerTime) {
        self.begin_again(now, watermark);
    }

    /// A short break must not hide a longer one just before it. So a stretch shorter than the break before it is
    /// counted as part of that break.
    fn begin_again(&mut self, now: ServerTime, last: ServerTime) {
        let stretch = last.since(self.since);
        let earlier = self.before.filter(|_| stretch < self.gap());
        let before = Some(earlier.map_or(last, |before| before.min(last)));
        *self = Self { since: now, before };
    }

    /// Length of the break before the unbroken stretch.
    #[must_use]
    pub fn gap(&self) -> Duration {
        self.before.map_or(Duration::ZERO, |before| self.since.since(before))
    }
}

/// Why watching was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// No answer for this long: the store was away, or the sweeper was.
    Silence(Duration),
    /// The server's clock was set by this many ms.
    ClockJump {
        /// Positive: forward.
        millis: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> ServerTime {
        ServerTime::from_store_ms(ms)
    }

    fn probe(server: u64, monotonic: u64) -> Probe {
        Probe { server: at(server), monotonic: Duration::from_millis(monotonic) }
    }

    #[test]
    fn regular_answers_keep_the_stretch_unbroken() {
        let mut contact = Contact::begin(at(1_000), None);
        assert_eq!(contact.observe(probe(1_000, 0), probe(2_010, 1_000), TOLERANCE), None);
        assert_eq!(contact, Contact { since: at(1_000), before: None });
    }

    #[test]
    fn an_outage_a_pause_and_a_clock_jump_each_begin_a_new_stretch() {
        for (next, expected) in [
            (probe(11_000, 10_000), Break::Silence(Duration::from_secs(10))),
            (probe(122_000, 1_000), Break::ClockJump { millis: 120_000 }),
        ] {
            let mut contact = Contact::begin(at(500), None);
            assert_eq!(contact.observe(probe(1_000, 0), next, TOLERANCE), Some(expected));
            assert_eq!(contact, Contact { since: next.server, before: Some(at(1_000)) });
        }
        let mut contact = Contact { since: at(600_000), before: Some(at(0)) };
        assert!(contact.observe(probe(605_000, 5_000), probe(608_000, 8_000), TOLERANCE).is_some());
        assert_eq!(
            contact,
            Contact { since: at(608_000), before: Some(at(0)) },
            "a short break hides no longer one"
        );
        let mut contact = Contact::begin(at(500_000), None);
        let back = contact.observe(probe(601_000, 0), probe(2_000, 1_000), TOLERANCE);
        assert_eq!(back, Some(Break::ClockJump { millis: -600_000 }));
        assert_eq!(contact.gap(), Duration::ZERO);
    }
}
