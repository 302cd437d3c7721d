//! What operators ask of sprints and their tasks. All of it is kept in the store, and obeyed by whichever coordinator has
//! the epic.

use fred::types::Value;
use lifecycle_core::wire::ids::{AgentId, EpicId, SprintId, TaskId};
use lifecycle_core::wire::sprint_record::{SprintFlag, retired_field};
use lifecycle_core::wire::task::{AddedTask, SprintMessage, TaskRecord, TaskState};

use crate::error::StoreError;
use crate::reply::Reply;
use crate::roles::OperatorStore;
use crate::scripts::{InboxPut, SprintFlag as FlagScript, TaskAdd, TaskCancel, TaskRetry};
use crate::store::arguments;

/// Tasks that one call adds at most, so that no call keeps the store from others for long.
const ADDED_AT_ONCE: usize = 500;
/// Bytes of input that one call brings at most.
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// A sprint of an epic, by both their ids.
#[derive(Debug, Clone, Copy)]
pub struct SprintOf<'a> {
    /// The epic.
    pub epic: &'a EpicId,
    /// The sprint.
    pub sprint: &'a SprintId,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// There is no such epic: it has ended, or it never was.
    NoEpic,
    /// The sprint has ended.
    SprintOver,
    /// The sprint was closed: no task is added any more.
    SprintClosed,
    /// Another task has this id.
    Conflict(String),
    /// The task is in this state.
    InState(TaskState),
    /// It is so already.
    Already,
    /// This agent has not ended the work on it yet.
    Held(String),
}

impl OperatorStore {
    /// Leaves a message for the coordinator of the sprint. `false` if there is no such sprint.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn tell_sprint(&self, sprint: &SprintId, message: &SprintMessage) -> Result<bool, StoreError> {
        let (keys, format) = (self.store.keys(), self.store.wire.as_str());
        let names = InboxPut { sprint_state: keys.sprint_state(sprint), inbox: keys.sprint_inbox(sprint) };
        let (about, word) = message.about();
        let (field, value) = match message {
            SprintMessage::Retire { agent_id } => (retired_field(agent_id), "1"),
            SprintMessage::Restart { agent_id } => (retired_field(agent_id), ""),
            SprintMessage::Changed { .. } | SprintMessage::Look {} => (String::new(), ""),
        };
        let args = vec![
            sprint.as_str().into(),
            self.encoded(message)?,
            format.into(),
            about.into(),
            word.into(),
            field.into(),
            value.into(),
        ];
        Ok(Reply::read(self.store.run(names, args).await?)?.word() == "ok")
    }

    /// Adds tasks to a sprint, in this order. Those that are there with the same content stay as they are. Returns how
    /// many were added.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Some may have been added; adding all of them again adds
    /// the rest.
    pub async fn add_tasks(
        &self,
        of: SprintOf<'_>,
        tasks: &[AddedTask],
    ) -> Result<Result<u64, NotDone>, StoreError> {
        let mut added = 0;
        // All are looked at before the first one is added: none is, if one of them is refused.
        for looks_only in [true, false] {
            for chunk in chunks(tasks) {
                match self.add_some(of, chunk, looks_only).await? {
                    Ok(number) if !looks_only => added += number,
                    Ok(_) => {}
                    refused => return Ok(refused),
                }
            }
        }
        Ok(Ok(added))
    }

    async fn add_some(
        &self,
        SprintOf { epic, sprint }: SprintOf<'_>,
        tasks: &[AddedTask],
        looks_only: bool,
    ) -> Result<Result<u64, NotDone>, StoreError> {
        let keys = self.store.keys();
        let names = TaskAdd {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            added: keys.sprint_added(sprint),
            epic_sprints: keys.epic_sprints(epic),
            inbox: keys.sprint_inbox(sprint),
        };
        let mut args: Vec<Value> = vec![
            epic.as_str().into(),
            sprint.as_str().into(),
            self.store.wire.as_str().into(),
            if looks_only { "1" } else { "0" }.into(),
        ];
        for task in tasks {
            args.extend([arguments(task)?, self.changed(&task.id)?]);
        }
        counted(Reply::read(self.store.run(names, args).await?)?)
    }

    /// Cancels a task that is not over. `before_start` is the record that it has before its sprint begins. Returns the
    /// agent that has it in hand, if one has.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn cancel_task(
        &self,
        SprintOf { epic, sprint }: SprintOf<'_>,
        (task, before_start): (&TaskId, &TaskRecord),
    ) -> Result<Result<Option<String>, NotDone>, StoreError> {
        let keys = self.store.keys();
        let names = TaskCancel {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            sprint_tasks: keys.sprint_tasks(sprint),
            epic_sprints: keys.epic_sprints(epic),
            inbox: keys.sprint_inbox(sprint),
        };
        let args = vec![
            epic.as_str().into(),
            sprint.as_str().into(),
            self.store.wire.as_str().into(),
            task.as_str().into(),
            Value::Bytes(self.store.wire.encode(before_start)?.into()),
            self.changed(task)?,
            "cancelled by an operator".into(),
        ];
        let mut reply = Reply::read(self.store.run(names, args).await?)?;
        if reply.word() != "ok" {
            return Ok(Err(refused(reply)?));
        }
        Ok(Ok(Some(reply.text()).filter(|agent| !agent.is_empty())))
    }

    /// Has tasks done again that were given up or cancelled. The first of them decides whether it is done; it must not be in the
    /// hands of the agent that had it last any more. Returns how many wait again.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn retry_tasks(
        &self,
        SprintOf { epic, sprint }: SprintOf<'_>,
        tasks: &[&TaskId],
        last_held_by: Option<&str>,
    ) -> Result<Result<u64, NotDone>, StoreError> {
        let keys = self.store.keys();
        let inbox = keys.sprint_inbox(sprint);
        let held = match tasks.first().zip(last_held_by.and_then(|id| AgentId::new(id).ok())) {
            Some((task, agent)) => keys.task(&agent, task),
            None => inbox.clone(),
        };
        let names = TaskRetry {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            sprint_tasks: keys.sprint_tasks(sprint),
            inbox,
            held,
        };
        let mut args: Vec<Value> = vec![sprint.as_str().into(), self.store.wire.as_str().into()];
        for task in tasks {
            args.extend([task.as_str().into(), self.changed(task)?]);
        }
        counted(Reply::read(self.store.run(names, args).await?)?)
    }

    /// Pauses, resumes or closes a sprint; `word` says which.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn flag_sprint(
        &self,
        SprintOf { epic, sprint }: SprintOf<'_>,
        (flag, is_wanted): (SprintFlag, bool),
        word: &str,
    ) -> Result<Result<(), NotDone>, StoreError> {
        let keys = self.store.keys();
        let names = FlagScript {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            epic_sprints: keys.epic_sprints(epic),
            inbox: keys.sprint_inbox(sprint),
        };
        let args = vec![
            epic.as_str().into(),
            sprint.as_str().into(),
            self.store.wire.as_str().into(),
            flag.as_str().into(),
            if is_wanted { "1" } else { "0" }.into(),
            self.encoded(&SprintMessage::Look {})?,
            word.into(),
        ];
        let reply = Reply::read(self.store.run(names, args).await?)?;
        if reply.word() == "ok" { Ok(Ok(())) } else { Ok(Err(refused(reply)?)) }
    }

    fn changed(&self, task: &TaskId) -> Result<Value, StoreError> {
        self.encoded(&SprintMessage::Changed { task_id: task.to_string() })
    }

    fn encoded(&self, message: &SprintMessage) -> Result<Value, StoreError> {
        Ok(Value::Bytes(self.store.wire.encode(message)?.into()))
    }
}

