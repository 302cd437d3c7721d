//! The end of a sprint: its agents leave, then the store says how it ended. A sprint that is interrupted stays as it is.

use std::time::Duration;

use agent_sdk::process::is_proven_gone;
use agent_sdk::witness;
use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::sprint::decide::{Process, slot_of};
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::sprint_record::SprintOutcome;
use lifecycle_redis::SprintEnded;

use crate::context::{Context, Trouble};
use crate::sprint::{Slot, Sprint, Stage};

impl Sprint {
    /// One step of the end. Signals are sent elsewhere, so that a store that is away does not delay them. `true` once
    /// the end is reached.
    pub(crate) async fn finish(&mut self, context: &Context, level: StopLevel) -> Result<bool, Trouble> {
        if self.slots.iter().any(|slot| slot.child.is_some()) {
            self.give_orders(context, level).await?;
        }
        if !self.is_deserted() {
            return Ok(false);
        }
        if !self.is_broken {
            self.take_in_tasks(context, false).await?;
        }
        self.reap_the_dead(context).await?;
        let outcome = self.outcome();
        if outcome == SprintOutcome::Interrupted && level == StopLevel::Finished {
            // A task was added, or is to be done again: there is work after all.
            self.stage = Stage::Running;
            (self.guests_since, self.guests_told) = (None, None);
            return Ok(true);
        }
        if outcome == SprintOutcome::Interrupted {
            // The epic waits, with this sprint as it is.
            self.stage = Stage::Over(outcome);
            self.say(context, &format!("paused, {} of {} tasks settled", self.settled(), self.records.len()));
            self.show(context);
            return Ok(true);
        }
        let leave_agents = self.have_guests_overstayed(context);
        match self.complete(context, outcome, (leave_agents, self.is_broken)).await? {
            SprintEnded::AgentsLeft(ids) => {
                self.send_guests_away(context, &ids).await?;
                return Ok(false);
            }
            // The next step takes it in.
            SprintEnded::MoreCame => return Ok(true),
            SprintEnded::Ok | SprintEnded::NoEpic => {}
        }
        self.stage = Stage::Over(outcome);
        self.say(context, &format!("{outcome}, {} of {} tasks settled", self.settled(), self.records.len()));
        self.show(context);
        Ok(true)
    }

    /// Removes registrations of agents that died and that no sweeper has removed: of ours, and of those of an earlier
    /// coordinator that died on this host.
    pub(crate) async fn reap_the_dead(&self, context: &Context) -> Result<(), Trouble> {
        let ids: Vec<_> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = context.store().records(&ids).await?;
        let (own_id, store) = (context.agent.id().as_str(), context.store());
        for ((slot, agent), record) in self.slots.iter().zip(&self.plan.agents).zip(&records) {
            let Some(record) = record else { continue };
            let is_earlier =
                record.parent.as_deref() == Some(own_id) && record.ended.is_none() && is_proven_gone(record);
            if is_earlier {
                witness::bear(&store, record, agent.id.as_str(), own_id).await?;
            }
            if is_earlier || slot.has_ended(record.incarnation) {
                self.reap(context, agent.id.as_str(), record.incarnation, Reason::ProcessExited).await?;
            }
        }
        Ok(())
    }

    /// Whether every process has ended and been dealt with.
    pub(crate) fn is_deserted(&self) -> bool {
        self.slots.iter().all(|slot| slot.child.is_none() && !slot.settling_exit)
    }

    async fn give_orders(&mut self, context: &Context, level: StopLevel) -> Result<(), Trouble> {
        // Some may have registered only now.
        let ids: Vec<_> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = context.store().records(&ids).await?;
        let why = match level {
            StopLevel::Finished => StopCause::SprintCompleted,
            _ => StopCause::CoordinatorStopping,
        };
        for ((slot, agent), record) in self.slots.iter_mut().zip(&self.plan.agents).zip(records) {
            let Slot { child: Some(child), .. } = slot else { continue };
            let own = record.filter(|record| child.is_of(record));
            let Some(record) = own else { continue };
            child.incarnation = Some(record.incarnation);
            let Some(order) = child.order_due().and_then(StopLevel::order) else { continue };
            context.store().order(agent.id.as_str(), record.incarnation, order, why).await?;
            child.note_ordered();
        }
        Ok(())
    }

    /// Guests are agents that somebody else started for this sprint. They are told to leave, once and then more
    /// urgently. A guest that lives and does not leave must not be ended: the sprint ends without it.
    async fn send_guests_away(&mut self, context: &Context, ids: &[String]) -> Result<(), Trouble> {
        let now = context.now();
        let is_first = self.guests_since.is_none();
        let since = *self.guests_since.get_or_insert(now);
        let order =
            if now.saturating_sub(since) < self.patience(context) { Order::Drain } else { Order::Terminate };
        for id in ids {
            let Some(record) = context.store().record(id).await? else { continue };
            if self.is_over(id, record.incarnation) {
                self.reap(context, id, record.incarnation, Reason::ProcessExited).await?;
            } else if is_first || (order == Order::Terminate && self.guests_told != Some(order)) {
                let whose =
                    if slot_of(&self.plan, id).is_some() { "" } else { ", which is not of this plan," };
                self.say(context, &format!("{id}{whose} is told to leave"));
                let why = StopCause::SprintCompleted;
                context.store().order(id, record.incarnation, order, why).await?;
            }
        }
        self.guests_told = Some(order);
        Ok(())
    }

    fn patience(&self, context: &Context) -> Duration {
        context.shutdown().kill_timeout
    }

    fn have_guests_overstayed(&self, context: &Context) -> bool {
        let now = context.now();
        let overstayed =
            self.guests_since.is_some_and(|since| now.saturating_sub(since) >= self.patience(context) * 3);
        if overstayed {
            self.warn(
                context,
                "agents that are not of this plan do not leave; ending the sprint without them",
            );
        }
        overstayed
    }

    fn is_over(&self, id: &str, life: Incarnation) -> bool {
        slot_of(&self.plan, id).is_some_and(|slot| self.slots[slot].has_ended(life))
    }

    /// Whether a pause or a signal is due, of which no event will tell.
    pub(crate) fn is_restless(&self) -> bool {
        let waits = |slot: &Slot| match slot.process {
            _ if slot.has_joined || slot.told_held.is_some() => false,
            Process::NotStarted { .. } | Process::Vacant { .. } => true,
            Process::Running | Process::Elsewhere | Process::GivenUp { .. } => false,
        };
        match self.stage {
            Stage::Starting | Stage::Finishing(_) => true,
            Stage::Running => self.slots.iter().any(waits),
            Stage::Waiting | Stage::Over(_) => false,
        }
    }
}
