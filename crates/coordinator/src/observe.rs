//! Observing: what the store and our own children say of a sprint, put together for a decision. Before that, what the store
//! has lost is put back, and what came in is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_sdk::process::is_proven_gone;
use lifecycle_cli::output::count;
use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::sprint::decide::{Exit, Grip, IdHolder, Process, SlotLife, SlotView, slot_of};
use lifecycle_core::sprint::plan::TaskPlan;
use lifecycle_core::wire::ids::{AgentId, TaskId};
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_core::wire::task::{Cost, Requeued, SprintMessage, TaskRecord, TaskState};
use lifecycle_redis::SprintStarted;

use crate::context::{Context, Trouble, written};
use crate::sprint::{Slot, Sprint};

/// How long a store that lost its memory is no news.
const RESTORED_FOR: Duration = Duration::from_secs(10);

/// What a decision needs besides the records.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) slots: Vec<SlotView>,
    pub(crate) grips: BTreeMap<TaskId, Grip>,
}

impl Sprint {
    /// Everything that a decision needs, once the records are taken in ([`Sprint::take_in_tasks`]).
    pub(crate) async fn observe(&mut self, context: &Context) -> Result<Observed, Trouble> {
        self.take_in_registrations(context).await?;
        let grips = self.observe_holders(context).await?;
        let now = context.now();
        let coordinator = context.agent.id();
        Ok(Observed {
            slots: self.slots.iter().map(|slot| slot_view(slot, coordinator, now)).collect(),
            grips,
        })
    }

    /// Takes back what was handed back, then reads the records. If the store has lost them they are written again.
    pub(crate) async fn take_in_tasks(&mut self, context: &Context, restore: bool) -> Result<(), Trouble> {
        let (store, id) = (context.store(), self.plan.id.clone());
        let incoming = written(store.take_incoming(&id).await?)?;
        let mut records = store.task_records(&id).await?;
        let is_missing = |task: &TaskPlan| !records.knows(task.id.as_str());
        let is_lost = self.plan.tasks.iter().any(is_missing) || store.sprint_state(&id).await?.is_empty();
        if is_lost && restore {
            self.tell_lost(context);
            match self.put_records(context).await? {
                SprintStarted::Ok => records = store.task_records(&id).await?,
                SprintStarted::Taken(holder) => {
                    self.warn(context, &format!("it is now run by {holder}; ending it here"));
                    self.taken = true;
                    self.interrupt(StopLevel::Terminate);
                    return Ok(());
                }
            }
        }
        self.put_forward(context, &records.readable).await?;
        self.adopt(context, &records.readable);
        self.mend(context, &records.unreadable).await?;
        incoming.returned.iter().for_each(|entry| self.tell_returned(context, entry));
        incoming.messages.iter().for_each(|message| self.obey(context, message));
        Ok(())
    }

    /// Said once for a while: a store that loses its memory again and again is one trouble.
    fn tell_lost(&mut self, context: &Context) {
        let now = context.now();
        let is_news = self.restored_at.is_none_or(|at| now.saturating_sub(at) > RESTORED_FOR);
        self.restored_at = Some(now);
        if is_news {
            self.warn(context, "the store lost its memory; writing the sprint's records again");
        }
    }

    /// A store that went back in time forgot how far tasks had come. What was read from it before is put there again, or
    /// work that was done would be done twice.
    async fn put_forward(
        &self,
        context: &Context,
        seen: &BTreeMap<String, TaskRecord>,
    ) -> Result<(), Trouble> {
        let store = context.store();
        let mut forwarded = 0;
        for (task, known) in &self.records {
            let Some(seen) = seen.get(task.as_str()).filter(|seen| seen.is_behind(known)) else { continue };
            let reply = store.forward_task(&self.plan.id, task, (seen, known)).await?;
            forwarded += u64::from(written(reply)?);
        }
        if forwarded > 0 {
            let tasks = count(forwarded, "task");
            self.warn(
                context,
                &format!("the store went back in time; what had become of {tasks} is put there again"),
            );
        }
        Ok(())
    }

