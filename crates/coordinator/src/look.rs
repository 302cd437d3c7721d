//! Looking: what the store and our own children say of a sprint, put together for a decision.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_sdk::process::is_proven_gone;
use lifecycle_cli::output::count;
use lifecycle_core::ids::{AgentId, TaskId};
use lifecycle_core::plan::TaskPlan;
use lifecycle_core::record::AgentRecord;
use lifecycle_core::sprint::{Exit, Grip, Holder, Process, Seat, SeenLife, seat_of};
use lifecycle_core::task::{Cost, Requeued, SprintMessage, TaskRecord, TaskState};
use lifecycle_redis::SprintStarted;

use crate::desk::{Desk, Trouble, written};
use crate::pressure::Manner;
use crate::sprint::{Post, Sprint};

/// How long a store that lost its memory is no news.
const RESTORED_FOR: Duration = Duration::from_secs(10);

/// What a decision needs besides the records.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) seats: Vec<Seat>,
    pub(crate) grips: BTreeMap<TaskId, Grip>,
}

impl Sprint {
    /// One look at everything.
    pub(crate) async fn look(&mut self, desk: &Desk) -> Result<Looked, Trouble> {
        self.look_at_tasks(desk, true).await?;
        self.look_at_agents(desk).await?;
        let grips = self.look_for_holders(desk).await?;
        let now = desk.now();
        let coordinator = desk.agent.id();
        Ok(Looked { seats: self.posts.iter().map(|post| seat(post, coordinator, now)).collect(), grips })
    }

    /// Takes back what was handed back, then reads the records. If the store has lost them they are written again.
    pub(crate) async fn look_at_tasks(&mut self, desk: &Desk, restore: bool) -> Result<(), Trouble> {
        let (store, id) = (desk.store(), self.plan.id.clone());
        let incoming = written(store.take_incoming(&desk.life(), &id).await?)?;
        let mut records = store.task_records(&id).await?;
        let is_missing = |task: &TaskPlan| !records.knows(task.id.as_str());
        let is_lost = self.plan.tasks.iter().any(is_missing) || store.sprint_state(&id).await?.is_empty();
        if is_lost && restore {
            self.tell_lost(desk);
            match self.put_records(desk).await? {
                SprintStarted::Ok => records = store.task_records(&id).await?,
                SprintStarted::Taken(holder) => {
                    self.warn(desk, &format!("it is now run by {holder}; ending it here"));
                    self.taken = true;
                    self.interrupt(Manner::Terminate);
                    return Ok(());
                }
            }
        }
        self.put_forward(desk, &records.readable).await?;
        self.adopt(desk, &records.readable);
        self.mend(desk, &records.unreadable).await?;
        incoming.returned.iter().for_each(|entry| self.tell_returned(desk, entry));
        incoming.messages.iter().for_each(|message| self.obey(desk, message));
        Ok(())
    }

    /// Said once for a while: a store that loses its memory again and again is one trouble.
    fn tell_lost(&mut self, desk: &Desk) {
        let now = desk.now();
        let is_news = self.restored_at.is_none_or(|at| now.saturating_sub(at) > RESTORED_FOR);
        self.restored_at = Some(now);
        if is_news {
            self.warn(desk, "the store lost its memory; writing the sprint's records again");
        }
    }

    /// A store that went back in time forgot how far tasks had come. What was read from it before is put there again, or
    /// work that was done would be done twice.
    async fn put_forward(&self, desk: &Desk, seen: &BTreeMap<String, TaskRecord>) -> Result<(), Trouble> {
        let mut forwarded = 0;
        for (task, known) in &self.records {
            let Some(seen) = seen.get(task.as_str()).filter(|seen| seen.is_behind(known)) else { continue };
            let (store, life) = (desk.store(), desk.life());
            let reply = store.forward_task(&life, &self.plan.id, task, (seen, known)).await?;
            forwarded += u64::from(written(reply)?);
        }
        if forwarded > 0 {
            let tasks = count(forwarded, "task");
            self.warn(
                desk,
                &format!("the store went back in time; what had become of {tasks} is put there again"),
            );
        }
        Ok(())
    }

    /// Writes records anew that cannot be read: whatever somebody put there, what the task was is known here.
    async fn mend(&mut self, desk: &Desk, unreadable: &BTreeMap<String, Vec<u8>>) -> Result<(), Trouble> {
        for (task, bytes) in unreadable {
            let known = self.records.iter().find(|(known, _)| known.as_str() == task);
            let Some((task, record)) = known.map(|(task, record)| (task.clone(), record.clone())) else {
                continue;
            };
            let mended = desk.store().mend_task(&desk.life(), &self.plan.id, &task, bytes, &record).await?;
            if written(mended)? && self.mended.insert(task.clone()) {
                let key = desk.store().keys().sprint_tasks(&self.plan.id);
                self.warn(
                    desk,
                    &format!("{key} held no record of {task}; it is written anew ({})", record.state),
                );
            }
        }
        Ok(())
    }

