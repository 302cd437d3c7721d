//! How urgent a stop is, and what may still run.
//!
//! A stop only ever becomes more urgent. Whatever asks for it (a signal, an order, a lost coordinator, fencing) is
//! one of four urgencies, and everything a role does while stopping follows from the urgency and the time that has
//! passed.

use std::time::Duration;

use crate::record::Order;
use crate::words::words;

words! {
    /// Why an agent leaves of its own accord: the reason of its release. Another reason is what it was told by others (a
    /// signal, an order's words).
    Departure, "reason to leave" {
        /// Its work is done.
        Done = "done",
        /// It panicked.
        Panic = "panic",
        /// Its process tree used more memory than its hard limit, and was ended.
        MemoryLimit = "memory_limit",
        /// It used more memory than its soft limit, and finished what it had in hand.
        SoftMemoryLimit = "soft_memory_limit",
    }
}

/// How urgent a stop is; later ones override earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Take no more work, finish what is in hand, release. A `drain` order, the first signal.
    Drain,
    /// End the work in hand (TERM, then KILL), hand it back, release. A `terminate` order, a lost coordinator.
    Terminate,
    /// As before but without waiting. The second signal.
    Hurry,
    /// This life is over: end the work in hand, write nothing. Exit code 70.
    Fenced,
}

impl Urgency {
    /// The urgency of an order.
    #[must_use]
    pub fn of(order: Order) -> Self {
        match order {
            Order::Drain => Self::Drain,
            Order::Terminate => Self::Terminate,
        }
    }

    /// How much longer the work in hand may go on, `elapsed` after the stop was asked for; `None` when it must end.
    #[must_use]
    pub fn work_may_go_on(self, elapsed: Duration, drain_timeout: Duration) -> Option<Duration> {
        match self {
            Self::Drain => drain_timeout.checked_sub(elapsed).filter(|left| !left.is_zero()),
            Self::Terminate | Self::Hurry | Self::Fenced => None,
        }
    }

    /// How long a process tree has between TERM and KILL.
    #[must_use]
    pub fn kill_after(self, kill_timeout: Duration) -> Duration {
        match self {
            Self::Drain | Self::Terminate => kill_timeout,
            Self::Hurry => Duration::ZERO,
            // Somebody else may already do this work: be quick, but give it a chance to close files.
            Self::Fenced => kill_timeout.min(Duration::from_secs(1)),
        }
    }

    /// Whether the agent may still write to the store.
    #[must_use]
    pub fn may_write(self) -> bool {
        self != Self::Fenced
    }
}

/// A stop that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// How urgent it is.
    pub urgency: Urgency,
    /// Why, in a word or two: `SIGTERM`, `drain`, `coordinator_lost`, `fenced`.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(30);

    #[test]
    fn work_goes_on_while_draining_until_the_timeout_and_ends_at_once_otherwise() {
        let second = Duration::from_secs(1);
        assert_eq!(Urgency::Drain.work_may_go_on(second, DRAIN), Some(Duration::from_secs(29)));
        assert_eq!(Urgency::Drain.work_may_go_on(DRAIN, DRAIN), None);
        assert_eq!(Urgency::Terminate.work_may_go_on(Duration::ZERO, DRAIN), None);
    }

    #[test]
    fn urgency_only_grows_and_the_fenced_write_nothing() {
        assert!(Urgency::Drain < Urgency::Terminate && Urgency::Hurry < Urgency::Fenced);
        assert!(Urgency::Hurry.may_write() && !Urgency::Fenced.may_write());
        assert_eq!(Urgency::Hurry.kill_after(DRAIN), Duration::ZERO);
    }
}
