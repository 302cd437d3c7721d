//! Observing: collects what the store and our own children tell of a sprint, for a decision. Before that, it restores
//! what the store has lost, and takes in what came for the sprint.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_sdk::process::{is_proven_gone, process_here};
use lifecycle_cli::output::count;
use lifecycle_core::agent::liveness::sweeper_absence;
use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::sprint::decide::{Exit, Grip, IdHolder, Process, SlotLife, SlotView, slot_of};
use lifecycle_core::sprint::plan::TaskPlan;
use lifecycle_core::wire::ids::{AgentId, Incarnation, TaskId};
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_core::wire::task::{Cost, Requeued, SprintMessage, TaskRecord, TaskState};

use lifecycle_core::wire::sprint_record::SprintRecord;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::Incoming;

use crate::children::Child;
use crate::context::{Context, Trouble, written};
use crate::sprint::{Slot, Sprint, Stage};

/// After the store lost its memory, another loss within this time is not reported again.
const RESTORED_FOR: Duration = Duration::from_secs(10);

/// What a decision needs besides the records.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) slots: Vec<SlotView>,
    pub(crate) grips: BTreeMap<TaskId, Grip>,
}

impl Sprint {
    /// Reads all that a decision needs, after the records are taken in ([`Sprint::take_in_tasks`]).
    pub(crate) async fn observe(&mut self, context: &Context) -> Result<Observed, Trouble> {
        self.take_in_joined(context).await?;
        self.take_in_registrations(context).await?;
        let overdue = self.find_overdue(context).await?;
        let grips = self.observe_holders(context).await?;
        let now = context.now();
        let coordinator = context.agent.id();
        Ok(Observed {
            slots: self
                .slots
                .iter()
                .zip(&self.plan.agents)
                .zip(overdue)
                .map(|((slot, agent), is_overdue)| SlotView {
                    is_retired: self.record.retired.contains(agent.id.as_str()),
                    ..slot_view(slot, coordinator, now, is_overdue)
                })
                .collect(),
            grips,
        })
    }

    /// Takes in what has come for the sprint: runs that were handed back, and what operators and agents said. Then the
    /// records that have changed are read, and from time to time all of them. If the store has lost them, they are written
    /// again.
    pub(crate) async fn take_in_tasks(&mut self, context: &Context, restore: bool) -> Result<(), Trouble> {
        let read_at = self.read_before_step;
        let incoming = written(context.store().take_incoming(&self.plan.id).await?)?;
        // At once: they are not in the store any more, and what follows may fail.
        incoming.messages.iter().for_each(|message| self.obey(context, message));
        self.server_now = incoming.now;
        self.has_more = incoming.is_full();
        let is_lost = incoming.sprint.started_at.is_none();
        if !is_lost {
            self.take_in_wishes(context, incoming.sprint.clone());
        }
        let now = context.now();
        if is_lost || read_at.is_none_or(|at| now.saturating_sub(at) >= self.look_pause()) {
            self.read_all(context, is_lost, restore).await?;
            self.read_at = Some(now);
        } else {
            self.read_changed(context, &incoming).await?;
        }
        incoming.returned.iter().for_each(|entry| self.tell_returned(context, entry));
        Ok(())
    }

    /// Takes in what operators ask of a sprint that waits for others, so that it can be put back into a store that loses it.
    pub(crate) async fn look_while_waiting(&mut self, context: &Context) -> Result<(), Trouble> {
        let now = context.now();
        if self.read_before_step.is_some_and(|at| now.saturating_sub(at) < self.look_pause()) {
            return Ok(());
        }
        let (store, id) = (context.store(), self.plan.id.clone());
        let (record, added) = (store.sprint_record(&id).await?, store.added_tasks(&id).await?);
        let records = store.task_records(&id).await?.readable;
        let is_lost = |task: &TaskId, known: &TaskRecord| {
            known.state == TaskState::Cancelled && !records.contains_key(task.as_str())
        };
        let has_lost = (self.record.is_there && !record.is_there)
            || added.len() < self.added.len()
            || self.records.iter().any(|(task, known)| is_lost(task, known));
        if has_lost {
            self.tell_lost(context);
            let changed = self.records.iter().filter(|(_, known)| known.state != TaskState::Pending);
            let changed = changed.map(|(task, known)| (task.clone(), known.clone())).collect();
            self.restore(context, &changed).await?;
        } else {
            self.record = record;
            self.take_in_added(added);
            self.adopt(context, &records);
        }
        self.read_at = Some(now);
        Ok(())
    }

