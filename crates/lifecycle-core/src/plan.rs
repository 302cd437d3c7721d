//! What an epic is to do: its sprints, the agents each is given and the tasks they work through.
//!
//! A plan is a TOML file that a person writes. Reading it is all or nothing: either every name is valid, every
//! reference leads somewhere and nothing waits for itself, or [`PlanErrors`] lists what is wrong, so that a plan
//! which starts cannot fail later for a reason that was visible in the file.
//!
//! ```text
//!   text ──written──▶ tables as written ──check──▶ Plan
//!           │ TOML, keys, types           │ names, ranges, references, cycles (order)
//!           └──────────────▶ PlanErrors ◀─┘
//! ```
//!
//! Everything is reported at once. Only a text that is no TOML hides what comes after the mistake.
//!
//! A plan calls its agents and sprints by short names; in the store, and wherever else an id is shown, they are scoped
//! by their epic: `checkout.coder-2`.
//!
//! ```
//! # use lifecycle_core::plan::Plan;
//! let plan = Plan::parse(
//!     r#"
//!     [epic]
//!     id = "checkout"
//!
//!     [[sprint]]
//!     id = "api"
//!
//!     [[sprint.agent]]
//!     id = "coder"
//!     count = 2
//!     command = ["claude", "-p", "{input}"]
//!
//!     [[sprint.task]]
//!     id = "login"
//!     input = "write the login endpoint"
//!     "#,
//! )?;
//! assert_eq!(plan.sprints[0].agents[1].id.as_str(), "checkout.coder-2");
//! # Ok::<(), lifecycle_core::plan::PlanErrors>(())
//! ```

mod agents;
mod check;
mod order;
mod waits;
mod written;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

use crate::ids::{AgentId, AgentName, EpicId, SprintId, SprintName, TaskId};
use crate::task::TaskRecord;

/// Most agents one `[[sprint.agent]]` may ask for with `count`.
pub const MAX_COUNT: u32 = 10_000;

/// Most agents a whole plan may ask for.
pub const MAX_AGENTS: u64 = 100_000;

/// Attempts of a task that does not say.
pub const DEFAULT_ATTEMPTS: u32 = 3;

/// Most attempts a task may have.
pub const MAX_ATTEMPTS: u32 = 100;

/// Crashes of a task that does not say.
pub const DEFAULT_MAX_CRASHES: u32 = 3;

/// Most crashes a task may be allowed.
pub const MAX_MAX_CRASHES: u32 = 100;

/// Longest input of a task, in bytes.
pub const MAX_INPUT_LEN: usize = 64 * 1024;

/// Longest time an agent may give one attempt; beyond it, leave `task_timeout` out.
pub const MAX_TASK_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Environment names that begin so are set by the agent for its command.
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
    /// What the plan calls it, unique in the plan.
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
    /// Program and arguments, for [`substitute`]; at least the program.
    pub command: Vec<String>,
    /// Environment the command is given on top of its agent's.
    pub env: BTreeMap<String, String>,
    /// How long one attempt at a task may take, up to [`MAX_TASK_TIMEOUT`]; no end when absent.
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
    /// How often it may run and fail, 1 to [`MAX_ATTEMPTS`]. A run that its agent did not survive is a crash and no
    /// attempt, and one that was ended by an order is neither.
    pub attempts: u32,
    /// How many of its agents may crash over it before it is given up, 1 to [`MAX_MAX_CRASHES`].
    pub max_crashes: u32,
}

impl TaskPlan {
    /// The record of the task before anybody has begun it.
    #[must_use]
    pub fn record(&self) -> TaskRecord {
        TaskRecord::pending(self.attempts, self.max_crashes)
    }
}

impl Plan {
    /// Reads a plan from its TOML text.
    ///
    /// # Errors
    /// [`PlanErrors`] with every problem found; no part of the plan is usable then.
    pub fn parse(text: &str) -> Result<Self, PlanErrors> {
        let (written, problems) = written::read(text)?;
        check::plan(text, written, problems)
    }

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

/// Whether an argument says something else for each task.
#[must_use]
pub fn depends_on_task(argument: &str) -> bool {
    argument.contains("{task}") || argument.contains("{input}")
}

/// Puts a task into one argument of a command: `{task}` becomes its id, `{input}` its input, everything else
/// stays as it is, other braces included.
///
/// What was put in is not looked at again, so an input that contains `{task}` arrives as it was written.
#[must_use]
pub fn substitute(argument: &str, task: &TaskId, input: &str) -> String {
    let mut filled = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(behind) = rest.strip_prefix("{task}") {
            filled.push_str(task.as_str());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("{input}") {
            filled.push_str(input);
            rest = behind;
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

/// Why a plan was refused: every problem found, in the order of the file. Shown with one problem per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors(Vec<PlanProblem>);

impl PlanErrors {
    fn new(mut problems: Vec<PlanProblem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self(problems)
    }

    /// The problems, those of the plan as a whole first; never empty.
    #[must_use]
    pub fn problems(&self) -> &[PlanProblem] {
        &self.0
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

/// One thing wrong with a plan. Shown on one line, which begins with the place where it is known:
/// `line 12: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The line of the file, from 1; absent for what concerns no place in it, such as a missing `[epic]`.
    pub line: Option<usize>,
    /// The column, in characters from 1; known where the text has not the shape of a plan.
    pub column: Option<usize>,
    /// The sprint, agent or task at fault, what is wrong with it and what would be right.
    pub what: String,
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: {}", self.what),
            (Some(line), None) => write!(f, "line {line}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}
