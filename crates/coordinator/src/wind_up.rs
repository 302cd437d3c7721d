//! The end of a sprint: its agents leave, then nothing of it is left in the store.

use std::time::Duration;

use lifecycle_core::ids::Incarnation;
use lifecycle_core::record::Order;
use lifecycle_core::shutdown::StopCause;
use lifecycle_core::sprint::{Process, seat_of};
use lifecycle_core::sweep::Reason;
use lifecycle_redis::SprintEnded;

use crate::desk::{Desk, Trouble, written};
use crate::pressure::Manner;
use crate::sprint::{Post, Sprint, Stage};

impl Sprint {
    /// One step of the end. Signals are sent elsewhere, so that a store that is away does not hold them up.
    /// `true` once it is over.
    pub(crate) async fn wind_up(&mut self, desk: &Desk, manner: Manner) -> Result<bool, Trouble> {
        if self.posts.iter().any(|post| post.child.is_some()) {
            self.give_orders(desk, manner).await?;
        }
        if !self.is_deserted() {
            return Ok(false);
        }
        if self.taken {
            // Its records are somebody else's.
            self.stage = Stage::Over(self.outcome());
            return Ok(true);
        }
        if !self.is_broken {
            self.look_at_tasks(desk, false).await?;
        }
        self.reap_the_dead(desk).await?;
        let outcome = self.outcome();
        let (store, life) = (desk.store(), desk.life());
        let leave_agents = self.have_guests_overstayed(desk);
        let ended = store.complete_sprint(&life, &desk.epic, &self.plan.id, outcome.as_str(), leave_agents);
        match written(ended.await?)? {
            SprintEnded::AgentsLeft(ids) => {
                self.send_guests_away(desk, &ids).await?;
                return Ok(false);
            }
            // Its records are that one's business now.
            SprintEnded::Taken(holder) => self.warn(desk, &format!("it is now run by {holder}")),
            SprintEnded::Ok { keys_deleted } => {
                tracing::debug!(sprint = %self.plan.id, keys_deleted, "sprint removed");
            }
        }
        self.stage = Stage::Over(outcome);
        self.say(desk, &format!("{outcome}, {} of {} tasks settled", self.settled(), self.records.len()));
        self.show(desk);
        Ok(true)
    }

    /// Those that died and that no sweeper has been by for.
    async fn reap_the_dead(&self, desk: &Desk) -> Result<(), Trouble> {
        let ids: Vec<_> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = desk.store().records(&ids).await?;
        for ((post, id), record) in self.posts.iter().zip(ids).zip(records) {
            let life = record.map(|record| record.incarnation);
            if let Some(life) = life.filter(|life| post.has_buried(*life)) {
                self.reap(desk, id.as_str(), life, Reason::ProcessExited).await?;
            }
        }
        Ok(())
    }

    /// Whether every process has ended and been dealt with.
    pub(crate) fn is_deserted(&self) -> bool {
        self.posts.iter().all(|post| post.child.is_none() && !post.burying)
    }

    async fn give_orders(&mut self, desk: &Desk, manner: Manner) -> Result<(), Trouble> {
        // Some may have registered only now.
        let ids: Vec<_> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = desk.store().records(&ids).await?;
        let why = match manner {
            Manner::Finished => StopCause::SprintCompleted,
            _ => StopCause::CoordinatorStopping,
        };
        for ((post, agent), record) in self.posts.iter_mut().zip(&self.plan.agents).zip(records) {
            let Post { child: Some(child), .. } = post else { continue };
            let own =
                record.filter(|record| record.pid == Some(child.pid) && record.host == agent_sdk::host());
            let Some(record) = own else { continue };
            child.incarnation = Some(record.incarnation);
            let Some(order) = child.order_due().and_then(Manner::order) else { continue };
            desk.store().order(agent.id.as_str(), Some(record.incarnation), order, why.as_str()).await?;
            child.ordered();
        }
        Ok(())
    }

    /// Agents that somebody else started for this sprint: they are told to leave, once and then more urgently. Whoever
    /// lives and does not go is nobody's to end: the sprint ends without it.
    async fn send_guests_away(&mut self, desk: &Desk, ids: &[String]) -> Result<(), Trouble> {
        let now = desk.now();
        let is_first = self.guests_since.is_none();
        let since = *self.guests_since.get_or_insert(now);
        let order =
            if now.saturating_sub(since) < self.patience(desk) { Order::Drain } else { Order::Terminate };
        for id in ids {
            let Some(record) = desk.store().record(id).await? else { continue };
            if self.is_over(id, record.incarnation) {
                self.reap(desk, id, record.incarnation, Reason::ProcessExited).await?;
            } else if is_first || (order == Order::Terminate && self.guests_told != Some(order)) {
                self.say(desk, &format!("{id}, which is not of this plan, is told to leave"));
                let why = StopCause::SprintCompleted.as_str();
                desk.store().order(id, Some(record.incarnation), order, why).await?;
            }
        }
        self.guests_told = Some(order);
        Ok(())
    }

    fn patience(&self, desk: &Desk) -> Duration {
        desk.shutdown().kill_timeout
    }

    fn have_guests_overstayed(&self, desk: &Desk) -> bool {
        let now = desk.now();
        let overstayed =
            self.guests_since.is_some_and(|since| now.saturating_sub(since) >= self.patience(desk) * 3);
        if overstayed {
            self.warn(desk, "agents that are not of this plan do not leave; ending the sprint without them");
        }
        overstayed
    }

    fn is_over(&self, id: &str, life: Incarnation) -> bool {
        seat_of(&self.plan, id).is_some_and(|seat| self.posts[seat].has_buried(life))
    }

    /// Whether something is due that nobody will tell us of: a pause that ends, a signal.
    pub(crate) fn is_restless(&self) -> bool {
        let waits = |post: &Post| match post.process {
            _ if post.is_retired || post.told_held.is_some() => false,
            Process::NotStarted { .. } | Process::Vacant { .. } => true,
            Process::Running | Process::GivenUp { .. } => false,
        };
        match self.stage {
            Stage::Starting | Stage::Winding(_) => true,
            Stage::Running => self.posts.iter().any(waits),
            Stage::Waiting | Stage::Over(_) => false,
        }
    }
}