    /// Pause between two looks at all records. Changes are told; this is for what nobody tells of. It takes about 1 µs for
    /// each record.
    fn look_pause(&self) -> Duration {
        Duration::from_millis(2_000.max(self.records.len() as u64 / 2))
    }

    async fn read_all(&mut self, context: &Context, is_lost: bool, restore: bool) -> Result<(), Trouble> {
        let (store, id) = (context.store(), self.plan.id.clone());
        let new = self.take_in_added(store.added_tasks(&id).await?);
        self.put_new(context, &new).await?;
        let mut records = store.task_records(&id).await?;
        let is_missing = |task: &TaskPlan| !records.knows(task.id.as_str());
        if restore && (is_lost || self.plan.tasks.iter().any(is_missing)) {
            self.tell_lost(context);
            self.put_records(context).await?;
            records = store.task_records(&id).await?;
        }
        self.put_forward(context, &records.readable).await?;
        self.adopt(context, &records.readable);
        self.mend(context, &records.unreadable).await
    }

    /// Reads the records of which it was told that they have changed.
    async fn read_changed(&mut self, context: &Context, incoming: &Incoming) -> Result<(), Trouble> {
        let told = incoming.messages.iter().filter_map(|message| match message {
            SprintMessage::Changed { task_id } => Some(task_id.as_str()),
            _ => None,
        });
        let returned = incoming.returned.iter().map(|entry| entry.task_id.as_str());
        let changed: BTreeSet<&str> = told.chain(returned).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let (store, id) = (context.store(), self.plan.id.clone());
        let changed: Vec<&str> = changed.into_iter().collect();
        let unknown: Vec<&str> =
            changed.iter().copied().filter(|task| !self.records.contains_key(*task)).collect();
        if !unknown.is_empty() {
            let new = self.take_in_added(store.added_tasks_of(&id, &unknown).await?);
            self.put_new(context, &new).await?;
        }
        let records = store.task_records_of(&id, &changed).await?;
        self.put_forward(context, &records.readable).await?;
        self.adopt(context, &records.readable);
        self.mend(context, &records.unreadable).await
    }

    /// Writes the records of tasks that were added.
    async fn put_new(&self, context: &Context, new: &BTreeMap<TaskId, TaskRecord>) -> Result<(), Trouble> {
        if new.is_empty() || self.stage == Stage::Starting {
            return Ok(());
        }
        self.put_tasks(context, new).await?;
        self.say(context, &format!("{} added", count(new.len() as u64, "task")));
        Ok(())
    }

    /// Takes in what operators want of the sprint, and says what is new.
    fn take_in_wishes(&mut self, context: &Context, seen: SprintRecord) {
        let before = std::mem::replace(&mut self.record, seen);
        match (before.paused, self.record.paused) {
            (None, Some(_)) => {
                self.warn(context, "paused by an operator: nothing is handed out, tasks in hand go on");
            }
            (Some(_), None) => self.warn(context, "resumed by an operator"),
            _ => {}
        }
        if self.plan.is_open && before.closed.is_none() && self.record.closed.is_some() {
            self.say(context, "closed by an operator: no task is added any more");
        }
        for id in self.record.retired.difference(&before.retired) {
            if slot_of(&self.plan, id).is_some() {
                self.say(context, &format!("{id} will not be replaced"));
            }
        }
    }

    /// Reports the loss once for a while: a store that loses its memory again and again is one trouble.
    fn tell_lost(&mut self, context: &Context) {
        let now = context.now();
        let is_news = self.restored_at.is_none_or(|at| now.saturating_sub(at) > RESTORED_FOR);
        self.restored_at = Some(now);
        if is_news {
            self.warn(context, "the store lost its memory; writing the sprint's records again");
        }
    }

