//! How hard a coordinator presses its agents to end, as time passes.
//!
//! An agent normally ends when it is asked. One that hangs must not hold up its sprint for ever. So each level has a
//! schedule: an order through the store where the level has one, then a signal, then a second signal (which hurries an
//! agent), at last KILL.

use std::time::Duration;

use crate::agent::shutdown::{Stop, Urgency};
use crate::settings::Shutdown;
use crate::wire::record::Order;

/// Time that an agent has to answer an order before it is sent a signal.
const ORDER_PATIENCE: Duration = Duration::from_secs(1);
/// Time that an agent has to release itself, after all other waiting.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
/// Time from the start of a hurried or fenced stop to KILL.
const HURRY_PATIENCE: Duration = Duration::from_secs(3);

/// How urgently children are asked to end; a greater value is more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// The sprint has no work left.
    Finished,
    /// Finish the task in hand, then leave.
    Drain,
    /// Hand the task in hand back and leave.
    Terminate,
    /// Leave at once.
    Hurry,
    /// The life of the child or of the coordinator is over.
    Fenced,
}

/// What a child should have been sent by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DueSignals {
    /// How many signals: 1 is TERM, 2 is a second one.
    pub signals: u8,
    /// Whether KILL is due.
    pub kill: bool,
}

impl StopLevel {
    /// The level at which the children stop when their coordinator stops.
    #[must_use]
    pub fn of(stop: &Stop) -> Self {
        match stop.urgency {
            Urgency::Drain => Self::Drain,
            Urgency::Terminate => Self::Terminate,
            Urgency::Hurry => Self::Hurry,
            Urgency::Fenced => Self::Fenced,
        }
    }

    /// The order that is given through the store at this level, if there is one.
    #[must_use]
    pub fn order(self) -> Option<Order> {
        match self {
            Self::Finished | Self::Drain => Some(Order::Drain),
            Self::Terminate => Some(Order::Terminate),
            Self::Hurry | Self::Fenced => None,
        }
    }

    /// What is due `elapsed` after the child was first asked at this level.
    #[must_use]
    pub fn due(self, elapsed: Duration, shutdown: &Shutdown) -> DueSignals {
        let (drain, kill) = (shutdown.drain_timeout, shutdown.kill_timeout);
        let never = Duration::MAX;
        let (first, second, last) = match self {
            Self::Finished => (ORDER_PATIENCE, never, drain + kill),
            Self::Drain => (drain + ORDER_PATIENCE, never, drain + kill * 2 + RELEASE_PATIENCE),
            Self::Terminate => (ORDER_PATIENCE, ORDER_PATIENCE + kill, kill * 2 + RELEASE_PATIENCE),
            Self::Hurry => (Duration::ZERO, Duration::ZERO, HURRY_PATIENCE),
            Self::Fenced => (Duration::ZERO, ORDER_PATIENCE, HURRY_PATIENCE),
        };
        DueSignals {
            signals: u8::from(elapsed >= first) + u8::from(elapsed >= second),
            kill: elapsed >= last,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::shutdown::StopCause;

    use super::*;

    fn due(level: StopLevel, ms: u64) -> (u8, bool) {
        let due = level.due(Duration::from_millis(ms), &Shutdown::default());
        (due.signals, due.kill)
    }

    #[test]
    fn an_idle_agent_is_told_then_signalled_and_never_waited_for_for_ever() {
        assert_eq!(StopLevel::Finished.order(), Some(Order::Drain));
        assert_eq!([due(StopLevel::Finished, 0), due(StopLevel::Finished, 1_000)], [(0, false), (1, false)]);
        assert_eq!(due(StopLevel::Finished, 35_000), (1, true));
    }

    #[test]
    fn a_task_in_hand_gets_its_time_to_finish_when_draining_and_none_when_hurried() {
        assert_eq!(due(StopLevel::Drain, 30_999), (0, false));
        assert_eq!([due(StopLevel::Hurry, 0), due(StopLevel::Hurry, 3_000)], [(2, false), (2, true)]);
    }

    #[test]
    fn a_stop_of_the_coordinator_lets_its_children_finish_unless_it_is_urgent() {
        let stop = |urgency, cause| StopLevel::of(&Stop { urgency, cause });
        assert_eq!(stop(Urgency::Drain, StopCause::Interrupt), StopLevel::Drain, "a pause");
        assert_eq!(stop(Urgency::Drain, StopCause::Operator), StopLevel::Drain);
        assert_eq!(stop(Urgency::Hurry, StopCause::Interrupt), StopLevel::Hurry);
    }
}
