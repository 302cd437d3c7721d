//! A sprint's records: started, read, and removed at the sprint's end.

use std::collections::BTreeMap;

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::wire::ids::{AgentId, EpicId, SprintId, TaskId};
use lifecycle_core::wire::task::TaskRecord;
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::reply::fields;
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
}

#[derive(Serialize)]
struct StartArguments<'a> {
    coordinator: &'a str,
    sprint: &'a str,
    epic: &'a str,
    format: &'static str,
    agents: &'a [AgentId],
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
        tasks: &BTreeMap<TaskId, TaskRecord>,
        agents: &[AgentId],
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
        };
        let mut args = vec![arguments(&StartArguments {
            coordinator: self.life.id.as_str(),
            sprint: sprint.as_str(),
            epic: epic.as_str(),
            format: self.store.wire.as_str(),
            agents,
        })?];
        for (task, record) in tasks {
            args.extend([task.as_str().into(), Value::Bytes(self.store.wire.encode(record)?.into())]);
        }
        let reply = self.store.run_fenced(&self.life, names, args).await?;
        if reply.word() == "no_epic" {
            return Ok(Fenced::Ok(SprintStarted::NoEpic));
        }
        fenced(&reply)?.try_map(|| Ok(SprintStarted::Ok))
    }

    /// Ends a sprint. Its tasks' records stay until the epic ends. With `leave_agents`, agents that are still registered for it stay,
    /// and then belong to no sprint. Without, they prevent the end.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. The sprint may have ended; calling it again is
    /// harmless.
    pub async fn complete_sprint(
        &self,
        epic: &EpicId,
        sprint: &SprintId,
        outcome: &str,
        leave_agents: bool,
    ) -> Result<Fenced<SprintEnded>, StoreError> {
        let keys = self.store.keys();
        let names = SprintComplete {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            sprint_agents: keys.sprint_agents(sprint),
            requeue: keys.sprint_requeue(sprint),
            inbox: keys.sprint_inbox(sprint),
        };
        let args = vec![
            sprint.as_str().into(),
            epic.as_str().into(),
            outcome.into(),
            self.store.wire.as_str().into(),
            if leave_agents { "1" } else { "0" }.into(),
        ];
        let reply = self.store.run_fenced(&self.life, names, args).await?;
        if reply.word() == "no_epic" {
            return Ok(Fenced::Ok(SprintEnded::NoEpic));
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
    /// The sprint's own record; empty when it has not started, is over, or was lost.
    pub async fn sprint_state(
        &self,
        sprint: &SprintId,
    ) -> Result<std::collections::HashMap<String, String>, StoreError> {
        let key = self.keys().sprint_state(sprint);
        Ok(fields(self.of_key(&key, self.client.hgetall(&key).await).await?))
    }
}
