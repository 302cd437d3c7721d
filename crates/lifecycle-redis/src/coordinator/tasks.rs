//! The tasks of a sprint: handed out, taken back, settled, and put right where the store lost something.

use std::collections::BTreeMap;

use fred::interfaces::HashesInterface;
use fred::types::Value;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::ids::{AgentId, Incarnation, SprintId, TaskId};
use lifecycle_core::wire::task::{Assignment, Cost, Requeued, SprintMessage, TaskRecord};
use lifecycle_core::wire::time::millis;
use serde::Serialize;

use crate::agent::life::{Fenced, Life, fenced, text};
use crate::error::StoreError;
use crate::reply::Reply;
use crate::store::{Store, arguments};

/// Most entries taken from a requeue in one call.
const TAKE: u64 = 500;

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
