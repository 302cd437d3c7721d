//! Whether an agent lives, and whether a sweeper is at work. No other module decides either.
//!
//! An agent lives while its lease runs, by the store's clock. The heartbeat decides in two cases: there is no lease, or
//! an agent on the plain protocol has beaten since its lease was written. [`crate::agent::plain_lease`] turns a
//! heartbeat into a lease.
//!
//! Every sweeper writes down when it last made a pass, and removes that entry when it stops. So a sweeper that stopped
//! is known at once, and one that died is missed after two intervals, even if another sweeper is at work.

use std::time::Duration;

use crate::wire::ids::Incarnation;
use crate::wire::sweep_records::Watermark;
use crate::wire::time::{ServerTime, millis};

/// What the indexes and its own records say of one id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignsOfLife {
    /// Whether the id is a member of `agents:active`.
    pub active: bool,
    /// End of its lease.
    pub lease_end: Option<ServerTime>,
    /// Its life; `None` for an agent on the plain protocol.
    pub incarnation: Option<Incarnation>,
    /// Why its life is over, if that is proven; the field `ended` of its record.
    pub ended: Option<String>,
    /// Until when its heartbeat vouches for it; `None` if there is none.
    pub heartbeat_until: Option<ServerTime>,
}

/// Whether a lease that ends at `end` runs at `now`. In its last ms a lease is over.
#[must_use]
pub fn runs(end: ServerTime, now: ServerTime) -> bool {
    end > now
}

/// How an agent stands: alive, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It lives, until `until` at least.
    Alive {
        /// End of its lease.
        until: ServerTime,
    },
    /// Its lease is over.
    Over {
        /// Since when.
        since: ServerTime,
    },
    /// Its end was seen, or its cleanup has begun. The text is the reason.
    Ended(&'a str),
    /// It has neither a lease nor a heartbeat.
    Silent,
}

impl SignsOfLife {
    /// How it stands at `now`. The lease decides. The heartbeat does only where there is no lease,
    /// or where an agent on the plain protocol has beaten since its lease was written.
    #[must_use]
    pub fn standing(&self, now: ServerTime) -> Standing<'_> {
        if let Some(why) = &self.ended {
            return Standing::Ended(why);
        }
        let until = match self.incarnation {
            Some(_) => self.lease_end.or(self.heartbeat_until),
            None => self.lease_end.max(self.heartbeat_until),
        };
        match until {
            Some(until) if runs(until, now) => Standing::Alive { until },
            Some(since) => Standing::Over { since },
            None => Standing::Silent,
        }
    }

    /// Whether it lives at `now`.
    #[must_use]
    pub fn is_alive(&self, now: ServerTime) -> bool {
        matches!(self.standing(now), Standing::Alive { .. })
    }
}

/// A pass takes no longer than this, even over a large fleet or through a store in trouble.
const SLOW_PASS: Duration = Duration::from_secs(10);

/// Why it is concluded that no sweeper is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweeperAbsence {
    /// No sweeper has ever made a pass.
    Never,
    /// The last sweeper stopped and said so.
    Left {
        /// How long ago, in ms.
        ago: u64,
        /// The sweeper that stopped.
        by: String,
    },
    /// The last pass is too long ago, and its sweeper did not say that it stopped.
    Silent {
        /// How long, in ms.
        ago: u64,
        /// The sweeper that made the last pass.
        by: String,
    },
}

/// How old the last pass of a working sweeper may be: two `sweep.interval`s, but no less than a slow pass takes.
#[must_use]
pub fn sweeper_patience(interval: Duration) -> Duration {
    (interval * 2).max(SLOW_PASS)
}

/// Why no sweeper is at work; `None` while one is. Any pass within [`sweeper_patience`] counts, so `sweeper sweep` from
/// cron counts as a sweeper at work.
#[must_use]
pub fn sweeper_absence(
    mark: Option<&Watermark>,
    now: ServerTime,
    interval: Duration,
) -> Option<SweeperAbsence> {
    let Some(mark) = mark else { return Some(SweeperAbsence::Never) };
    let patience = millis(sweeper_patience(interval));
    let is_fresh = |at: ServerTime| now.ms_since(at) <= patience;
    let left = mark.left.as_ref().filter(|(by, at)| *by == mark.by && *at >= mark.at);
    if mark.passes.iter().any(|(_, at)| is_fresh(*at)) || (left.is_none() && is_fresh(mark.at)) {
        return None;
    }
    let ago = |at: ServerTime| now.ms_since(at);
    Some(match left {
        Some((by, at)) => SweeperAbsence::Left { ago: ago(*at), by: by.clone() },
        None => SweeperAbsence::Silent { ago: ago(mark.at), by: mark.by.clone() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: ServerTime = ServerTime::from_store_ms(1_764_000_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn absent(mark: Option<&Watermark>) -> Option<SweeperAbsence> {
        sweeper_absence(mark, NOW, MINUTE)
    }

    /// The last pass was made by `a`, so long ago.
    fn mark(ago: u64) -> Watermark {
        let at = NOW - ms(ago);
        Watermark { at, by: "a".into(), passes: vec![("a".into(), at)], ..Watermark::default() }
    }

    #[test]
    fn a_sweeper_is_missed_after_two_intervals() {
        assert_eq!(absent(None), Some(SweeperAbsence::Never));
        assert_eq!(absent(Some(&mark(120_000))), None);
        let silent = SweeperAbsence::Silent { ago: 120_001, by: "a".into() };
        assert_eq!(absent(Some(&mark(120_001))), Some(silent));
        let ahead = Watermark { at: NOW + ms(9), by: "a".into(), ..Watermark::default() };
        assert_eq!(absent(Some(&ahead)), None, "the clock was set back, or an older sweeper wrote it");
    }

    #[test]
    fn one_that_left_is_missed_at_once_unless_another_is_at_work() {
        let left = Watermark { passes: Vec::new(), left: Some(("a".into(), NOW - ms(3_000))), ..mark(5_000) };
        assert_eq!(absent(Some(&left)), Some(SweeperAbsence::Left { ago: 3_000, by: "a".into() }));
        let other = Watermark { passes: vec![("b".into(), NOW - ms(50_000))], ..left.clone() };
        assert_eq!(absent(Some(&other)), None);
        let back = Watermark { at: NOW - ms(1_000), ..left };
        assert_eq!(absent(Some(&back)), None, "it came back");
    }
}
