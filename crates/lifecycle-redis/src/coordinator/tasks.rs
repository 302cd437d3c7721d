//! The tasks of a sprint: assigned, taken back, settled, and repaired where the store lost something.

use std::collections::BTreeMap;

use fred::interfaces::HashesInterface;
use fred::types::Value;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::ids::{AgentId, Incarnation, SprintId, TaskId};
use lifecycle_core::wire::task::{Assignment, Cost, Requeued, SprintMessage, TaskRecord};
use lifecycle_core::wire::time::millis;
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::reply::{Reply, argument};
use crate::roles::CoordinatorStore;
use crate::scripts::{TaskAssign, TaskForward, TaskMend, TaskRecall, TaskSettle, TaskTake};
use crate::store::{Store, arguments};

/// Most entries that one call takes from the requeue, and from the inbox.
const TAKE: u64 = 500;

/// The answer to giving a task to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assigned {
    /// The agent has it.
    Ok,
    /// That life of the agent is over.
    AgentGone,
    /// The agent takes no work now.
    AgentBusy,
    /// The task is not waiting any more.
    NotPending,
}

/// The records of a sprint's tasks, by task id.
#[derive(Debug, Clone, Default)]
pub struct TaskRecords {
    /// The records that could be read.
    pub readable: BTreeMap<String, TaskRecord>,
    /// The bytes that are no record.
    pub unreadable: BTreeMap<String, Vec<u8>>,
}

/// What has come in for a sprint. Entries that cannot be read are dropped.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// Runs that were handed back.
    pub returned: Vec<Requeued>,
    /// What operators asked for.
    pub messages: Vec<SprintMessage>,
}

impl TaskRecords {
    /// Whether there is a record of this task, readable or not.
    #[must_use]
    pub fn knows(&self, task: &str) -> bool {
        self.readable.contains_key(task) || self.unreadable.contains_key(task)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignArguments<'a> {
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
}

impl CoordinatorStore {
    /// Gives a waiting task to one life of an agent.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. The task may have been assigned; its record tells.
    pub async fn assign_task(
        &self,
        agent: &AgentId,
        incarnation: Incarnation,
        task: &Assignment,
    ) -> Result<Fenced<Assigned>, StoreError> {
        let keys = self.store.keys();
        let names = TaskAssign {
            agent_state: keys.state(agent.as_str()),
            task: keys.task(agent, &task.task),
            agent_owned: keys.keys(agent.as_str()),
            sprint_tasks: keys.sprint_tasks(&task.sprint),
        };
        let args = arguments(&AssignArguments {
            agent_id: agent.as_str(),
            agent_incarnation: incarnation,
            task_id: task.task.as_str(),
            sprint: task.sprint.as_str(),
            run: task.run,
            attempt: task.attempt,
            max_attempts: task.max_attempts,
            input: &task.input,
            timeout_ms: task.timeout.map_or(0, millis),
            format: self.store.wire.as_str(),
        })?;
        let reply = self.store.run_fenced(&self.life, names, vec![args]).await?;
        match reply.word() {
            "gone" => Ok(Fenced::Ok(Assigned::AgentGone)),
            "busy" => Ok(Fenced::Ok(Assigned::AgentBusy)),
            "settled" => Ok(Fenced::Ok(Assigned::NotPending)),
            _ => fenced(&reply)?.try_map(|| Ok(Assigned::Ok)),
        }
    }

    /// Takes what has come in for a sprint. Each run that was handed back waits again, or is given up once its task has
    /// used up its attempts or crashes. Messages of operators are only returned.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Messages may have been taken and lost.
    pub async fn take_incoming(&self, sprint: &SprintId) -> Result<Fenced<Incoming>, StoreError> {
        let keys = self.store.keys();
        let names = TaskTake {
            sprint_tasks: keys.sprint_tasks(sprint),
            requeue: keys.sprint_requeue(sprint),
            inbox: keys.sprint_inbox(sprint),
            sprint_state: keys.sprint_state(sprint),
        };
        let args = vec![argument(TAKE), self.store.wire.as_str().into()];
        let mut reply = self.store.run_fenced(&self.life, names, args).await?;
        fenced(&reply)?.try_map(|| Ok(Incoming { returned: reply.list(), messages: reply.list() }))
    }

    /// Takes back a run that no agent holds any more; it then comes in like any other. `false` if the run is not in
    /// flight.
    pub async fn recall_task(
        &self,
        sprint: &SprintId,
        (task, run): (&TaskId, u32),
        cost: Cost,
        why: &str,
    ) -> Result<Fenced<bool>, StoreError> {
        let keys = self.store.keys();
        let names =
            TaskRecall { sprint_tasks: keys.sprint_tasks(sprint), requeue: keys.sprint_requeue(sprint) };
        let (cost, format) = (cost.as_str().into(), self.store.wire.as_str().into());
        let args = vec![task.as_str().into(), argument(run.into()), cost, why.into(), format];
        changed(&self.store.run_fenced(&self.life, names, args).await?)
    }

    /// Gives up a task that waits. `false` if it does not wait any more.
    pub async fn settle_task(
        &self,
        sprint: &SprintId,
        task: &TaskId,
        record: &TaskRecord,
    ) -> Result<Fenced<bool>, StoreError> {
        let names = TaskSettle { sprint_tasks: self.store.keys().sprint_tasks(sprint) };
        let args = vec![task.as_str().into(), Value::Bytes(self.store.wire.encode(record)?.into())];
        changed(&self.store.run_fenced(&self.life, names, args).await?)
    }

    /// Replaces bytes that are no record by a new record. `false` if something else stands there by now.
    pub async fn mend_task(
        &self,
        sprint: &SprintId,
        task: &TaskId,
        seen: &[u8],
        record: &TaskRecord,
    ) -> Result<Fenced<bool>, StoreError> {
        let names = TaskMend { sprint_tasks: self.store.keys().sprint_tasks(sprint) };
        let bytes = |bytes: Vec<u8>| Value::Bytes(bytes.into());
        let args = vec![task.as_str().into(), bytes(seen.to_vec()), bytes(self.store.wire.encode(record)?)];
        changed(&self.store.run_fenced(&self.life, names, args).await?)
    }

    /// Restores a record of which the store has lost the end: `known` was read before, and `seen` is there now. `false`
    /// if that has changed since.
    pub async fn forward_task(
        &self,
        sprint: &SprintId,
        task: &TaskId,
        (seen, known): (&TaskRecord, &TaskRecord),
    ) -> Result<Fenced<bool>, StoreError> {
        let names = TaskForward { sprint_tasks: self.store.keys().sprint_tasks(sprint) };
        let known = Value::Bytes(self.store.wire.encode(known)?.into());
        let args = vec![task.as_str().into(), seen.state.as_str().into(), argument(seen.run.into()), known];
        changed(&self.store.run_fenced(&self.life, names, args).await?)
    }
}

fn changed(reply: &Reply) -> Result<Fenced<bool>, StoreError> {
    match reply.word() {
        "gone" => Ok(Fenced::Ok(false)),
        _ => fenced(reply)?.try_map(|| Ok(true)),
    }
}
