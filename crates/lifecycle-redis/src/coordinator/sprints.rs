//! A sprint's records: put there, read, and removed at its end.

use std::collections::BTreeMap;

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::wire::ids::{AgentId, EpicId, Incarnation, SprintId, TaskId};
use lifecycle_core::wire::task::TaskRecord;
use serde::Serialize;

use crate::agent::life::{Fenced, Life, fenced};
use crate::error::StoreError;
use crate::reply::{Reply, fields};
use crate::store::{Store, arguments};

/// Answer to starting a sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SprintStarted {
    /// Its records are there.
    Ok,
    /// Another coordinator runs a sprint of this name.
    Taken(String),
}

/// Answer to ending a sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SprintEnded {
    /// Nothing of it is left.
    Ok {
        /// Keys removed.
        keys_deleted: u64,
    },
    /// Refused: this coordinator runs it now.
    Taken(String),
    /// Refused: these agents are still registered for it.
    AgentsLeft(Vec<String>),
}

#[derive(Serialize)]
struct StartArguments<'a> {
    coordinator: &'a str,
    incarnation: Incarnation,
    generation: &'a str,
    sprint: &'a str,
    epic: &'a str,
    format: &'static str,
    agents: &'a [AgentId],
}

impl Store {
    /// Puts a sprint's records into the store, or back into one that lost its memory; what is there stays.
    ///
    /// # Errors
    /// As the store says.
    pub async fn start_sprint(
        &self,
        life: &Life,
        epic: &EpicId,
        sprint: &SprintId,
        tasks: &BTreeMap<TaskId, TaskRecord>,
        agents: &[AgentId],
    ) -> Result<Fenced<SprintStarted>, StoreError> {
        let keys = self.keys();
        let names = vec![
            keys.state(life.id.as_str()),
            keys.generation(),
            keys.keys(life.id.as_str()),
            keys.sprint_state(sprint),
            keys.sprint_tasks(sprint),
            keys.sprint_agents(sprint),
            keys.sprint_requeue(sprint),
            keys.epic_sprints(epic),
            keys.children(life.id.as_str()),
            keys.active(),
            keys.sprint_inbox(sprint),
        ];
        let mut args = vec![arguments(&StartArguments {
            coordinator: life.id.as_str(),
            incarnation: life.incarnation,
            generation: &life.generation,
            sprint: sprint.as_str(),
            epic: epic.as_str(),
            format: self.wire.as_str(),
            agents,
        })?];
        for (task, record) in tasks {
            args.extend([task.as_str().into(), Value::Bytes(self.wire.encode(record)?.into())]);
        }
        let mut reply = Reply::read(self.run(&self.scripts.sprint_start, names, args).await?)?;
        if reply.word() == "taken" {
            return Ok(Fenced::Ok(SprintStarted::Taken(reply.text())));
        }
        fenced(&reply)?.try_map(|| Ok(SprintStarted::Ok))
    }

    /// Ends a sprint and removes all its records. With `leave_agents` those that are still registered for it stay, as
    /// agents of no sprint.
    ///
    /// # Errors
    /// As the store says.
    pub async fn complete_sprint(
        &self,
        life: &Life,
        epic: &EpicId,
        sprint: &SprintId,
        outcome: &str,
        leave_agents: bool,
    ) -> Result<Fenced<SprintEnded>, StoreError> {
        let keys = self.keys();
        let names = vec![
            keys.state(life.id.as_str()),
            keys.generation(),
            keys.keys(life.id.as_str()),
            keys.sprint_state(sprint),
            keys.sprint_tasks(sprint),
            keys.sprint_agents(sprint),
            keys.sprint_requeue(sprint),
            keys.epic_sprints(epic),
            keys.sprint_inbox(sprint),
        ];
        let args = vec![
            life.incarnation.to_string().into(),
            life.generation.as_str().into(),
            sprint.as_str().into(),
            epic.as_str().into(),
            outcome.into(),
            self.wire.as_str().into(),
            if leave_agents { "1" } else { "0" }.into(),
        ];
        let mut reply = Reply::read(self.run(&self.scripts.sprint_complete, names, args).await?)?;
        if reply.word() == "taken" {
            return Ok(Fenced::Ok(SprintEnded::Taken(reply.text())));
        }
        if reply.word() == "agents" {
            return Ok(Fenced::Ok(SprintEnded::AgentsLeft(reply.texts())));
        }
        fenced(&reply)?.try_map(|| Ok(SprintEnded::Ok { keys_deleted: reply.number()? }))
    }

    /// The sprint's own record; empty when it has not started, is over, or was lost.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprint_state(
        &self,
        sprint: &SprintId,
    ) -> Result<std::collections::HashMap<String, String>, StoreError> {
        let key = self.keys().sprint_state(sprint);
        Ok(fields(self.of_key(&key, self.client.hgetall(&key).await).await?))
    }

    /// Ids of the agents registered for the sprint.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprint_agents(&self, sprint: &SprintId) -> Result<Vec<String>, StoreError> {
        let key = self.keys().sprint_agents(sprint);
        self.of_key(&key, self.client.smembers(&key).await).await
    }
}
