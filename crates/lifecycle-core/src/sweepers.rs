//! Is anybody sweeping?
//!
//! Every sweeper writes down when it last made a pass, and one that stops takes its entry back. So a sweeper that left says
//! so at once, one that died is missed after two intervals, and neither hides behind another that is at work.

use std::time::Duration;

use crate::liveness::millis;
use crate::sweep::{Observation, Watermark};

/// Why nobody is taken to be sweeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweeperAbsence {
    /// There was never a pass.
    Never,
    /// The last sweeper stopped as it should.
    Left {
        /// How long ago, in ms.
        ago: u64,
        /// Which one.
        by: String,
    },
    /// The last pass is too long ago.
    Silent {
        /// How long, in ms.
        ago: u64,
        /// Who made it.
        by: String,
    },
}

/// Whether nobody is sweeping, and why; `None` while somebody is. A pass that is no longer ago than two `interval`s
/// (`sweep.interval`) is a sweeper at work, or as good as one: a pass from cron counts, too.
#[must_use]
pub fn sweeper_absence(seen: &Observation, interval: Duration) -> Option<SweeperAbsence> {
    let Some(mark) = &seen.watermark else { return Some(SweeperAbsence::Never) };
    let patience = millis(interval).saturating_mul(2);
    let is_fresh = |at: u64| seen.now.saturating_sub(at) <= patience;
    let left = mark.left.as_ref().filter(|(by, at)| *by == mark.by && *at >= mark.at);
    if mark.passes.iter().any(|(_, at)| is_fresh(*at)) || (left.is_none() && is_fresh(mark.at)) {
        return None;
    }
    let ago = |at: u64| seen.now.saturating_sub(at);
    Some(match left {
        Some((by, at)) => SweeperAbsence::Left { ago: ago(*at), by: by.clone() },
        None => SweeperAbsence::Silent { ago: ago(mark.at), by: mark.by.clone() },
    })
}

impl Watermark {
    /// Notes a field of the record: `pass:<sweeper>` is its last pass.
    pub fn note_pass(&mut self, field: &str, value: &str) {
        if let (Some(sweeper), Ok(at)) = (field.strip_prefix(PASS), value.parse()) {
            self.passes.push((sweeper.into(), at));
        }
    }
}

/// What the fields of `sweep:watermark` begin with that hold the last pass of one sweeper.
pub const PASS: &str = "pass:";

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: u64 = 1_764_000_000_000;

    fn seen(mark: Option<Watermark>) -> Observation {
        Observation { now: NOW, watermark: mark, ..Observation::default() }
    }

    /// The last pass was made by `a`, so long ago.
    fn mark(ago: u64) -> Watermark {
        let at = NOW - ago;
        Watermark { at, by: "a".into(), passes: vec![("a".into(), at)], ..Watermark::default() }
    }

    #[test]
    fn a_sweeper_is_missed_after_two_intervals() {
        assert_eq!(sweeper_absence(&seen(None), MINUTE), Some(SweeperAbsence::Never));
        assert_eq!(sweeper_absence(&seen(Some(mark(120_000))), MINUTE), None);
        let silent = SweeperAbsence::Silent { ago: 120_001, by: "a".into() };
        assert_eq!(sweeper_absence(&seen(Some(mark(120_001))), MINUTE), Some(silent));
        let ahead = Watermark { at: NOW + 9, by: "a".into(), ..Watermark::default() };
        assert_eq!(
            sweeper_absence(&seen(Some(ahead)), MINUTE),
            None,
            "the clock was set back, or an older sweeper wrote it"
        );
    }

    #[test]
    fn one_that_left_is_missed_at_once_unless_another_is_at_work() {
        let left = Watermark { passes: Vec::new(), left: Some(("a".into(), NOW - 3_000)), ..mark(5_000) };
        assert_eq!(
            sweeper_absence(&seen(Some(left.clone())), MINUTE),
            Some(SweeperAbsence::Left { ago: 3_000, by: "a".into() })
        );
        let other = Watermark { passes: vec![("b".into(), NOW - 50_000)], ..left.clone() };
        assert_eq!(sweeper_absence(&seen(Some(other)), MINUTE), None);
        let back = Watermark { at: NOW - 1_000, ..left };
        assert_eq!(sweeper_absence(&seen(Some(back)), MINUTE), None, "it came back");
    }
}
