//! Whether an agent lives, and whether a sweeper is at work. No other module decides either.
//!
//! An agent lives while its lease runs, by the store's clock. The heartbeat decides in two cases: there is no lease, or
//! an agent on the plain protocol has beaten since its lease was written. [`crate::agent::plain_lease`] turns a
//! heartbeat into a lease.
//!
//! Every sweeper writes down when it last made a pass, and removes that entry when it stops. So a sweeper that stopped
//! is known at once. One that died is missed after [`sweeper_patience`], if no other sweeper is at work.

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

/// How old the last pass of a working sweeper may be: two `sweep.interval`s and a slow pass, however short the interval
/// is. `/readyz`, `doctor`, `ps` and the coordinator all ask here.
#[must_use]
pub fn sweeper_patience(interval: Duration) -> Duration {
    interval * 2 + SLOW_PASS
}

/// Why no sweeper is at work; `None` while one is. Any pass within [`sweeper_patience`] counts, so `sweeper sweep` from
/// cron counts as a sweeper at work.
///
/// A pass that lies further ahead than that was made before the store's clock was set back, and proves nothing: a living
/// sweeper writes its next pass over it. That a sweeper came back after it left is known by its entry, not by the times.
#[must_use]
pub fn sweeper_absence(
    mark: Option<&Watermark>,
    now: ServerTime,
    interval: Duration,
) -> Option<SweeperAbsence> {
    let Some(mark) = mark else { return Some(SweeperAbsence::Never) };
    let patience = millis(sweeper_patience(interval));
    let is_fresh = |at: ServerTime| millis(now.distance(at)) <= patience;
    let is_back = |by: &String| mark.passes.iter().any(|(sweeper, _)| sweeper == by);
    let left = mark.left.as_ref().filter(|(by, _)| *by == mark.by && !is_back(by));
    // A watermark of an older sweeper has no entries.
    let only_mark = left.is_none() && mark.passes.is_empty();
    if mark.passes.iter().any(|(_, at)| is_fresh(*at)) || (only_mark && is_fresh(mark.at)) {
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
    fn a_sweeper_is_missed_after_two_intervals_and_a_slow_pass() {
        assert_eq!(absent(None), Some(SweeperAbsence::Never));
        assert_eq!(absent(Some(&mark(130_000))), None);
        let silent = SweeperAbsence::Silent { ago: 130_001, by: "a".into() };
        assert_eq!(absent(Some(&mark(130_001))), Some(silent));
        let ahead = Watermark { at: NOW + ms(9), by: "a".into(), ..Watermark::default() };
        assert_eq!(absent(Some(&ahead)), None, "the clock was set back, or an older sweeper wrote it");
    }

    #[test]
    fn one_slow_pass_is_no_absence_however_short_the_interval() {
        let absent = |ago, interval| sweeper_absence(Some(&mark(ago)), NOW, ms(interval)).is_some();
        assert_eq!((absent(20_000, 5_000), absent(20_001, 5_000)), (false, true));
        assert_eq!((absent(11_000, 500), absent(11_001, 500)), (false, true));
    }

    #[test]
    fn one_that_left_is_missed_at_once_unless_another_is_at_work() {
        let left = Watermark { passes: Vec::new(), left: Some(("a".into(), NOW - ms(3_000))), ..mark(5_000) };
        assert_eq!(absent(Some(&left)), Some(SweeperAbsence::Left { ago: 3_000, by: "a".into() }));
        let other = Watermark { passes: vec![("b".into(), NOW - ms(50_000))], ..left.clone() };
        assert_eq!(absent(Some(&other)), None);
        let back = Watermark { passes: vec![("a".into(), NOW - ms(1_000))], ..left };
        assert_eq!(absent(Some(&back)), None, "it came back");
    }

    #[test]
    fn a_clock_that_was_set_back_hides_no_dead_sweeper_and_none_that_left() {
        let hour = ms(3_600_000);
        let dead = Watermark { passes: vec![("a".into(), NOW + hour)], ..mark(0) };
        let ahead = Watermark { at: NOW + hour, ..dead.clone() }.as_of(NOW);
        assert_eq!(absent(Some(&ahead)), Some(SweeperAbsence::Silent { ago: 0, by: "a".into() }));
        let other =
            Watermark { by: "b".into(), passes: vec![("b".into(), NOW), ("a".into(), NOW + hour)], ..dead };
        assert_eq!(absent(Some(&other)), None, "another one is at work");
        // It passed before the clock was set back, and left after that.
        let left = ("a".into(), NOW - ms(3_000));
        let left = Watermark { at: NOW + hour, passes: Vec::new(), left: Some(left), ..other }.as_of(NOW);
        let left = Watermark { by: "a".into(), ..left };
        assert_eq!(absent(Some(&left)), Some(SweeperAbsence::Left { ago: 3_000, by: "a".into() }));
    }
}
