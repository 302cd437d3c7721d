//! How urgent a stop is, and what may still run during it.
//!
//! A stop only becomes more urgent. Its cause may be a signal, an order, a lost coordinator or fencing; each means one
//! of four urgencies. What a role does while it stops follows from the urgency and the time that has passed.

use std::time::Duration;

use crate::wire::record::Order;
use crate::wire::task::Cost;
use crate::wire::word_enum::word_enum;

/// How urgent a stop is. A greater value overrides a smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Take no more work, finish what is in hand, release. A `drain` order, the first signal.
    Drain,
    /// End the work in hand (TERM, then KILL), hand it back, release. A `terminate` order, or a lost coordinator.
    Terminate,
    /// Terminate, without waiting between TERM and KILL. The second signal.
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

    /// How much longer the work in hand may go on, `elapsed` after the stop was asked for. `None` when it has to end
    /// now.
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
            // Another agent may already do this work: end quickly, but let the command close its files.
            Self::Fenced => kill_timeout.min(Duration::from_secs(1)),
        }
    }

    /// Whether the agent may still write to the store.
    #[must_use]
    pub fn may_write(self) -> bool {
        self != Self::Fenced
    }
}

word_enum! {
    /// Why an agent stops; it stands in the `release` entry of the audit log and in `agent_shutdown`.
    StopCause, "stop cause" {
        /// Its work is complete.
        Done = "done",
        /// The program that embeds the agent asked it to stop.
        Requested = "requested",
        /// SIGHUP.
        Hangup = "SIGHUP",
        /// SIGINT, as a rule from a terminal.
        Interrupt = "SIGINT",
        /// SIGTERM.
        Terminate = "SIGTERM",
        /// An operator's order.
        Operator = "operator",
        /// Its sprint is over.
        SprintCompleted = "sprint_completed",
        /// Its coordinator was told to stop.
        CoordinatorStopping = "coordinator_stopping",
        /// Its coordinator died.
        CoordinatorLost = "coordinator_lost",
        /// The standard input of a helper has ended: nobody speaks to it any more.
        InputEnded = "input_ended",
        /// Nobody has spoken to a helper for as long as it was given.
        Idle = "idle",
        /// An operator cancelled the epic that it coordinates.
        EpicCancelled = "epic_cancelled",
        /// Its command uses more than its soft memory limit.
        SoftMemoryLimit = "soft_memory_limit",
        /// Its command used more than its hard memory limit and was ended.
        MemoryLimit = "memory_limit",
        /// The kernel ended its command because memory was short.
        OutOfMemory = "out_of_memory",
        /// Somebody has ended the guard that held its command, and the command with it.
        GuardLost = "guard_lost",
        /// The program that embeds the agent panicked.
        Panic = "panic",
        /// Its life was reaped or replaced.
        Fenced = "fenced",
    }
}

impl StopCause {
    /// Whether the cause is a signal of the operating system.
    #[must_use]
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Hangup | Self::Interrupt | Self::Terminate)
    }

    /// What a task costs that the agent had begun and not finished when it left for this cause.
    #[must_use]
    pub fn cost(self) -> Cost {
        match self {
            // The agent's own program left the task unfinished, or the task needs more memory than allowed. Without a
            // cost it would be retried for ever.
            Self::Done | Self::Requested | Self::SoftMemoryLimit | Self::MemoryLimit => Cost::Attempt,
            Self::Panic | Self::GuardLost | Self::OutOfMemory => Cost::Crash,
            Self::Hangup
            | Self::Interrupt
            | Self::Terminate
            | Self::Operator
            | Self::SprintCompleted
            | Self::CoordinatorStopping
            | Self::CoordinatorLost
            | Self::InputEnded
            | Self::Idle
            | Self::EpicCancelled
            | Self::Fenced => Cost::Nothing,
        }
    }
}

/// A stop that was asked for, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// How urgent it is.
    pub urgency: Urgency,
    /// Why it was asked for.
    pub cause: StopCause,
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
    fn orders_and_signals_cost_the_task_in_hand_nothing_and_leaving_it_unfinished_does() {
        for cause in
            [StopCause::Operator, StopCause::Interrupt, StopCause::Terminate, StopCause::CoordinatorLost]
        {
            assert_eq!(cause.cost(), Cost::Nothing, "{cause}");
        }
        assert_eq!(StopCause::Panic.cost(), Cost::Crash);
        assert_eq!([StopCause::Done.cost(), StopCause::SoftMemoryLimit.cost()], [Cost::Attempt; 2]);
        assert!("SIGTERM".parse::<StopCause>().unwrap().is_signal() && !StopCause::Operator.is_signal());
    }

    #[test]
    fn urgency_only_grows_and_the_fenced_write_nothing() {
        assert!(Urgency::Drain < Urgency::Terminate && Urgency::Hurry < Urgency::Fenced);
        assert!(Urgency::Hurry.may_write() && !Urgency::Fenced.may_write());
        assert_eq!(Urgency::Hurry.kill_after(DRAIN), Duration::ZERO);
    }
}
