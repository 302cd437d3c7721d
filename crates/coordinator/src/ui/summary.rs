//! The result of a run: a table for people, a document for programs.

use std::time::Duration;

use lifecycle_cli::output::{Output, Stdout, Table, age, count};
use lifecycle_core::sprint::epic::Phase;
use lifecycle_core::wire::sprint_record::SprintOutcome;
use lifecycle_core::wire::task::TaskState;
use lifecycle_core::wire::time::{ServerTime, millis};
use serde::Serialize;

use crate::sprint::Sprint;

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The epic.
    pub epic: String,
    /// How the whole ended: the worst of its sprints, `failed` being worse than `completed` and `interrupted` the worst.
    pub outcome: SprintOutcome,
    /// Why it was stopped, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How many tasks are completed.
    pub tasks_completed: u64,
    /// Tasks that failed, or could not run because others failed.
    pub tasks_failed: u64,
    /// Tasks that an operator cancelled.
    pub tasks_cancelled: u64,
    /// Tasks that were not settled when the run was stopped.
    pub tasks_left: u64,
    /// How often an agent was started again.
    pub agent_restarts: u64,
    /// How long it took, in ms, from the start of the epic by its first coordinator.
    pub elapsed_ms: u64,
    /// The sprints in the order of the plan.
    pub sprints: Vec<SprintSummary>,
}

/// The result of a sprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SprintSummary {
    /// Its id in the store, `<epic>.<name>`.
    pub sprint: String,
    /// How it ended.
    pub outcome: SprintOutcome,
    /// Its tasks in the order of the plan.
    pub tasks: Vec<TaskSummary>,
}

/// The result of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskSummary {
    /// Its id.
    pub task_id: String,
    /// Where it was at the end.
    pub state: TaskState,
    /// Attempts used.
    pub attempts: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// How many of the agents that ran it crashed.
    pub crashes: u32,
    /// The agent that settled it.
    pub agent_id: Option<String>,
    /// How the last attempt ended, or why there was none.
    pub detail: Option<String>,
    /// Exit code of the last attempt's command, if it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// When the last attempt was handed out, in ms of server time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<ServerTime>,
    /// When it was completed, in ms of server time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<ServerTime>,
    /// Its log, below the epic's folder; there only if an attempt was begun.
    pub log: String,
}

impl Summary {
    /// Builds the summary, with totals over the sprints.
    #[must_use]
    pub fn new(
        epic: String,
        sprints: Vec<SprintSummary>,
        stopped: Option<String>,
        restarts: u64,
        took: Duration,
    ) -> Self {
        let count = |wanted: &[TaskState]| {
            let tasks = sprints.iter().flat_map(|sprint| &sprint.tasks);
            tasks.filter(|task| wanted.contains(&task.state)).count() as u64
        };
        let (tasks_completed, tasks_failed) = (count(&[TaskState::Completed]), count(&[TaskState::Failed]));
        let tasks_cancelled = count(&[TaskState::Cancelled]);
        let tasks_left = count(&[TaskState::Pending, TaskState::Assigned]);
        // A sprint that is kept open is interrupted even if all its tasks are settled.
        let is_open = sprints.iter().any(|sprint| sprint.outcome == SprintOutcome::Interrupted);
        let outcome = match (tasks_left, tasks_failed) {
            (0, _) if is_open => SprintOutcome::Interrupted,
            (0, 0) => SprintOutcome::Completed,
            (0, _) => SprintOutcome::Failed,
            _ => SprintOutcome::Interrupted,
        };
        let elapsed_ms = millis(took);
        let agent_restarts = restarts;
        Self {
            epic,
            outcome,
            stopped,
            tasks_completed,
            tasks_failed,
            tasks_cancelled,
            tasks_left,
            agent_restarts,
            elapsed_ms,
            sprints,
        }
    }

    /// How many tasks there are.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.tasks_completed + self.tasks_failed + self.tasks_cancelled + self.tasks_left
    }

    /// Prints it on stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn show(&self, output: Output) -> anyhow::Result<Stdout> {
        output.show(self, Self::table)?;
        match output {
            Output::Table => Ok(lifecycle_cli::output::print_stdout(&format!("\n{}\n", self.totals()))?),
            Output::Json => Ok(Stdout::Open),
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["SPRINT", "TASK", "STATE", "ATTEMPTS", "CRASHES", "AGENT", "DETAIL"]);
        for sprint in &self.sprints {
            for task in &sprint.tasks {
                table.row([
                    sprint.sprint.clone(),
                    task.task_id.clone(),
                    task.state.to_string(),
                    format!("{}/{}", task.attempts, task.max_attempts),
                    task.crashes.to_string(),
                    task.agent_id.clone().unwrap_or_else(|| "-".into()),
                    task.detail.clone().unwrap_or_default(),
                ]);
            }
        }
        table
    }

    fn totals(&self) -> String {
        let tasks = self.tasks();
        let mut parts = vec![format!("{} of {} completed", self.tasks_completed, count(tasks, "task"))];
        if self.tasks_failed > 0 {
            parts.push(format!("{} failed", self.tasks_failed));
        }
        if self.tasks_cancelled > 0 {
            parts.push(format!("{} cancelled", self.tasks_cancelled));
        }
        if self.tasks_left > 0 {
            parts.push(format!("{} left", self.tasks_left));
        }
        if self.agent_restarts > 0 {
            parts.push(count(self.agent_restarts, "agent restart"));
        }
        let stopped = self.stopped.as_ref().map(|why| format!(" (interrupted: {why})")).unwrap_or_default();
        format!("{}: {}, in {}{stopped}", self.epic, parts.join(", "), age(self.elapsed_ms))
    }
}

