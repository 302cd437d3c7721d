//! A plan that can be run as it is, and the limits on its parts.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;

use super::order;
use crate::wire::ids::{AgentId, AgentName, EpicId, SprintId, SprintName, TaskId};
use crate::wire::task::TaskRecord;

/// Most agents one `[[sprint.agent]]` may ask for with `count`.
pub const MAX_COUNT: u32 = 10_000;

/// Most agents a whole plan may ask for.
pub const MAX_AGENTS: u64 = 100_000;

/// Attempts of a task if its plan does not say.
pub const DEFAULT_ATTEMPTS: u32 = 3;

/// Most attempts a task may have.
pub const MAX_ATTEMPTS: u32 = 100;

/// Most crashes a task may be allowed.
pub const MAX_MAX_CRASHES: u32 = 100;

/// Longest input of a task, in bytes.
pub const MAX_INPUT_LEN: usize = 64 * 1024;

/// Longest `task_timeout`. For more, leave it out: then an attempt may run without an end.
pub const MAX_TASK_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Environment variables that begin so are set by `agent run` for its command; a plan may not set them.
pub const RESERVED_ENV_PREFIX: &str = "LIFECYCLE_";

/// A whole plan that can be run as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The epic.
    pub epic: EpicId,
    /// Its sprints, in the order of the file; at least one.
    pub sprints: Vec<SprintPlan>,
}

/// One sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SprintPlan {
    /// Its id in the whole store: `<epic>.<name>`.
    pub id: SprintId,
    /// Its name in the plan, unique there.
    pub name: SprintName,
    /// Sprints that must be complete before it starts, each once.
    pub after: Vec<SprintId>,
    /// Its agents, one entry each; at least one.
    pub agents: Vec<AgentPlan>,
    /// Its tasks, in the order of the file; at least one.
    pub tasks: Vec<TaskPlan>,
}

/// One agent of a sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPlan {
    /// Its id in the whole store: `<epic>.<name>`.
    pub id: AgentId,
    /// Its name, unique in the plan: `coder`, or `coder-1` … `coder-4` where the plan says `count = 4`.
    pub name: AgentName,
    /// The id as the plan writes it, the same for all of one `count`: `coder`.
    pub kind: String,
    /// Program and arguments, for [`substitute`](crate::sprint::plan::substitute); at least the program.
    pub command: Vec<String>,
    /// Environment variables that the command gets beside those of `agent run`.
    pub env: BTreeMap<String, String>,
    /// How long one attempt at a task may take, up to [`MAX_TASK_TIMEOUT`]; without an end if absent.
    pub task_timeout: Option<Duration>,
    /// Memory the command's processes may use together, over 0; no limit when absent.
    pub memory_limit: Option<ByteSize>,
    /// Memory beyond which the agent finishes its task and is started afresh, over 0 and below the limit.
    pub memory_soft_limit: Option<ByteSize>,
}

/// One task of a sprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlan {
    /// Its id, unique in the sprint.
    pub id: TaskId,
    /// What to do, in the words of the plan; up to [`MAX_INPUT_LEN`] bytes.
    pub input: String,
    /// Tasks of the same sprint that must be complete before it is assigned, each once.
    pub needs: Vec<TaskId>,
    /// How often it may run and fail, 1 to [`MAX_ATTEMPTS`]. A run that its agent did not survive is a crash, not an
    /// attempt. A run that an order ended is neither.
    pub attempts: u32,
    /// How many of its runs may end with a crash before it is given up, 1 to [`MAX_MAX_CRASHES`].
    pub max_crashes: u32,
}

impl TaskPlan {
    /// The record of the task before any agent has begun it.
    #[must_use]
    pub fn record(&self) -> TaskRecord {
        TaskRecord::pending(self.attempts, self.max_crashes)
    }
}

impl Plan {
    /// The sprints, each behind all it waits for.
    #[must_use]
    pub fn order(&self) -> Vec<&SprintPlan> {
        let names = self.sprints.iter().map(|sprint| sprint.id.as_str());
        let waits = self.sprints.iter().map(|sprint| &sprint.after);
        order::by_name(names, waits).into_iter().map(|index| &self.sprints[index]).collect()
    }
}

impl SprintPlan {
    /// The tasks, each behind all it needs.
    #[must_use]
    pub fn order(&self) -> Vec<&TaskPlan> {
        let names = self.tasks.iter().map(|task| task.id.as_str());
        let needs = self.tasks.iter().map(|task| &task.needs);
        order::by_name(names, needs).into_iter().map(|index| &self.tasks[index]).collect()
    }
}
