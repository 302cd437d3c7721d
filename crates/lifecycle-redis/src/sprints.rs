//! The coordinator's side: a sprint's records, its tasks, its end.

use std::collections::BTreeMap;

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::codec::decode;
use lifecycle_core::ids::{AgentId, EpicId, Incarnation, SprintId, TaskId};
use lifecycle_core::liveness::millis;
use lifecycle_core::task::{Assignment, Requeued, TaskRecord, TaskState};
use serde::Serialize;

use crate::agents::{Fenced, Life, fenced, text};
use crate::error::StoreError;
use crate::reply::{Reply, fields};
use crate::store::{Store, arguments};

/// Most entries taken from a requeue in one call.
const TAKE: u64 = 500;

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

/// Answer to giving a task to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assigned {
    /// The agent has it.
    Ok,
    /// That life of the agent is over.
    AgentGone,
    /// The agent takes no work.
    AgentBusy,
    /// The task is not waiting any more.
    NotPending,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignArguments<'a> {
    incarnation: Incarnation,
    generation: &'a str,
    agent_id: &'a str,
    agent_incarnation: Incarnation,
    task_id: &'a str,
    sprint: &'a str,
    attempt: u32,
    max_attempts: u32,
    input: &'a str,
    timeout_ms: u64,
    format: &'static str,
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

    /// Ends a sprint and removes all its records.
    ///
    /// # Errors
    /// As the store says.
    pub async fn complete_sprint(
        &self,
        life: &Life,
        epic: &EpicId,
        sprint: &SprintId,
        outcome: &str,
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
        ];
        let args = vec![
            life.incarnation.to_string().into(),
            life.generation.as_str().into(),
            sprint.as_str().into(),
            epic.as_str().into(),
            outcome.into(),
            self.wire.as_str().into(),
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

    /// The records of a sprint's tasks. Ones that cannot be read are left out.
    ///
    /// # Errors
    /// As the store says.
    pub async fn task_records(&self, sprint: &SprintId) -> Result<BTreeMap<String, TaskRecord>, StoreError> {
        let hash: Value = self.client.hgetall(self.keys().sprint_tasks(sprint)).await?;
        let mut flat: Vec<Value> = match hash {
            Value::Map(map) => map.inner().into_iter().flat_map(|(k, v)| [Value::from(k), v]).collect(),
            other => other.into_array(),
        };
        let mut records = BTreeMap::new();
        while let (Some(record), Some(task)) = (flat.pop(), flat.pop()) {
            if let (Some(task), Some(record)) =
                (task.as_string(), record.as_bytes().and_then(|b| decode(b).ok()))
            {
                records.insert(task, record);
            }
        }
        Ok(records)
    }

    /// The sprint's own record; empty when it has not started, is over, or was lost.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprint_state(
        &self,
        sprint: &SprintId,
    ) -> Result<std::collections::HashMap<String, String>, StoreError> {
        Ok(fields(self.client.hgetall(self.keys().sprint_state(sprint)).await?))
    }

    /// Ids of the agents registered for the sprint.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprint_agents(&self, sprint: &SprintId) -> Result<Vec<String>, StoreError> {
        Ok(self.client.smembers(self.keys().sprint_agents(sprint)).await?)
    }

    /// Gives a waiting task to one life of an agent.
    ///
    /// # Errors
    /// As the store says.
    pub async fn assign_task(
        &self,
        life: &Life,
        agent: &AgentId,
        incarnation: Incarnation,
        task: &Assignment,
    ) -> Result<Fenced<Assigned>, StoreError> {
        let keys = self.keys();
        let names = vec![
            keys.state(life.id.as_str()),
            keys.generation(),
            keys.state(agent.as_str()),
            keys.task(agent, &task.task),
            keys.keys(agent.as_str()),
            keys.sprint_tasks(&task.sprint),
        ];
        let record = TaskRecord {
            state: TaskState::Assigned,
            attempt: task.attempt,
            max_attempts: task.max_attempts,
            agent_id: Some(agent.to_string()),
            incarnation: Some(incarnation),
            detail: None,
        };
        let args = vec![
            arguments(&AssignArguments {
                incarnation: life.incarnation,
                generation: &life.generation,
                agent_id: agent.as_str(),
                agent_incarnation: incarnation,
                task_id: task.task.as_str(),
                sprint: task.sprint.as_str(),
                attempt: task.attempt,
                max_attempts: task.max_attempts,
                input: &task.input,
                timeout_ms: task.timeout.map_or(0, millis),
                format: self.wire.as_str(),
            })?,
            Value::Bytes(self.wire.encode(&record)?.into()),
        ];
        let reply = Reply::read(self.run(&self.scripts.task_assign, names, args).await?)?;
        match reply.word() {
            "gone" => Ok(Fenced::Ok(Assigned::AgentGone)),
            "busy" => Ok(Fenced::Ok(Assigned::AgentBusy)),
            "settled" => Ok(Fenced::Ok(Assigned::NotPending)),
            _ => fenced(&reply)?.try_map(|| Ok(Assigned::Ok)),
        }
    }

    /// Takes tasks back from the requeue: each waits again, or is given up once its attempts are used up.
    ///
    /// # Errors
    /// As the store says.
    pub async fn take_requeued(
        &self,
        life: &Life,
        sprint: &SprintId,
    ) -> Result<Fenced<Vec<Requeued>>, StoreError> {
        let names = vec![
            self.keys().state(life.id.as_str()),
            self.keys().generation(),
            self.keys().sprint_tasks(sprint),
            self.keys().sprint_requeue(sprint),
        ];
        let args = vec![
            life.incarnation.to_string().into(),
            life.generation.as_str().into(),
            text(TAKE),
            self.wire.as_str().into(),
        ];
        let reply = Reply::read(self.run(&self.scripts.task_take, names, args).await?)?;
        fenced(&reply)?.try_map(|| Ok(reply.bytes().filter_map(|bytes| decode(&bytes).ok()).collect()))
    }

    /// Changes the record of a task that nobody works on, if it still is in the state `from`.
    ///
    /// # Errors
    /// As the store says.
    pub async fn settle_task(
        &self,
        life: &Life,
        sprint: &SprintId,
        task: &TaskId,
        from: TaskState,
        record: &TaskRecord,
    ) -> Result<Fenced<bool>, StoreError> {
        let names = vec![
            self.keys().state(life.id.as_str()),
            self.keys().generation(),
            self.keys().sprint_tasks(sprint),
        ];
        let args = vec![
            life.incarnation.to_string().into(),
            life.generation.as_str().into(),
            task.as_str().into(),
            from.as_str().into(),
            Value::Bytes(self.wire.encode(record)?.into()),
        ];
        let reply = Reply::read(self.run(&self.scripts.task_settle, names, args).await?)?;
        if reply.word() == "gone" {
            return Ok(Fenced::Ok(false));
        }
        fenced(&reply)?.try_map(|| Ok(true))
    }
}
