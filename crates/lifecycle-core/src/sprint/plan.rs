//! What an epic is to do: its sprints, each sprint's agents and the tasks they work through.
//!
//! A plan is a TOML file that a person writes. It is read completely or not at all. Either every name is valid, every
//! reference leads somewhere and nothing waits for itself; or [`PlanErrors`] lists what is wrong. So a plan that starts
//! cannot fail later for a reason that was visible in the file.
//!
//! ```text
//!   text ──written──▶ tables as written ──check──▶ Plan
//!           │ TOML, keys, types           │ names, ranges, references, cycles (order)
//!           └──────────────▶ PlanErrors ◀─┘
//! ```
//!
//! All mistakes are reported at once. Only in a text that is no TOML does the first mistake hide the later ones.
//!
//! A plan calls its agents and sprints by short names; in the store, and wherever else an id is shown, they are scoped
//! by their epic: `checkout.coder-2`.
//!
//! ```
//! # use lifecycle_core::sprint::plan::Plan;
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
//! # Ok::<(), lifecycle_core::sprint::plan::PlanErrors>(())
//! ```

mod addition;
mod agents;
mod check;
mod checker;
mod command;
mod order;
mod problems;
mod types;
mod waits;
mod written;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use addition::{Addition, AdditionProblem, NewTask, additions, read_lines};
pub use command::{Substitutes, depends_on_task, substitute};
pub use problems::{PlanErrors, PlanProblem};
pub use types::{
    AgentPlan, DEFAULT_ATTEMPTS, MAX_AGENTS, MAX_ATTEMPTS, MAX_COUNT, MAX_INPUT_LEN, MAX_MAX_CRASHES,
    MAX_TASK_TIMEOUT, Plan, PoolPlan, RESERVED_ENV_PREFIX, SprintPlan, TaskPlan,
};

impl Plan {
    /// Reads a plan from its TOML text.
    ///
    /// # Errors
    /// [`PlanErrors`] with every problem found; no part of the plan is usable then.
    pub fn parse(text: &str) -> Result<Self, PlanErrors> {
        let (written, problems) = written::read(text)?;
        check::plan(text, written, problems)
    }
}
