//! A task's way: `pending → assigned → completed`, or back over the requeue to `pending`, or `failed` once
//! it has used up its attempts or its crashes.
//!
//! The record in `sprint:tasks:<sprint>` is the truth. Each time a task is handed out is a *run*, and runs are
//! only ever counted up. A run is fenced twice: by the incarnation of the agent that holds it and by its number, so a
//! late result of a run that was taken back changes nothing.
//!
//! What a run costs the task depends on how it ended ([`Cost`]). Work that ran and failed used up an *attempt*. An
//! agent that did not survive is no fault of the work, so it costs a *crash*; these have a bound of their own, which
//! stops a task that kills whoever runs it. An order to stop costs nothing.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::ids::{Incarnation, SprintId, TaskId};
use crate::wire::word_enum::word_enum;

/// Crashes of a task that does not say.
pub const DEFAULT_MAX_CRASHES: u32 = 3;

word_enum! {
    /// Where a task is.
    TaskState, "task state" {
        /// Waits for what it needs, or for an agent.
        Pending = "pending",
        /// In flight on an agent.
        Assigned = "assigned",
        /// Done, once.
        Completed = "completed",
        /// Given up: its attempts are used up, or it cannot run.
        Failed = "failed",
    }
}

impl TaskState {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

word_enum! {
    /// What the end of a run costs its task.
    Cost, "cost" {
        /// It ran and failed.
        Attempt = "attempt",
        /// Its agent, or its agent's host, did not survive.
        Crash = "crash",
        /// It was ended by an order, or never begun.
        Nothing = "nothing",
    }
}

/// A task's record in `sprint:tasks:<sprint>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Where it is.
    pub state: TaskState,
    /// Attempts used; while assigned, the number of the one in flight.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// How often it was handed out so far; while assigned, the number of the run in flight.
    #[serde(default)]
    pub run: u32,
    /// Crashes so far.
    #[serde(default)]
    pub crashes: u32,
    /// Crashes after which it is given up.
    #[serde(default = "default_max_crashes")]
    pub max_crashes: u32,
    /// Who holds it, or who settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// That agent's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// How the last attempt ended, in words: `exit 0`, `signal 9`, `timed out`, `stale_heartbeat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl TaskRecord {
    /// A task nobody has begun.
    #[must_use]
    pub fn pending(max_attempts: u32, max_crashes: u32) -> Self {
        Self {
            state: TaskState::Pending,
            attempt: 0,
            max_attempts,
            run: 0,
            crashes: 0,
            max_crashes,
            agent_id: None,
            incarnation: None,
            detail: None,
        }
    }
}

fn default_max_crashes() -> u32 {
    DEFAULT_MAX_CRASHES
}

impl TaskRecord {
    /// Whether this is an earlier record of the task than another one. A task only goes forward: from run to run, and
    /// within a run from in flight over handed back to settled. So a store whose record is behind what was read from it
    /// before has gone back in time.
    #[must_use]
    pub fn is_behind(&self, other: &Self) -> bool {
        self.stage() < other.stage()
    }

    fn stage(&self) -> (u32, u8) {
        let state = match self.state {
            TaskState::Assigned => 0,
            TaskState::Pending => 1,
            TaskState::Completed | TaskState::Failed => 2,
        };
        (self.run, state)
    }
}

word_enum! {
    /// How one attempt ended.
    Outcome, "outcome" {
        /// The work is done.
        Completed = "completed",
        /// The work failed; another attempt follows while there are any left.
        Failed = "failed",
    }
}

/// A task in flight, as its agent reads it from `agent:task:<id>:<task>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Its sprint.
    pub sprint: SprintId,
    /// Which run of the task this is, from 1: one more each time it is handed out, however the last one ended.
    pub run: u32,
    /// Which attempt this is, from 1: crashes and orders to stop cost none.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// What to do, in the plan's words.
    pub input: String,
    /// How long the attempt may take.
    pub timeout: Option<Duration>,
}

impl Assignment {
    /// Reads the hash; `None` when it was not written by a coordinator of ours.
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>) -> Option<Self> {
        let number = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
        Some(Self {
            task: TaskId::new(fields.get("task")?.as_str()).ok()?,
            sprint: SprintId::new(fields.get("sprint")?.as_str()).ok()?,
            run: u32::try_from(number("run")?).ok()?,
            attempt: u32::try_from(number("attempt")?).ok()?,
            max_attempts: u32::try_from(number("maxAttempts")?).ok()?,
            input: fields.get("input").cloned().unwrap_or_default(),
            timeout: number("timeoutMs").filter(|ms| *ms > 0).map(Duration::from_millis),
        })
    }
}

/// An entry of `sprint:requeue:<sprint>`: a task handed back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requeued {
    /// The task.
    pub task_id: String,
    /// Which run of it ended.
    pub run: u32,
    /// What that costs the task.
    pub cost: Cost,
    /// Who had it.
    pub agent_id: String,
    /// Why it came back.
    pub reason: String,
}

/// What an operator leaves in `sprint:inbox:<sprint>` for whoever coordinates the sprint. Saying it twice does nothing
/// twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SprintMessage {
    /// Once the agent has left, nobody takes its place.
    Retire {
        /// The agent.
        agent_id: String,
    },
    /// The agent is wanted again, whatever was said or happened before.
    Restart {
        /// The agent.
        agent_id: String,
    },
}

impl SprintMessage {
    /// The agent it is about, and the word for what is wanted.
    #[must_use]
    pub fn about(&self) -> (&str, &'static str) {
        match self {
            Self::Retire { agent_id } => (agent_id, "retire"),
            Self::Restart { agent_id } => (agent_id, "restart"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_only_goes_forward_and_a_record_that_went_back_shows() {
        let at = |state, run| TaskRecord { state, run, ..TaskRecord::pending(3, 3) };
        let way = [
            at(TaskState::Pending, 0),
            at(TaskState::Assigned, 1),
            at(TaskState::Pending, 1),
            at(TaskState::Assigned, 2),
            at(TaskState::Completed, 2),
        ];
        for (index, earlier) in way.iter().enumerate() {
            assert!(!earlier.is_behind(earlier));
            for later in &way[index + 1..] {
                assert!(earlier.is_behind(later) && !later.is_behind(earlier), "{earlier:?} {later:?}");
            }
        }
    }
}
