//! A sprint's records: started, read, and removed at the sprint's end.

use std::collections::BTreeMap;

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::ids::{AgentId, EpicId, SprintId, TaskId};
use lifecycle_core::wire::sprint_record::SprintRecord;
use lifecycle_core::wire::task::{AddedTask, TaskRecord};
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::reply::{fields, text};
use crate::roles::CoordinatorStore;
use crate::scripts::{SprintComplete, SprintStart};
use crate::store::{Store, arguments};

/// The answer to starting a sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SprintStarted {
    /// Its records are in the store.
    Ok,
    /// Refused: this coordinator has not taken the epic, or the store lost that.
    NoEpic,
}

/// The answer to ending a sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SprintEnded {
    /// It is over. Its tasks' records stay until the epic ends.
    Ok,
    /// Refused: this coordinator has not taken the epic, or the store lost that.
    NoEpic,
    /// Refused: these agents are still registered for it.
    AgentsLeft(Vec<String>),
    /// Refused: something has come for it meanwhile.
    MoreCame,
}

#[derive(Serialize)]
struct StartArguments<'a> {
    coordinator: &'a str,
    sprint: &'a str,
    epic: &'a str,
    format: &'static str,
    agents: &'a [AgentId],
    begins: bool,
    flags: &'a BTreeMap<String, String>,
    added: usize,
}

/// What is known of a sprint, to be put into the store where it is not there.
#[derive(Debug, Clone, Copy)]
pub struct KnownSprint<'a> {
    /// Whether it begins now, if it has not begun. If not, only what is known of it is put into the store.
    pub begins: bool,
    /// The records of its tasks.
    pub tasks: &'a BTreeMap<TaskId, TaskRecord>,
    /// Its agents.
    pub agents: &'a [AgentId],
    /// What operators want of it, as [`SprintRecord::wishes`] says.
    pub wishes: &'a BTreeMap<String, String>,
    /// The tasks that were added while its epic ran.
    pub added: &'a [AddedTask],
}

impl CoordinatorStore {
    /// Puts a sprint's records into the store, or back into one that lost its memory. Records that are there stay as
    /// they are.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn start_sprint(
        &self,
        epic: &EpicId,
        sprint: &SprintId,
        known: KnownSprint<'_>,
    ) -> Result<Fenced<SprintStarted>, StoreError> {
        let keys = self.store.keys();
        let names = SprintStart {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            sprint_tasks: keys.sprint_tasks(sprint),
            sprint_agents: keys.sprint_agents(sprint),
            requeue: keys.sprint_requeue(sprint),
            epic_sprints: keys.epic_sprints(epic),
            children: keys.children(self.life.id.as_str()),
            active: keys.active(),
            inbox: keys.sprint_inbox(sprint),
            added: keys.sprint_added(sprint),
        };
        let mut args = vec![arguments(&StartArguments {
            coordinator: self.life.id.as_str(),
            sprint: sprint.as_str(),
            epic: epic.as_str(),
            format: self.store.wire.as_str(),
            agents: known.agents,
            begins: known.begins,
            flags: known.wishes,
            added: known.added.len(),
        })?];
        for task in known.added {
            args.extend([task.id.as_str().into(), Value::Bytes(self.store.wire.encode(task)?.into())]);
        }
        for (task, record) in known.tasks {
            args.extend([task.as_str().into(), Value::Bytes(self.store.wire.encode(record)?.into())]);
        }
        let reply = self.store.run_fenced(&self.life, names, args).await?;
        if reply.word() == "no_epic" {
            return Ok(Fenced::Ok(SprintStarted::NoEpic));
        }
        fenced(&reply)?.try_map(|| Ok(SprintStarted::Ok))
    }

    /// Ends a sprint. Its tasks' records stay until the epic ends. With `leave_agents`, agents that are still registered for
    /// it stay, and then belong to no sprint. Without, they prevent the end. So does what has come for the sprint and was not
    /// taken in, unless `for_good`.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. The sprint may have ended; calling it again is
    /// harmless.
    pub async fn complete_sprint(
        &self,
        epic: &EpicId,
        sprint: &SprintId,
        outcome: &str,
        (leave_agents, for_good): (bool, bool),
    ) -> Result<Fenced<SprintEnded>, StoreError> {
        let keys = self.store.keys();
        let names = SprintComplete {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            sprint_agents: keys.sprint_agents(sprint),
            requeue: keys.sprint_requeue(sprint),
            inbox: keys.sprint_inbox(sprint),
            epic_sprints: keys.epic_sprints(epic),
        };
        let args = vec![
            sprint.as_str().into(),
            epic.as_str().into(),
            outcome.into(),
            self.store.wire.as_str().into(),
            if leave_agents { "1" } else { "0" }.into(),
            if for_good { "1" } else { "0" }.into(),
        ];
        let reply = self.store.run_fenced(&self.life, names, args).await?;
        if reply.word() == "no_epic" {
            return Ok(Fenced::Ok(SprintEnded::NoEpic));
        }
        if reply.word() == "more" {
            return Ok(Fenced::Ok(SprintEnded::MoreCame));
        }
        if reply.word() == "agents" {
            return Ok(Fenced::Ok(SprintEnded::AgentsLeft(reply.texts())));
        }
        fenced(&reply)?.try_map(|| Ok(SprintEnded::Ok))
    }

    /// Ids of the agents registered for the sprint.
    pub async fn sprint_agents(&self, sprint: &SprintId) -> Result<Vec<String>, StoreError> {
        let key = self.store.keys().sprint_agents(sprint);
        self.store.of_key(&key, self.store.client.smembers(&key).await).await
    }
}

