//! From an observation to a plan: which agents are reaped and why, and which are held and why.
//!
//! [`plan`] is a function of data: two sweepers with the same observation make the same plan. A plan that has become
//! stale does no harm, because every reap carries the lease and the incarnation it was decided on.

use crate::sweep::brake::{self, Brake, Holding, Witness};
use crate::sweep::observation::{Observation, Suspect};
use crate::sweep::store_watch::Contact;
use crate::wire::orphan::Reason;

/// What a pass will do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SweepPlan {
    /// Positions of the suspects to reap, each with its reason.
    pub reap: Vec<(usize, Reason)>,
    /// Positions of the suspects that are held, the longest silent first.
    pub held: Vec<usize>,
    /// Why they are held. If the hold has a rate, [`SweepPlan::grant`] lets some of them be reaped.
    pub hold: Option<Holding>,
}

impl SweepPlan {
    /// Moves the first `count` of the held to the reaped. The store granted that many of the limited rate.
    pub fn grant(&mut self, count: usize, suspects: &[Suspect]) {
        let granted = self.held.drain(..count.min(self.held.len()));
        self.reap.extend(granted.map(|index| (index, suspects[index].reason())));
        self.reap.sort_unstable_by_key(|(index, _)| *index);
    }
}

/// Decides which suspects to reap and which to hold.
///
/// `witnesses` are beats of other, living agents. A beat that arrived while a suspect missed its own proves that the
/// store was up.
#[must_use]
pub fn plan(
    seen: &Observation,
    suspects: &[Suspect],
    contact: Contact,
    witnesses: &[Witness],
    brake: &Brake,
) -> SweepPlan {
    let (proven, silent): (Vec<usize>, Vec<usize>) =
        (0..suspects.len()).partition(|&index| suspects[index].is_proven());
    let verdict = brake::judge(seen, suspects, &silent, contact, witnesses, brake);
    let mut reap: Vec<(usize, Reason)> =
        proven.into_iter().chain(verdict.believed).map(|index| (index, suspects[index].reason())).collect();
    reap.sort_unstable_by_key(|(index, _)| *index);
    SweepPlan { reap, held: verdict.held, hold: verdict.holding }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_goes_in_the_order_of_the_held_and_the_rest_stays() {
        let suspect = |id: &str| Suspect { id: id.into(), has_heartbeat: true, ..Suspect::default() };
        let suspects = ["a", "b", "c"].map(suspect);
        let mut plan = SweepPlan { held: vec![2, 0, 1], ..SweepPlan::default() };
        plan.grant(2, &suspects);
        assert_eq!(plan.reap, [(0, Reason::StaleHeartbeat), (2, Reason::StaleHeartbeat)]);
        assert_eq!(plan.held, [1]);
        plan.grant(9, &suspects);
        assert_eq!(plan.held, [0; 0]);
    }
}
