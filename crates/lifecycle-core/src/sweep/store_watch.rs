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

use crate::wire::time::millis;

/// One answer of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Server time in ms.
    pub server: u64,
    /// The sweeper's monotonic clock at the answer.
    pub monotonic: Duration,
}

/// What is known of the store having been up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Start of the unbroken stretch, in ms of server time.
    pub since: u64,
    /// When the store was last known to be up before `since`, to this or any other sweeper. `None` if no sweeper ever
    /// watched it, which is no outage.
    pub before: Option<u64>,
}

impl Contact {
    /// The start of watching: `watermark` is the time of the last pass of any sweeper.
    #[must_use]
    pub fn begin(now: u64, watermark: Option<u64>) -> Self {
        Self { since: now, before: watermark }
    }

    /// Takes in the next answer. Returns the break it revealed, if any.
    #[must_use]
    pub fn observe(&mut self, previous: Probe, current: Probe, tolerance: Duration) -> Option<Break> {
        let elapsed = current.monotonic.saturating_sub(previous.monotonic);
        let server = i128::from(current.server) - i128::from(previous.server);
        let jump = server - i128::from(millis(elapsed));
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
    pub fn lost_memory(&mut self, now: u64, watermark: u64) {
        self.begin_again(now, watermark);
    }

    /// A short break must not hide a longer one just before it. So a stretch shorter than the break before it is
    /// counted as part of that break.
    fn begin_again(&mut self, now: u64, last: u64) {
        let stretch = last.saturating_sub(self.since);
        let earlier = self.before.filter(|_| stretch < self.gap());
        let before = Some(earlier.map_or(last, |before| before.min(last)));
        *self = Self { since: now, before };
    }

    /// Length of the break before the unbroken stretch, in ms.
    #[must_use]
    pub fn gap(&self) -> u64 {
        self.before.map_or(0, |before| self.since.saturating_sub(before))
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

    fn probe(server: u64, monotonic: u64) -> Probe {
        Probe { server, monotonic: Duration::from_millis(monotonic) }
    }

    #[test]
    fn regular_answers_keep_the_stretch_unbroken() {
        let mut contact = Contact::begin(1_000, None);
        assert_eq!(contact.observe(probe(1_000, 0), probe(2_010, 1_000), TOLERANCE), None);
        assert_eq!(contact, Contact { since: 1_000, before: None });
    }

    #[test]
    fn an_outage_a_pause_and_a_clock_jump_each_begin_a_new_stretch() {
        for (next, expected) in [
            (probe(11_000, 10_000), Break::Silence(Duration::from_secs(10))),
            (probe(122_000, 1_000), Break::ClockJump { millis: 120_000 }),
        ] {
            let mut contact = Contact::begin(500, None);
            assert_eq!(contact.observe(probe(1_000, 0), next, TOLERANCE), Some(expected));
            assert_eq!(contact, Contact { since: next.server, before: Some(1_000) });
        }
        let mut contact = Contact { since: 600_000, before: Some(0) };
        assert!(contact.observe(probe(605_000, 5_000), probe(608_000, 8_000), TOLERANCE).is_some());
        assert_eq!(contact, Contact { since: 608_000, before: Some(0) }, "a short break hides no longer one");
        let mut contact = Contact::begin(500_000, None);
        let back = contact.observe(probe(601_000, 0), probe(2_000, 1_000), TOLERANCE);
        assert_eq!(back, Some(Break::ClockJump { millis: -600_000 }));
        assert_eq!(contact.gap(), 0);
    }
}