    /// A store that went back in time forgot how far tasks had come. Records that were read before are restored, or
    /// work that was done would be done twice.
    pub(crate) async fn put_forward(
        &self,
        context: &Context,
        seen: &BTreeMap<String, TaskRecord>,
    ) -> Result<(), Trouble> {
        let store = context.store();
        let mut forwarded = 0;
        for (task, seen) in seen {
            let Some((task, known)) = self.records.get_key_value(task.as_str()) else { continue };
            if !seen.is_behind(known) {
                continue;
            }
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

    /// Replaces records that cannot be read: this coordinator knows what the tasks were.
    async fn mend(
        &mut self,
        context: &Context,
        unreadable: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Trouble> {
        for (task, bytes) in unreadable {
            let known = self.records.get_key_value(task.as_str());
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

    /// Obeys an operator's message about one of the agents.
    fn obey(&mut self, context: &Context, message: &SprintMessage) {
        // What else is wanted stands in the records.
        let SprintMessage::Restart { agent_id } = message else { return };
        // All sprints of an epic get the message; one of them has the agent.
        let Some(agent) = slot_of(&self.plan, agent_id) else { return };
        let slot = &mut self.slots[agent];
        slot.restarts.clear();
        if let Process::GivenUp { since } = slot.process {
            slot.process = Process::Vacant { since, how: Exit::Left };
        }
        self.say(context, &format!("{agent_id} is wanted again"));
    }

    fn tell_returned(&self, context: &Context, entry: &Requeued) {
        let record = self.records.get(entry.task_id.as_str());
        let Some(record) = record.filter(|record| !record.state.is_settled()) else { return };
        let Requeued { task_id, agent_id, reason, cost, .. } = entry;
        let spent = match cost {
            Cost::Attempt => format!("{} of {} attempts used", record.attempt, record.max_attempts),
            Cost::Crash => format!("crash {} of {}", record.crashes, record.max_crashes),
            Cost::Nothing => "at no cost".into(),
        };
        self.warn(context, &format!("{task_id} requeued: it comes back from {agent_id} ({reason}), {spent}"));
    }

    async fn take_in_registrations(&mut self, context: &Context) -> Result<(), Trouble> {
        let ids: Vec<&AgentId> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = context.store().records(&ids).await?;
        let now = context.now();
        let own = context.agent.life().incarnation;
        let (mut overdue, mut forgotten) = (Vec::new(), Vec::new());
        for ((slot, agent), record) in self.slots.iter_mut().zip(&self.plan.agents).zip(records) {
            slot.record = record;
            slot.notice_elsewhere(now, context.settings().sweep.orphan_threshold);
            if slot.notice(now) {
                overdue.push(agent.id.clone());
            } else if let Some(life) = slot.forgotten_adoption(own) {
                forgotten.push((agent.id.clone(), life));
            }
        }
        for (id, life) in forgotten {
            written(context.store().adopt_agent(&id, life).await?)?;
        }
        for id in overdue {
            self.warn(context, &format!("{id} was reaped while its process still runs; ending it"));
        }
        Ok(())
    }

    /// Which agents elsewhere are to be taken for dead. That is the sweepers' business, who hold when silence proves nothing
    /// (an outage, a network that was cut). Only where no sweeper is at work, an agent counts as dead that was silent for
    /// another lease while the store answered.
    async fn find_overdue(&mut self, context: &Context) -> Result<Vec<bool>, Trouble> {
        let (now, server_now) = (context.now(), self.server_now);
        let leases = self.read_leases(context).await?;
        let patience = context.settings().sweep.orphan_threshold;
        let mut overdue = Vec::with_capacity(leases.len());
        for (slot, lease) in self.slots.iter_mut().zip(leases) {
            let is_silent = lease.is_some_and(|end| end <= server_now);
            slot.overdue_since = is_silent.then(|| slot.overdue_since.unwrap_or(now));
            overdue.push(slot.overdue_since.is_some_and(|since| now.saturating_sub(since) >= patience));
        }
        if overdue.contains(&true) {
            let seen = context.store().observe(1).await?;
            let interval = context.settings().sweep.interval;
            if sweeper_absence(seen.watermark.as_ref(), seen.now, interval).is_none() {
                overdue.fill(false);
            }
        }
        Ok(overdue)
    }

    /// When the leases of those agents end that no process here tells of.
    async fn read_leases(&self, context: &Context) -> Result<Vec<Option<ServerTime>>, Trouble> {
        let is_elsewhere = |record: &AgentRecord| process_here(record).is_none();
        let is_asked = |slot: &Slot| slot.child.is_none() && slot.record.as_ref().is_some_and(is_elsewhere);
        let asked: Vec<usize> =
            self.slots.iter().enumerate().filter(|(_, slot)| is_asked(slot)).map(|(at, _)| at).collect();
        let mut ends = vec![None; self.slots.len()];
        let ids: Vec<&AgentId> = asked.iter().map(|at| &self.plan.agents[*at].id).collect();
        for (at, end) in asked.iter().zip(context.store().lease_ends(&ids).await?) {
            ends[*at] = end;
        }
        Ok(ends)
    }

    /// Tasks in flight whose life seems not to hold them, with the time since when.
    async fn observe_holders(&mut self, context: &Context) -> Result<BTreeMap<TaskId, Grip>, Trouble> {
        let mut doubtful: BTreeMap<TaskId, bool> = BTreeMap::new();
        let mut claims: Vec<(&AgentId, &TaskId)> = Vec::new();
        for (task, record) in self.records.iter().filter(|(_, record)| record.state == TaskState::Assigned) {
            let Some(agent) = record.agent_id.as_deref().and_then(|id| slot_of(&self.plan, id)) else {
                // It had joined, and is gone.
                doubtful.insert(task.clone(), true);
                continue;
            };
            let slot = &self.slots[agent];
            let registered = slot.record.as_ref().filter(|seen| Some(seen.incarnation) == record.incarnation);
            match registered {
                // The life is being cleaned up, which hands the task back.
                Some(seen) if seen.ended.is_some() => {}
                Some(_) => claims.push((&self.plan.agents[agent].id, task)),
                // The agent may register again with the task in hand.
                None if slot.life().is_some() && slot.life() == record.incarnation => {}
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
    /// The life of an agent that this coordinator (`own`) has adopted, in a store that lost that: the agent would think
    /// itself alone.
    fn forgotten_adoption(&self, own: Incarnation) -> Option<Incarnation> {
        let record = self.record.as_ref()?;
        let is_adopted = self.elsewhere.is_some() || self.child.as_ref().is_some_and(Child::is_adopted);
        let is_forgotten = is_adopted && record.adopted_by != Some(own);
        (is_forgotten && self.life() == Some(record.incarnation)).then_some(record.incarnation)
    }

    /// Looks at the registration. `true` if the running process should be told that its life is over.
    fn notice(&mut self, now: Duration) -> bool {
        let Some(child) = &mut self.child else { return false };
        let seen = self.record.as_ref();
        if let Some(own) = seen.filter(|seen| child.is_of(seen)) {
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

/// Who holds the id of this slot. Two kinds of lives are proven dead: one whose process was a child of ours and has
/// ended, and one of an earlier run whose process is gone from this very host. Any other life of this epic can be adopted,
/// wherever it is. One that is not of this epic belongs to somebody else.
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
        IdHolder::Adoptable
    }
}

fn slot_view(slot: &Slot, coordinator: &AgentId, now: Duration, is_overdue: bool) -> SlotView {
    let life = slot.record.as_ref().map(|record| SlotLife {
        incarnation: record.incarnation,
        holder: holder(slot, record, coordinator),
        takes_work: record.state.takes_work() && record.ended.is_none(),
        is_overdue,
    });
    SlotView {
        // While an exit is being dealt with, processes that were left running may still work.
        process: if slot.settling_exit { Process::Running } else { slot.process },
        life,
        missing_for: slot.missing_since.map(|since| now.saturating_sub(since)),
        given: slot.given,
        restarts: slot.restarts.clone(),
        is_retired: false,
        has_joined: slot.has_joined,
    }
}
