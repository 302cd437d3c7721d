//! Looking: what the store and our own children say of a sprint, put together for a decision.

use std::collections::BTreeMap;
use std::time::Duration;

use lifecycle_core::ids::{AgentId, TaskId};
use lifecycle_core::record::AgentRecord;
use lifecycle_core::sprint::{Grip, Process, Seat, SeenLife, seat_of};
use lifecycle_core::task::{Requeued, TaskState};
use lifecycle_redis::SprintStarted;

use crate::desk::{Desk, Trouble, written};
use crate::pressure::Manner;
use crate::sprint::{Post, Sprint};

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
        Ok(Looked { seats: self.posts.iter().map(|post| seat(post, now)).collect(), grips })
    }

    /// Takes back what was handed back, then reads the records. If the store has lost them they are written again.
    pub(crate) async fn look_at_tasks(&mut self, desk: &Desk, restore: bool) -> Result<(), Trouble> {
        let (store, id) = (desk.store(), self.plan.id.clone());
        let returned = written(store.take_requeued(&desk.life(), &id).await?)?;
        let mut records = store.task_records(&id).await?;
        let is_lost = records.len() < self.plan.tasks.len() || store.sprint_state(&id).await?.is_empty();
        if is_lost && restore {
            self.warn(desk, "the store lost its memory; writing the sprint's records again");
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
        self.adopt(desk, &records);
        returned.iter().for_each(|entry| self.tell_returned(desk, entry));
        Ok(())
    }

    fn tell_returned(&self, desk: &Desk, entry: &Requeued) {
        let record =
            self.records.iter().find(|(task, _)| task.as_str() == entry.task_id).map(|(_, record)| record);
        let Some(record) = record.filter(|record| !record.state.is_settled()) else { return };
        let Requeued { task_id, attempt, agent_id, reason } = entry;
        let of = record.max_attempts;
        self.warn(
            desk,
            &format!("{task_id} comes back from {agent_id} ({reason}), {attempt} of {of} attempts used"),
        );
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

fn seat(post: &Post, now: Duration) -> Seat {
    let life = post.record.as_ref().map(|record| SeenLife {
        incarnation: record.incarnation,
        own: post.life() == Some(record.incarnation),
        takes_work: record.state.takes_work() && record.ended.is_none(),
    });
    Seat {
        // While an exit is being dealt with, what it left running may still be at work.
        process: if post.burying { Process::Running } else { post.process },
        life,
        missing_for: post.missing_since.map(|since| now.saturating_sub(since)),
        given: post.given,
        restarts: post.restarts.clone(),
    }
}