/// How many were done, or why none was.
fn counted(mut reply: Reply) -> Result<Result<u64, NotDone>, StoreError> {
    if reply.word() == "ok" { Ok(Ok(reply.number()?)) } else { Ok(Err(refused(reply)?)) }
}

fn refused(mut reply: Reply) -> Result<NotDone, StoreError> {
    Ok(match reply.word() {
        "no_epic" => NotDone::NoEpic,
        "over" => NotDone::SprintOver,
        "closed" => NotDone::SprintClosed,
        "same" => NotDone::Already,
        "held" => NotDone::Held(reply.text()),
        "conflict" => NotDone::Conflict(reply.text()),
        "settled" => NotDone::InState(state(&mut reply)?),
        "state" => {
            reply.text();
            NotDone::InState(state(&mut reply)?)
        }
        _ => return Err(reply.unexpected()),
    })
}

fn state(reply: &mut Reply) -> Result<TaskState, StoreError> {
    reply.text().parse().map_err(|_| reply.unexpected())
}

/// Pieces that are neither too many nor too large for one call.
fn chunks(tasks: &[AddedTask]) -> impl Iterator<Item = &[AddedTask]> {
    let mut rest = tasks;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |task: &&AddedTask| {
            bytes += task.input.len();
            bytes <= BYTES_AT_ONCE
        };
        let number = rest.iter().take(ADDED_AT_ONCE).take_while(fits).count().max(1);
        let (chunk, behind) = rest.split_at_checked(number)?;
        rest = behind;
        Some(chunk)
    })
}
