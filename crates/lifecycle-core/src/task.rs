//! A task's way: `pending → assigned → completed`, or back over the requeue to `pending`, or `failed` once
//! its attempts are used up.
//!
//! The record in `sprint:tasks:<sprint>` is the truth. An attempt is fenced twice: by the incarnation of the
//! agent that holds it and by its number, so a late result of an attempt that was taken back changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, SprintId, TaskId};
use crate::words::words;

words! {
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

/// A task's record in `sprint:tasks:<sprint>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Where it is.
    pub state: TaskState,
    /// Attempts begun so far; while assigned, the number of the one in flight.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
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
    pub fn pending(max_attempts: u32) -> Self {
        Self {
            state: TaskState::Pending,
            attempt: 0,
            max_attempts,
            agent_id: None,
            incarnation: None,
            detail: None,
        }
    }
}

words! {
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
    /// Which attempt this is, from 1.
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
    /// Attempts used, this one included if it had begun.
    pub attempt: u32,
    /// Who had it.
    pub agent_id: String,
    /// Why it came back.
    pub reason: String,
}
