//! The agent's side of a task: find it, begin it, finish it.

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::task::{Assignment, Outcome, SprintMessage};
use lifecycle_core::wire::time::millis;
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::reply::{Reply, argument, fields};
use crate::roles::AgentStore;
use crate::scripts::{TaskFinish, TaskRestore, TaskStart};
use crate::store::{Store, arguments};

/// Whether an operation on a task in flight was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskReply {
    /// It was done.
    Ok,
    /// It was not: the run was taken back, and its result does not count.
    TakenBack,
    /// The store lost the sprint, and its coordinator has not put it back yet: try again.
    NoSprint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FinishArguments<'a> {
    agent_id: &'a AgentId,
    task_id: &'a str,
    sprint: &'a str,
    run: u32,
    attempt: u32,
    outcome: &'static str,
    detail: &'a str,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
}

impl AgentStore {
    /// Records that a run of a task begins. From then on it costs the task something if it ends badly.
    pub async fn start_task(&self, task: &Assignment) -> Result<Fenced<TaskReply>, StoreError> {
        let (keys, args) = (self.store.keys(), vec![argument(task.run.into()), task.task.as_str().into()]);
        let names = TaskStart {
            task: keys.task(&self.life.id, &task.task),
            owned: keys.keys(self.life.id.as_str()),
            sprint_tasks: keys.sprint_tasks(&task.sprint),
        };
        task_reply(&self.store.run_fenced(&self.life, names, args).await?)
    }

    /// Puts a task in flight back into a store that lost its memory, unless the task's record says that the run is
    /// over.
    pub async fn restore_task(&self, task: &Assignment) -> Result<Fenced<TaskReply>, StoreError> {
        let (keys, id) = (self.store.keys(), self.life.id.as_str());
        let names = TaskRestore {
            task: keys.task(&self.life.id, &task.task),
            owned: keys.keys(id),
            sprint_tasks: keys.sprint_tasks(&task.sprint),
        };
        let args = vec![
            id.into(),
            task.task.as_str().into(),
            task.sprint.as_str().into(),
            argument(task.attempt.into()),
            argument(task.max_attempts.into()),
            task.input.as_str().into(),
            argument(task.timeout.map_or(0, millis)),
            argument(task.run.into()),
            task.needs_in_words().into(),
        ];
        task_reply(&self.store.run_fenced(&self.life, names, args).await?)
    }

    /// Ends an attempt. A failed one is handed back, and the coordinator decides whether another one follows. The result of
    /// a completed one is kept with the task.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless: an attempt ends once.
    pub async fn finish_task(
        &self,
        task: &Assignment,
        outcome: Outcome,
        (detail, result): (&str, Option<&str>),
    ) -> Result<Fenced<TaskReply>, StoreError> {
        let (keys, id) = (self.store.keys(), self.life.id.as_str());
        let names = TaskFinish {
            task: keys.task(&self.life.id, &task.task),
            owned: keys.keys(id),
            sprint_tasks: keys.sprint_tasks(&task.sprint),
            requeue: keys.sprint_requeue(&task.sprint),
            sprint_state: keys.sprint_state(&task.sprint),
            inbox: keys.sprint_inbox(&task.sprint),
            results: keys.sprint_results(&task.sprint),
        };
        let changed = SprintMessage::Changed { task_id: task.task.to_string() };
        let args = arguments(&FinishArguments {
            agent_id: &self.life.id,
            task_id: task.task.as_str(),
            sprint: task.sprint.as_str(),
            run: task.run,
            attempt: task.attempt,
            outcome: outcome.as_str(),
            detail,
            format: self.store.wire.as_str(),
            result,
        })?;
        let changed = Value::Bytes(self.store.wire.encode(&changed)?.into());
        task_reply(&self.store.run_fenced(&self.life, names, vec![args, changed]).await?)
    }
}

impl Store {
    /// Every task in flight on the agent, in the order of their names.
    pub async fn assignments(&self, id: &AgentId) -> Result<Vec<Assignment>, StoreError> {
        let key = self.keys().keys(id.as_str());
        let owned: Vec<String> = self.of_key(&key, self.client.smembers(&key).await).await?;
        let prefix = self.keys().task_prefix(id.as_str());
        let mut names: Vec<String> = owned.into_iter().filter(|key| key.starts_with(&prefix)).collect();
        names.sort_unstable();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let hash: Value = self.of_key(&name, self.client.hgetall(&name).await).await?;
            found.extend(Assignment::from_fields(&fields(hash)));
        }
        Ok(found)
    }
}

fn task_reply(reply: &Reply) -> Result<Fenced<TaskReply>, StoreError> {
    match reply.word() {
        "gone" => Ok(Fenced::Ok(TaskReply::TakenBack)),
        "no_sprint" => Ok(Fenced::Ok(TaskReply::NoSprint)),
        _ => fenced(reply)?.try_map(|| Ok(TaskReply::Ok)),
    }
}
