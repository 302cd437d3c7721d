//! The tasks of a sprint: assigned, taken back, settled, and repaired where the store lost something.

use std::collections::BTreeMap;

use fred::interfaces::HashesInterface;
use fred::types::Value;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::ids::{AgentId, Incarnation, SprintId, TaskId};
use lifecycle_core::wire::sprint_record::SprintRecord;
use lifecycle_core::wire::task::{Assignment, Cost, Requeued, SprintMessage, TaskRecord};
use lifecycle_core::wire::time::{ServerTime, millis};
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::reply::{Reply, argument};
use crate::roles::CoordinatorStore;
use crate::scripts::{TaskAssign, TaskForward, TaskMend, TaskRecall, TaskSettle, TaskTake};
use crate::store::{Store, arguments};

/// Most entries that one call takes from the requeue, and from the inbox.
const TAKE: u64 = 2_000;
/// Records that one command reads.
const READ_AT_ONCE: usize = 1_000;

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
    /// What operators and agents said.
    pub messages: Vec<SprintMessage>,
    /// The sprint's record.
    pub sprint: SprintRecord,
    /// The store's time.
    pub now: ServerTime,
}

impl Incoming {
    /// Whether more may have come than was taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages.len().max(self.returned.len()) as u64 >= TAKE
    }
}

impl TaskRecords {
    /// Whether there is a record of this task, readable or not.
    #[must_use]
    pub fn knows(&self, task: &str) -> bool {
        self.readable.contains_key(task) || self.unreadable.contains_key(task)
    }

    fn note(&mut self, task: String, record: Value) {
        let bytes = record.into_owned_bytes().unwrap_or_default();
        match decode(&bytes) {
            Ok(record) => drop(self.readable.insert(task, record)),
            Err(_) => drop(self.unreadable.insert(task, bytes)),
        }
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
    needs: String,
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
            if let Some(task) = task.as_string() {
                records.note(task, record);
            }
        }
        Ok(records)
    }

    /// The records of these tasks of a sprint, of those that there are.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn task_records_of(
        &self,
        sprint: &SprintId,
        tasks: &[&str],
    ) -> Result<TaskRecords, StoreError> {
        let key = self.keys().sprint_tasks(sprint);
        let mut records = TaskRecords::default();
        for chunk in tasks.chunks(READ_AT_ONCE) {
            let found: Value = self.of_key(&key, self.client.hmget(&key, chunk.to_vec()).await).await?;
            for (task, found) in chunk.iter().zip(found.into_array()).filter(|(_, found)| !found.is_null()) {
                records.note((*task).to_owned(), found);
            }
        }
        Ok(records)
    }

    /// The record of one task; `None` where there is none that can be read.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn task_record(
        &self,
        sprint: &SprintId,
        task: &TaskId,
    ) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.task_records_of(sprint, &[task.as_str()]).await?.readable.remove(task.as_str()))
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
            needs: task.needs_in_words(),
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
        fenced(&reply)?.try_map(|| {
            Ok(Incoming {
                returned: reply.list(),
                messages: reply.list(),
                sprint: SprintRecord::from_fields(&reply.fields()),
                now: reply.time()?,
            })
        })
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

    /// Gives up a task that waits, because it needs `lost`, if that is why. `false` if it does not wait any more, or if that
    /// one is not lost any more.
    pub async fn settle_task(
        &self,
        sprint: &SprintId,
        task: &TaskId,
        record: &TaskRecord,
        lost: Option<&TaskId>,
    ) -> Result<Fenced<bool>, StoreError> {
        let names = TaskSettle { sprint_tasks: self.store.keys().sprint_tasks(sprint) };
        let record = Value::Bytes(self.store.wire.encode(record)?.into());
        let args = vec![task.as_str().into(), record, lost.map_or("", TaskId::as_str).into()];
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