impl Store {
    /// The sprint's own record; all of it is absent when the sprint has not started, or was lost.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn sprint_record(&self, sprint: &SprintId) -> Result<SprintRecord, StoreError> {
        let key = self.keys().sprint_state(sprint);
        let found = fields(self.of_key(&key, self.client.hgetall(&key).await).await?);
        Ok(SprintRecord::from_fields(&found))
    }

    /// The tasks that were added to the sprint while its epic ran, in the order in which they were. Those that cannot be
    /// read are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn added_tasks(&self, sprint: &SprintId) -> Result<Vec<AddedTask>, StoreError> {
        let key = self.keys().sprint_added(sprint);
        let found: Value = self.of_key(&key, self.client.hvals(&key).await).await?;
        Ok(in_order(found))
    }

    /// The same, of these tasks.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn added_tasks_of(
        &self,
        sprint: &SprintId,
        tasks: &[&str],
    ) -> Result<Vec<AddedTask>, StoreError> {
        let key = self.keys().sprint_added(sprint);
        let found: Value = self.of_key(&key, self.client.hmget(&key, tasks.to_vec()).await).await?;
        Ok(in_order(found))
    }

    /// The results that these tasks have left, of those that have left one.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn task_results(
        &self,
        sprint: &SprintId,
        tasks: &[TaskId],
    ) -> Result<BTreeMap<TaskId, String>, StoreError> {
        if tasks.is_empty() {
            return Ok(BTreeMap::new());
        }
        let key = self.keys().sprint_results(sprint);
        let names: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
        let found: Value = self.of_key(&key, self.client.hmget(&key, names).await).await?;
        let found = found.into_array();
        let texts = tasks.iter().zip(&found).filter(|(_, found)| !found.is_null());
        Ok(texts.map(|(task, found)| (task.clone(), text(found))).collect())
    }
}

fn in_order(found: Value) -> Vec<AddedTask> {
    let bytes = found.into_array().into_iter().filter_map(Value::into_owned_bytes);
    let mut added: Vec<AddedTask> = bytes.filter_map(|bytes| decode(&bytes).ok()).collect();
    added.sort_by_key(|task| task.number);
    added
}
