//! A task's way: `pending → assigned → completed`, or back over the requeue to `pending`, or `failed` once
//! it has used up its attempts or its crashes, or `cancelled` by an operator.
//!
//! The record in `sprint:tasks:<sprint>` is the truth. Each time a task is handed out is a *run*, and runs are
//! only ever counted up. A run is fenced twice: by the incarnation of the agent that holds it and by its number, so a
//! late result of a run that was taken back changes nothing.
//!
//! What a run costs the task depends on how it ended ([`Cost`]). Work that ran and failed used up an *attempt*. An
//! agent that did not survive is no fault of the work, so it costs a *crash*. Crashes have a bound of their own, which
//! stops a task that kills every agent that runs it. An order to stop costs nothing.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::ids::{Incarnation, SprintId, TaskId};
use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

/// Crashes that a task may cause if its plan does not say.
pub const DEFAULT_MAX_CRASHES: u32 = 3;

/// Longest pause of a task between a failed run and the next one.
pub const MAX_RETRY_BACKOFF: Duration = Duration::from_secs(60 * 60);

/// Most bytes of a task's result that are kept.
pub const MAX_RESULT_LEN: usize = 64 * 1024;

word_enum! {
    /// Where a task is.
    TaskState, "task state" {
        /// Waits for tasks that it needs, or for an agent.
        Pending = "pending",
        /// In flight on an agent.
        Assigned = "assigned",
        /// Done; a later result changes nothing.
        Completed = "completed",
        /// Given up: its attempts or crashes are used up, or it cannot run.
        Failed = "failed",
        /// An operator does not want it any more.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether the task is over, well or not.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl TaskState {
    /// Whether it is over without its work being done, so that nothing that needs it can run.
    #[must_use]
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled)
    }
}

word_enum! {
    /// What the end of a run costs its task.
    Cost, "cost" {
        /// It ran and failed.
        Attempt = "attempt",
        /// Its agent, or the agent's host, did not survive.
        Crash = "crash",
        /// It was ended by an order, or never begun.
        Nothing = "nothing",
    }
}

/// A task's record in `sprint:tasks:<sprint>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Whether it waits, runs or is over.
    pub state: TaskState,
    /// Attempts used; while assigned, the number of the one in flight.
    pub attempt: u32,
    /// Attempts it may have, from its plan.
    pub max_attempts: u32,
    /// How often it was handed out so far; while assigned, the number of the run in flight.
    #[serde(default)]
    pub run: u32,
    /// Runs so far that ended with a crash.
    #[serde(default)]
    pub crashes: u32,
    /// Crashes after which it is given up.
    #[serde(default = "default_max_crashes")]
    pub max_crashes: u32,
    /// How long it waits after its first failed run, in ms; twice as long after each further one, up to
    /// [`MAX_RETRY_BACKOFF`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_backoff_ms: u64,
    /// Until when it is not handed out again; absent if it need not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<ServerTime>,
    /// The agent that holds it or settled it; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The life of that agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// How the last attempt ended, in words: `exit 0`, `signal 9`, `timed out`, `stale_heartbeat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When the last attempt was handed out; absent while the task waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<ServerTime>,
    /// When it was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<ServerTime>,
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
            retry_backoff_ms: 0,
            not_before: None,
            agent_id: None,
            incarnation: None,
            detail: None,
            assigned_at: None,
            ended_at: None,
        }
    }
}

fn default_max_crashes() -> u32 {
    DEFAULT_MAX_CRASHES
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TaskRecord {
    /// Whether this record is older than another one of the same task. A task only goes forward: from run to run, and
    /// within a run from assigned, over handed back, to settled. A store whose record is behind one that was read
    /// earlier has gone back in time.
    #[must_use]
    pub fn is_behind(&self, other: &Self) -> bool {
        self.stage() < other.stage()
    }

    /// Whether this run of the task is over, by this record.
    #[must_use]
    pub fn is_beyond(&self, run: u32) -> bool {
        self.run > run || (self.run == run && self.state != TaskState::Assigned)
    }

    fn stage(&self) -> (u32, u8) {
        let state = match self.state {
            TaskState::Assigned => 0,
            TaskState::Pending => 1,
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => 2,
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
    /// The task's id.
    pub task: TaskId,
    /// The sprint it belongs to.
    pub sprint: SprintId,
    /// Which run of the task this is, from 1: one more each time it is handed out, however the last one ended.
    pub run: u32,
    /// Which attempt this is, from 1. Runs that ended with a crash or an order do not count.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// What to do, as the plan says.
    pub input: String,
    /// How long the attempt may take; without an end if absent.
    pub timeout: Option<Duration>,
    /// The tasks it needed, whose results it is handed.
    pub needs: Vec<TaskId>,
    /// When it was handed out, set by the store. Tells runs of one number apart, in an epic that began anew.
    pub assigned_at: Option<ServerTime>,
}

impl Assignment {
    /// The tasks it needed, as they are written.
    #[must_use]
    pub fn needs_in_words(&self) -> String {
        self.needs.iter().map(TaskId::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Reads the hash; `None` when no coordinator of ours wrote it.
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
            needs: fields.get("needs").map(|names| ids(names)).unwrap_or_default(),
            assigned_at: number("assignedAt").map(ServerTime::from_store_ms),
        })
    }
}

/// Ids with a space between each two, as in a field of a hash.
fn ids(names: &str) -> Vec<TaskId> {
    names.split_ascii_whitespace().filter_map(|name| TaskId::new(name).ok()).collect()
}

/// A task that was added while its epic runs, in `sprint:added:<sprint>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddedTask {
    /// Its id.
    pub id: TaskId,
    /// What to do.
    #[serde(default)]
    pub input: String,
    /// Tasks of the same sprint that must be complete before it is handed out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<TaskId>,
    /// Attempts it may have.
    pub attempts: u32,
    /// Crashes after which it is given up.
    pub max_crashes: u32,
    /// How long it waits after its first failed run, in ms.
    #[serde(default)]
    pub retry_backoff_ms: u64,
    /// How long an attempt may take, in ms; 0 for as long as its agent allows.
    #[serde(default)]
    pub timeout_ms: u64,
    /// When it was added among those of its sprint, from 1; the store counts.
    #[serde(default)]
    pub number: u64,
}

/// An entry of `sprint:requeue:<sprint>`: a task handed back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requeued {
    /// The task's id.
    pub task_id: String,
    /// Which run of it ended.
    pub run: u32,
    /// What that costs the task.
    pub cost: Cost,
    /// The agent that had it.
    pub agent_id: String,
    /// Why it came back, such as `stale_heartbeat`.
    pub reason: String,
}

/// What a sprint's coordinator is told, as left in `sprint:inbox:<sprint>`. Telling it twice has no further effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SprintMessage {
    /// Somebody else than the coordinator has changed this task's record, or added the task. Written by scripts.
    Changed {
        /// The task's id.
        task_id: String,
    },
    /// An operator has paused, resumed or closed the sprint: its record says what is wanted.
    Look {},
    /// Do not replace this agent once it has left.
    Retire {
        /// The agent's id.
        agent_id: String,
    },
    /// Start this agent again, whatever was asked or happened before.
    Restart {
        /// The agent's id.
        agent_id: String,
    },
}

impl SprintMessage {
    /// The agent that it is about, and a word for what is asked.
    #[must_use]
    pub fn about(&self) -> (&str, &'static str) {
        match self {
            Self::Retire { agent_id } => (agent_id, "retire"),
            Self::Restart { agent_id } => (agent_id, "restart"),
            Self::Changed { .. } | Self::Look {} => ("", "look"),
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