impl SprintSummary {
    pub(crate) fn of(sprint: &Sprint) -> Self {
        let tasks = sprint.plan.tasks.iter().filter_map(|task| {
            let record = sprint.records.get(&task.id)?;
            Some(TaskSummary {
                task_id: task.id.to_string(),
                state: record.state,
                attempts: record.attempt,
                max_attempts: record.max_attempts,
                crashes: record.crashes,
                agent_id: record.agent_id.clone(),
                detail: record.detail.clone(),
                exit_code: exit_code(record.detail.as_deref()),
                assigned_at: record.assigned_at,
                ended_at: record.ended_at,
                log: format!("{}/{}.log", sprint.plan.name, task.id),
            })
        });
        let outcome = match sprint.phase() {
            Phase::Over(outcome) => outcome,
            Phase::Waiting | Phase::Running => sprint.outcome(),
        };
        Self { sprint: sprint.plan.id.to_string(), outcome, tasks: tasks.collect() }
    }
}

/// The code in `exit 3`, which may be followed by what is to be said of a result.
fn exit_code(detail: Option<&str>) -> Option<u8> {
    detail?.strip_prefix("exit ")?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(states: &[TaskState], stopped: Option<&str>) -> Summary {
        let tasks = states.iter().enumerate().map(|(number, state)| TaskSummary {
            task_id: format!("t{number}"),
            state: *state,
            attempts: 1,
            max_attempts: 3,
            crashes: 0,
            agent_id: Some("coder-1".into()),
            detail: Some("exit 0".into()),
            exit_code: exit_code(Some("exit 0")),
            assigned_at: None,
            ended_at: None,
            log: format!("api/t{number}.log"),
        });
        let sprint =
            SprintSummary { sprint: "api".into(), outcome: SprintOutcome::Completed, tasks: tasks.collect() };
        Summary::new("shop".into(), vec![sprint], stopped.map(Into::into), 0, Duration::from_secs(12))
    }

    #[test]
    fn the_outcome_is_the_worst_and_the_totals_say_only_what_there_is() {
        let all = summary(&[TaskState::Completed; 2], None);
        assert_eq!(
            (all.outcome, all.totals().as_str()),
            (SprintOutcome::Completed, "shop: 2 of 2 tasks completed, in 12s")
        );
        let some = summary(&[TaskState::Completed, TaskState::Failed], None);
        assert_eq!(
            (some.outcome, some.totals().as_str()),
            (SprintOutcome::Failed, "shop: 1 of 2 tasks completed, 1 failed, in 12s")
        );
        let stopped = summary(&[TaskState::Failed, TaskState::Pending], Some("SIGINT"));
        assert_eq!(stopped.outcome, SprintOutcome::Interrupted);
        assert_eq!(
            stopped.totals(),
            "shop: 0 of 2 tasks completed, 1 failed, 1 left, in 12s (interrupted: SIGINT)"
        );
    }

    #[test]
    fn one_task_and_one_restart_are_singular() {
        let mut one = summary(&[TaskState::Completed], None);
        one.agent_restarts = 1;
        assert_eq!(one.totals(), "shop: 1 of 1 task completed, 1 agent restart, in 12s");
        one.agent_restarts = 2;
        assert_eq!(one.totals(), "shop: 1 of 1 task completed, 2 agent restarts, in 12s");
    }

    #[test]
    fn the_document_has_the_names_of_the_contract() {
        let json = serde_json::to_value(summary(&[TaskState::Completed], None)).unwrap();
        assert_eq!((&json["outcome"], &json["tasksCompleted"]), (&"completed".into(), &1.into()));
        let task = &json["sprints"][0]["tasks"][0];
        assert_eq!(
            (&task["taskId"], &task["state"], &task["agentId"]),
            (&"t0".into(), &"completed".into(), &"coder-1".into())
        );
    }
}
