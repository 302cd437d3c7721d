//! The coordinator's side: a sprint's records, its tasks, its end.

use std::collections::BTreeMap;

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::codec::decode;
use lifecycle_core::ids::{AgentId, EpicId, Incarnation, SprintId, TaskId};
use lifecycle_core::liveness::millis;
use lifecycle_core::task::{Assignment, Cost, Requeued, SprintMessage, TaskRecord};
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

/// The records of a sprint's tasks, by task id.
#[derive(Debug, Clone, Default)]
pub struct TaskRecords {
    /// Those that say something.
    pub readable: BTreeMap<String, TaskRecord>,
    /// The bytes of those that do not.
    pub unreadable: BTreeMap<String, Vec<u8>>,
}

/// What has come in for a sprint. What cannot be read is dropped.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// Runs that were handed back.
    pub returned: Vec<Requeued>,
    /// What operators said.
    pub messages: Vec<SprintMessage>,
}

impl TaskRecords {
    /// Whether there is anything in the place of this task's record.
    #[must_use]
    pub fn knows(&self, task: &str) -> bool {
        self.readable.contains_key(task) || self.unreadable.contains_key(task)
    }
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
    run: u32,
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

    /// The records of a sprint's tasks.
    ///
    /// # Errors
    /// As the store says.
    pub async fn task_records(&self, sprint: &SprintId) -> Result<TaskRecords, StoreError> {
        let key = self.keys().sprint_tasks(sprint);
        let hash: Value = self.of_key(&key, self.client.hgetall(&key).await).await?;
        let mut flat: Vec<Value> = match hash {
            Value::Map(map) => map.inner().into_iter().flat_map(|(k, v)| [Value::from(k), v]).collect(),
            other => other.into_array(),
        };
        let mut records = TaskRecords::default();
        while let (Some(record), Some(task)) = (flat.pop(), flat.pop()) {
            let Some(task) = task.as_string() else { continue };
            let bytes = record.into_owned_bytes().unwrap_or_default();
            match decode(&bytes) {
                Ok(record) => drop(records.readable.insert(task, record)),
                Err(_) => drop(records.unreadable.insert(task, bytes)),
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
        let args = arguments(&AssignArguments {
            incarnation: life.incarnation,
            generation: &life.generation,
            agent_id: agent.as_str(),
            agent_incarnation: incarnation,
            task_id: task.task.as_str(),
            sprint: task.sprint.as_str(),
            run: task.run,
            attempt: task.attempt,
            max_attempts: task.max_attempts,
            input: &task.input,
            timeout_ms: task.timeout.map_or(0, millis),
            format: self.wire.as_str(),
        })?;
        let reply = Reply::read(self.run(&self.scripts.task_assign, names, vec![args]).await?)?;
        match reply.word() {
            "gone" => Ok(Fenced::Ok(Assigned::AgentGone)),
            "busy" => Ok(Fenced::Ok(Assigned::AgentBusy)),
            "settled" => Ok(Fenced::Ok(Assigned::NotPending)),
            _ => fenced(&reply)?.try_map(|| Ok(Assigned::Ok)),
        }
    }

    /// Takes what has come in for a sprint: runs that were handed back (each task waits again, or is given up once it has
    /// used up its attempts or crashes), and what operators said.
    ///
    /// # Errors
    /// As the store says.
    pub async fn take_incoming(
        &self,
        life: &Life,
        sprint: &SprintId,
    ) -> Result<Fenced<Incoming>, StoreError> {
        let mut names = self.coordinators_keys(life, sprint);
        let keys = self.keys();
        names.extend([keys.sprint_requeue(sprint), keys.sprint_inbox(sprint), keys.sprint_state(sprint)]);
        let mut args = fence_arguments(life);
        args.extend([text(TAKE), self.wire.as_str().into()]);
        let mut reply = Reply::read(self.run(&self.scripts.task_take, names, args).await?)?;
        fenced(&reply)?.try_map(|| Ok(Incoming { returned: reply.list(), messages: reply.list() }))
    }

    /// Takes a run back that nobody holds any more; it comes in like any other. `false` if it is not in flight.
    ///
    /// # Errors
    /// As the store says.
    pub async fn recall_task(
        &self,
        life: &Life,
        sprint: &SprintId,
        (task, run): (&TaskId, u32),
        cost: Cost,
        why: &str,
    ) -> Result<Fenced<bool>, StoreError> {
        let mut names = self.coordinators_keys(life, sprint);
        names.push(self.keys().sprint_requeue(sprint));
        let mut args = fence_arguments(life);
        args.extend([task.as_str().into(), text(run.into()), cost.as_str().into(), why.into()]);
        args.push(self.wire.as_str().into());
        changed(&Reply::read(self.run(&self.scripts.task_recall, names, args).await?)?)
    }

    /// Gives up a task that waits. `false` if it does not wait any more.
    ///
    /// # Errors
    /// As the store says.
    pub async fn settle_task(
        &self,
        life: &Life,
        sprint: &SprintId,
        task: &TaskId,
        record: &TaskRecord,
    ) -> Result<Fenced<bool>, StoreError> {
        let names = self.coordinators_keys(life, sprint);
        let mut args = fence_arguments(life);
        args.extend([task.as_str().into(), Value::Bytes(self.wire.encode(record)?.into())]);
        changed(&Reply::read(self.run(&self.scripts.task_settle, names, args).await?)?)
    }

    /// Writes a record anew where these bytes stand, which are none. `false` if something else stands there by now.
    ///
    /// # Errors
    /// As the store says.
    pub async fn mend_task(
        &self,
        life: &Life,
        sprint: &SprintId,
        task: &TaskId,
        seen: &[u8],
        record: &TaskRecord,
    ) -> Result<Fenced<bool>, StoreError> {
        let names = self.coordinators_keys(life, sprint);
        let mut args = fence_arguments(life);
        args.extend([task.as_str().into(), Value::Bytes(seen.to_vec().into())]);
        args.push(Value::Bytes(self.wire.encode(record)?.into()));
        changed(&Reply::read(self.run(&self.scripts.task_mend, names, args).await?)?)
    }

    /// Puts a record forward again that the store has lost the end of: `seen` is there, `known` was there before. `false`
    /// if it has changed since.
    ///
    /// # Errors
    /// As the store says.
    pub async fn forward_task(
        &self,
        life: &Life,
        sprint: &SprintId,
        task: &TaskId,
        (seen, known): (&TaskRecord, &TaskRecord),
    ) -> Result<Fenced<bool>, StoreError> {
        let names = self.coordinators_keys(life, sprint);
        let mut args = fence_arguments(life);
        args.extend([task.as_str().into(), seen.state.as_str().into(), text(seen.run.into())]);
        args.push(Value::Bytes(self.wire.encode(known)?.into()));
        changed(&Reply::read(self.run(&self.scripts.task_forward, names, args).await?)?)
    }

    /// Leaves word for whoever coordinates the sprint. `false` if there is no such sprint.
    ///
    /// # Errors
    /// As the store says.
    pub async fn tell_sprint(&self, sprint: &SprintId, message: &SprintMessage) -> Result<bool, StoreError> {
        let names = vec![self.keys().sprint_state(sprint), self.keys().sprint_inbox(sprint)];
        let (about, word) = message.about();
        let encoded = Value::Bytes(self.wire.encode(message)?.into());
        let args =
            vec![sprint.as_str().into(), encoded, self.wire.as_str().into(), about.into(), word.into()];
        Ok(Reply::read(self.run(&self.scripts.inbox_put, names, args).await?)?.word() == "ok")
    }

    /// The sprints of an epic that are at work.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprints_of(&self, epic: &EpicId) -> Result<Vec<SprintId>, StoreError> {
        let ids: Vec<String> = self.client.smembers(self.keys().epic_sprints(epic)).await?;
        Ok(ids.into_iter().filter_map(|id| SprintId::new(id).ok()).collect())
    }

    fn coordinators_keys(&self, life: &Life, sprint: &SprintId) -> Vec<String> {
        let keys = self.keys();
        vec![keys.state(life.id.as_str()), keys.generation(), keys.sprint_tasks(sprint)]
    }
}

fn fence_arguments(life: &Life) -> Vec<Value> {
    vec![life.incarnation.to_string().into(), life.generation.as_str().into()]
}

fn changed(reply: &Reply) -> Result<Fenced<bool>, StoreError> {
    match reply.word() {
        "gone" => Ok(Fenced::Ok(false)),
        _ => fenced(reply)?.try_map(|| Ok(true)),
    }
}