    /// What an operator wants of one of the agents.
    fn obey(&mut self, desk: &Desk, message: &SprintMessage) {
        let (SprintMessage::Retire { agent_id } | SprintMessage::Restart { agent_id }) = message;
        // An epic's sprints are all told; one of them has the agent.
        let Some(agent) = seat_of(&self.plan, agent_id) else { return };
        let post = &mut self.posts[agent];
        match message {
            SprintMessage::Retire { .. } => {
                post.is_retired = true;
                self.say(desk, &format!("{agent_id} will not be replaced"));
            }
            SprintMessage::Restart { .. } => {
                post.is_retired = false;
                post.restarts.clear();
                if let Process::GivenUp { since } = post.process {
                    post.process = Process::Vacant { since, how: Exit::Left };
                }
                self.say(desk, &format!("{agent_id} is wanted again"));
            }
        }
    }

    fn tell_returned(&self, desk: &Desk, entry: &Requeued) {
        let record =
            self.records.iter().find(|(task, _)| task.as_str() == entry.task_id).map(|(_, record)| record);
        let Some(record) = record.filter(|record| !record.state.is_settled()) else { return };
        let Requeued { task_id, agent_id, reason, cost, .. } = entry;
        let spent = match cost {
            Cost::Attempt => format!("{} of {} attempts used", record.attempt, record.max_attempts),
            Cost::Crash => format!("crash {} of {}", record.crashes, record.max_crashes),
            Cost::Nothing => "at no cost".into(),
        };
        self.warn(desk, &format!("{task_id} comes back from {agent_id} ({reason}), {spent}"));
    }

    async fn look_at_agents(&mut self, desk: &Desk) -> Result<(), Trouble> {
        let ids: Vec<&AgentId> = self.plan.agents.iter().map(|agent| &agent.id).collect();
        let records = desk.store().records(&ids).await?;
        let now = desk.now();
        let mut overdue = Vec::new();
        for ((post, agent), record) in self.posts.iter_mut().zip(&self.plan.agents).zip(records) {
            if post.notice(record, now) {
                overdue.push(agent.id.clone());
            }
        }
        for id in overdue {
            self.warn(desk, &format!("{id} was cleaned up while its process still runs; ending it"));
        }
        Ok(())
    }

    /// Tasks in flight that nobody seems to hold, and since when.
    async fn look_for_holders(&mut self, desk: &Desk) -> Result<BTreeMap<TaskId, Grip>, Trouble> {
        let mut doubtful: BTreeMap<TaskId, bool> = BTreeMap::new();
        let mut claims: Vec<(&AgentId, &TaskId)> = Vec::new();
        for (task, record) in self.records.iter().filter(|(_, record)| record.state == TaskState::Assigned) {
            let Some(agent) = record.agent_id.as_deref().and_then(|id| seat_of(&self.plan, id)) else {
                continue;
            };
            let post = &self.posts[agent];
            let registered = post.record.as_ref().filter(|seen| Some(seen.incarnation) == record.incarnation);
            match registered {
                // It is being cleaned up, and the task comes back with that.
                Some(seen) if seen.ended.is_some() => {}
                Some(_) => claims.push((&self.plan.agents[agent].id, task)),
                // It may register again with the task in hand.
                None if post.child.is_some() && post.life() == record.incarnation => {}
                None => {
                    doubtful.insert(task.clone(), true);
                }
            }
        }
        let held = desk.store().have_tasks(&claims).await?;
        doubtful.extend(
            claims.iter().zip(held).filter(|(_, held)| !held).map(|((_, task), _)| ((*task).clone(), false)),
        );
        let now = desk.now();
        self.loose.retain(|task, _| doubtful.contains_key(task));
        let grips = doubtful.into_iter().map(|(task, gone)| {
            let time = now.saturating_sub(*self.loose.entry(task.clone()).or_insert(now));
            (task, if gone { Grip::Gone(time) } else { Grip::Dropped(time) })
        });
        Ok(grips.collect())
    }
}

impl Post {
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
            child.ask(Manner::Fenced, now);
        }
        reaped
    }
}

/// Who holds the id of this post. The life that a process of ours left behind, and one of an earlier run whose process is
/// gone from this very host, are proven dead. Whatever else is not ours is somebody's.
fn holder(post: &Post, record: &AgentRecord, coordinator: &AgentId) -> Holder {
    let life = record.incarnation;
    if post.life() == Some(life) {
        Holder::Own
    } else if record.ended.is_some() || post.has_buried(life) {
        Holder::Dead
    } else if record.parent.as_deref() != Some(coordinator.as_str()) {
        Holder::Stranger
    } else if is_proven_gone(record) {
        Holder::Dead
    } else {
        Holder::Earlier
    }
}

fn seat(post: &Post, coordinator: &AgentId, now: Duration) -> Seat {
    let life = post.record.as_ref().map(|record| SeenLife {
        incarnation: record.incarnation,
        holder: holder(post, record, coordinator),
        takes_work: record.state.takes_work() && record.ended.is_none(),
    });
    Seat {
        // While an exit is being dealt with, what it left running may still be at work.
        process: if post.burying { Process::Running } else { post.process },
        life,
        missing_for: post.missing_since.map(|since| now.saturating_sub(since)),
        given: post.given,
        restarts: post.restarts.clone(),
        is_retired: post.is_retired,
    }
}
