//! How much memory an agent may use, and what happens when it uses more.
//!
//! There are two limits. Beyond the *soft* one the agent is asked to finish what it has in hand and leave, so that a
//! fresh agent can take over. Beyond the *hard* one its process tree is ended. Neither waits until a leak is proven,
//! because a limit is a promise to everybody else on the machine.
//!
//! Resident memory counts a page that five processes share five times, so it can be over a limit although the tree is
//! not. It is cheap to read and never too low. The proportional share (PSS) is read only where resident memory exceeds
//! a limit, and then the PSS decides.

use crate::wire::word_enum::word_enum;

/// The limits of one agent, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryBudget {
    /// Beyond this the agent is drained.
    pub soft: Option<u64>,
    /// Beyond this its tree is ended.
    pub hard: Option<u64>,
}

word_enum! {
    /// Which limit was exceeded.
    Limit, "memory limit" {
        /// The one beyond which an agent is drained.
        Soft = "soft",
        /// The one beyond which its tree is ended.
        Hard = "hard",
    }
}

/// How far a limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The limit that was exceeded.
    pub limit: Limit,
    /// What is allowed, in bytes.
    pub allowed: u64,
    /// What is used, in bytes.
    pub used: u64,
}

impl MemoryBudget {
    /// Whether there is no limit at all, so nothing to watch.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.soft.is_none() && self.hard.is_none()
    }

    /// The limit that ends the agent's work, for forecasts: the hard one, or else the soft one.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.hard.or(self.soft)
    }

    /// The gravest limit that `used` bytes exceed; `None` within the limits.
    #[must_use]
    pub fn judge(&self, used: u64) -> Option<Excess> {
        let excess = |limit, allowed: Option<u64>| {
            allowed.filter(|allowed| used > *allowed).map(|allowed| Excess { limit, allowed, used })
        };
        excess(Limit::Hard, self.hard).or_else(|| excess(Limit::Soft, self.soft))
    }

    /// Why these two limits contradict each other; `None` if they do not.
    #[must_use]
    pub fn contradiction(&self) -> Option<&'static str> {
        match (self.soft, self.hard) {
            (Some(soft), Some(hard)) if soft >= hard => {
                Some("must be below the memory limit, or the tree is ended before the agent can drain")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: MemoryBudget = MemoryBudget { soft: Some(100), hard: Some(200) };

    #[test]
    fn the_gravest_limit_counts_and_a_limit_may_be_reached() {
        let judged = |used| BUDGET.judge(used).map(|excess| (excess.limit, excess.allowed));
        assert_eq!(judged(100), None);
        assert_eq!(judged(101), Some((Limit::Soft, 100)));
        assert_eq!(judged(200), Some((Limit::Soft, 100)));
        assert_eq!(judged(201), Some((Limit::Hard, 200)));
        assert_eq!(MemoryBudget::default().judge(u64::MAX), None);
    }

    #[test]
    fn a_soft_limit_at_or_above_the_hard_one_is_a_contradiction() {
        assert!(MemoryBudget { soft: Some(200), ..BUDGET }.contradiction().is_some());
        assert_eq!(BUDGET.contradiction(), None);
        assert_eq!(MemoryBudget { hard: None, ..BUDGET }.contradiction(), None);
    }
}
