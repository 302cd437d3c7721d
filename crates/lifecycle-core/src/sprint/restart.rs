//! How often a crashed agent is started again.
//!
//! A crash now and then does no harm. An agent that crashes as often as it is started will not recover by itself. So
//! restarts are counted over a sliding window, each waits longer than the one before, and after the allowed number the
//! agent is given up.

use std::time::Duration;

/// Pause before the first restart of a window; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause before an agent that left, by itself or because it was told to, is replaced.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);

/// Settings `coordinator.restart_limit` and `coordinator.restart_window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Most restarts within the window; 0 restarts nobody.
    pub limit: u32,
    /// The sliding window over which restarts are counted.
    pub window: Duration,
}

/// What to do about an agent that crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Start it again at this time.
    At(Duration),
    /// It used up its restarts.
    GiveUp,
}

/// When to replace an agent that left although work remains: soon, but not in a tight loop.
#[must_use]
pub fn replace_at(left: Duration) -> Duration {
    left + REPLACE_PAUSE
}

impl RestartPolicy {
    /// Judges an agent that crashed at `crashed` and had been restarted at these times, all by one clock.
    #[must_use]
    pub fn judge(&self, restarts: &[Duration], crashed: Duration) -> Restart {
        let begin = crashed.saturating_sub(self.window);
        let recent = restarts.iter().filter(|at| **at >= begin).count();
        if recent >= usize::try_from(self.limit).unwrap_or(usize::MAX) {
            return Restart::GiveUp;
        }
        let doublings = u32::try_from(recent).unwrap_or(u32::MAX).min(16);
        Restart::At(crashed + (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy { limit: 3, window: Duration::from_secs(60) };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_restarts_in_a_minute_are_made_each_later_than_the_last_and_a_fourth_is_not() {
        assert_eq!(POLICY.judge(&[], s(100)), Restart::At(Duration::from_millis(100_100)));
        assert_eq!(POLICY.judge(&[s(99)], s(100)), Restart::At(Duration::from_millis(100_200)));
        assert_eq!(POLICY.judge(&[s(98), s(99)], s(100)), Restart::At(Duration::from_millis(100_400)));
        assert_eq!(POLICY.judge(&[s(97), s(98), s(99)], s(100)), Restart::GiveUp);
    }

    #[test]
    fn restarts_older_than_the_window_do_not_count() {
        assert_eq!(POLICY.judge(&[s(10), s(20), s(39)], s(100)), Restart::At(Duration::from_millis(100_100)));
    }

    #[test]
    fn a_limit_of_0_restarts_nobody_and_no_pause_grows_without_end() {
        assert_eq!(RestartPolicy { limit: 0, ..POLICY }.judge(&[], s(1)), Restart::GiveUp);
        let patient = RestartPolicy { limit: u32::MAX, ..POLICY };
        assert_eq!(patient.judge(&[s(100); 50], s(100)), Restart::At(s(105)));
    }
}
