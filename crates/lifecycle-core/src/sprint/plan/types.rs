//! A plan that can be run as it is, and the limits on its parts.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytesize::ByteSize;

use super::order;
use crate::wire::ids::{AgentId, AgentName, EpicId, SprintId, SprintName, TaskId};
use crate::wire::task::{AddedTask, TaskRecord};
use crate::wire::time::millis;

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
    /// Whether tasks are still added: then it stays open until an operator closes it.
    pub is_open: bool,
    /// The agents that the coordinator starts, one entry each. At least one, or a pool.
    pub agents: Vec<AgentPlan>,
    /// What agents that somebody else starts may join, from any host.
    pub pools: Vec<PoolPlan>,
    /// Its tasks, in the order of the file; at least one, unless it is open.
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

/// Agents of a sprint that somebody else starts, with `agent run --epic E --sprint S --pool NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlan {
    /// Its name, unique in the plan among agents and pools.
    pub name: AgentName,
    /// How long one attempt at a task may take.
    pub task_timeout: Option<Duration>,
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
    /// How long it waits after its first failed run; twice as long after each further one, up to
    /// [`MAX_RETRY_BACKOFF`](crate::wire::task::MAX_RETRY_BACKOFF).
    pub retry_backoff: Duration,
    /// How long one attempt may take, whatever its agent allows; absent for what the agent allows.
    pub timeout: Option<Duration>,
}

impl TaskPlan {
    /// The record of the task before any agent has begun it.
    #[must_use]
    pub fn record(&self) -> TaskRecord {
        TaskRecord {
            retry_backoff_ms: millis(self.retry_backoff),
            ..TaskRecord::pending(self.attempts, self.max_crashes)
        }
    }

    /// The same as it is kept in the store, where it was not in the plan's file.
    #[must_use]
    pub fn added(&self, number: u64) -> AddedTask {
        AddedTask {
            id: self.id.clone(),
            input: self.input.clone(),
            needs: self.needs.clone(),
            attempts: self.attempts,
            max_crashes: self.max_crashes,
            retry_backoff_ms: millis(self.retry_backoff),
            timeout_ms: self.timeout.map_or(0, millis),
            number,
        }
    }
}

impl From<AddedTask> for TaskPlan {
    fn from(added: AddedTask) -> Self {
        Self {
            id: added.id,
            input: added.input,
            needs: added.needs,
            attempts: added.attempts,
            max_crashes: added.max_crashes,
            retry_backoff: Duration::from_millis(added.retry_backoff_ms),
            timeout: (added.timeout_ms > 0).then(|| Duration::from_millis(added.timeout_ms)),
        }
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
    /// The sprint, with the tasks that were added to it while its epic runs and that it does not plan itself.
    #[must_use]
    pub fn with_added(mut self, added: impl IntoIterator<Item = AddedTask>) -> Self {
        let known: HashSet<TaskId> = self.tasks.iter().map(|task| task.id.clone()).collect();
        let added = added.into_iter().filter(|task| !known.contains(&task.id));
        self.tasks.extend(added.map(TaskPlan::from));
        self
    }

    /// The tasks, each behind all it needs.
    #[must_use]
    pub fn order(&self) -> Vec<&TaskPlan> {
        let names = self.tasks.iter().map(|task| task.id.as_str());
        let needs = self.tasks.iter().map(|task| &task.needs);
        order::by_name(names, needs).into_iter().map(|index| &self.tasks[index]).collect()
    }
}