    /// Writes records anew that cannot be read: whatever somebody put there, what the task was is known here.
    async fn mend(
        &mut self,
        context: &Context,
        unreadable: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Trouble> {
        for (task, bytes) in unreadable {
            let known = self.records.iter().find(|(known, _)| known.as_str() == task);
            let Some((task, record)) = known.map(|(task, record)| (task.clone(), record.clone())) else {
                continue;
            };
            let mended = context.store().mend_task(&self.plan.id, &task, bytes, &record).await?;
            if written(mended)? && self.mended.insert(task.clone()) {
                let key = context.store().keys().sprint_tasks(&self.plan.id);
                self.warn(
                    context,
                    &format!("{key} held no record of {task}; it is written anew ({})", record.state),
                );
            }
        }
        Ok(())
    }

    /// What an operator wants of one of the agents.
    fn obey(&mut self, context: &Context, message: &SprintMessage) {
        let (SprintMessage::Retire { agent_id } | SprintMessage::Restart { agent_id }) = message;
        // An epic's sprints are all told; one of them has the agent.
        let Some(agent) = slot_of(&self.plan, agent_id) else { return };
        let slot = &mut self.slots[agent];
        match message {
            SprintMessage::Retire { .. } => {
                slot.is_retired = true;
                self.say(context, &format!("{agent_id} will not be replaced"));
            }
            SprintMessage::Restart { .. } => {
                slot.is_retired = false;
                slot.restarts.clear();
                if let Process::GivenUp { since } = slot.process {
                    slot.process = Process::Vacant { since, how: Exit::Left };
                }
                self.say(context, &format!("{agent_id} is wanted again"));
            }
        }
    }

    fn tell_returned(&self, context: &Context, entry: &Requeued) {
        let record =
            self.records.iter().find(|(task, _)| task.as_str() == entry.task_id).map(|(_, record)| record);
        let Some(record) = record.filter(|record| !record.state.is_settled()) else { return };
        let Requeued { task_id, agent_id, reason, cost, .. } = entry;
        let spent = match cost {
            Cost::Attempt => format!("{} of {} attempts used", record.attempt, record.max_attempts),
            Cost::Crash => format!("crash {} of {}", record.crashes, record.max_crashes),
            Cost::Nothing => "at no cost".into(),
        };
        self.warn(context, &format!("{task_id} comes back from {agent_id} ({reason}), {spent}"));
    }

    async fn take_in_registrations(&mut self, context: &Context) -> Result<(), Trouble> {
        let ids: Vec<&AgentId> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = context.store().records(&ids).await?;
        let now = context.now();
        let mut overdue = Vec::new();
        for ((slot, agent), record) in self.slots.iter_mut().zip(&self.plan.agents).zip(records) {
            if slot.notice(record, now) {
                overdue.push(agent.id.clone());
            }
        }
        for id in overdue {
            self.warn(context, &format!("{id} was cleaned up while its process still runs; ending it"));
        }
        Ok(())
    }

    /// Tasks in flight that nobody seems to hold, and since when.
    async fn observe_holders(&mut self, context: &Context) -> Result<BTreeMap<TaskId, Grip>, Trouble> {
        let mut doubtful: BTreeMap<TaskId, bool> = BTreeMap::new();
        let mut claims: Vec<(&AgentId, &TaskId)> = Vec::new();
        for (task, record) in self.records.iter().filter(|(_, record)| record.state == TaskState::Assigned) {
            let Some(agent) = record.agent_id.as_deref().and_then(|id| slot_of(&self.plan, id)) else {
                continue;
            };
            let slot = &self.slots[agent];
            let registered = slot.record.as_ref().filter(|seen| Some(seen.incarnation) == record.incarnation);
            match registered {
                // It is being cleaned up, and the task comes back with that.
                Some(seen) if seen.ended.is_some() => {}
                Some(_) => claims.push((&self.plan.agents[agent].id, task)),
                // It may register again with the task in hand.
                None if slot.child.is_some() && slot.life() == record.incarnation => {}
                None => {
                    doubtful.insert(task.clone(), true);
                }
            }
        }
        let held = context.store().have_tasks(&claims).await?;
        doubtful.extend(
            claims.iter().zip(held).filter(|(_, held)| !held).map(|((_, task), _)| ((*task).clone(), false)),
        );
        let now = context.now();
        self.loose.retain(|task, _| doubtful.contains_key(task));
        let grips = doubtful.into_iter().map(|(task, gone)| {
            let time = now.saturating_sub(*self.loose.entry(task.clone()).or_insert(now));
            (task, if gone { Grip::Gone(time) } else { Grip::Dropped(time) })
        });
        Ok(grips.collect())
    }
}

impl Slot {
    /// Takes note of the registration. `true` if the running process should be told that its life is over.
    fn notice(&mut self, record: Option<AgentRecord>, now: Duration) -> bool {
        self.record = record;
        let Some(child) = &mut self.child else { return false };
        let seen = self.record.as_ref();
        if let Some(own) = seen.filter(|seen| seen.pid == Some(child.pid) && seen.host == agent_sdk::host()) {
            child.incarnation = Some(own.incarnation);
            self.missing_since = None;
            return false;
        }
        if child.incarnation.is_none() {
            return false;
        }
        self.missing_since.get_or_insert(now);
        let reaped = self.reaped.take() == child.incarnation;
        if reaped {
            child.ask(StopLevel::Fenced, now);
        }
        reaped
    }
}

/// Who holds the id of this slot. The life that a process of ours left behind, and one of an earlier run whose process is
/// gone from this very host, are proven dead. Whatever else is not ours is somebody's.
fn holder(slot: &Slot, record: &AgentRecord, coordinator: &AgentId) -> IdHolder {
    let life = record.incarnation;
    if slot.life() == Some(life) {
        IdHolder::Own
    } else if slot.is_over(record) {
        IdHolder::Dead
    } else if record.parent.as_deref() != Some(coordinator.as_str()) {
        IdHolder::Stranger
    } else if is_proven_gone(record) {
        IdHolder::Dead
    } else {
        IdHolder::Earlier
    }
}

fn slot_view(slot: &Slot, coordinator: &AgentId, now: Duration) -> SlotView {
    let life = slot.record.as_ref().map(|record| SlotLife {
        incarnation: record.incarnation,
        holder: holder(slot, record, coordinator),
        takes_work: record.state.takes_work() && record.ended.is_none(),
    });
    SlotView {
        // While an exit is being dealt with, what it left running may still be at work.
        process: if slot.settling_exit { Process::Running } else { slot.process },
        life,
        missing_for: slot.missing_since.map(|since| now.saturating_sub(since)),
        given: slot.given,
        restarts: slot.restarts.clone(),
        is_retired: slot.is_retired,
    }
}
