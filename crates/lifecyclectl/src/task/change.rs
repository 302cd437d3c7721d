//! `task retry` and `task cancel`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, count, printable};
use lifecycle_core::sprint::plan::SprintPlan;
use lifecycle_core::wire::ids::TaskId;
use lifecycle_core::wire::task::{TaskRecord, TaskState};
use lifecycle_redis::{NotDone, OperatorStore, StoreError};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::place::TaskPlace;

/// How long an agent may take to end the work on a task that was cancelled.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks whether it has.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task retry checkout/api/login

The task waits again, with all its attempts. So do the tasks that failed only because they need it. Its sprint must not have \
ended.")]
pub(crate) struct Retry {
    /// The task, which was given up or cancelled
    #[arg(value_name = "EPIC/SPRINT/TASK")]
    task: TaskPlace,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task cancel checkout/api/login

A task that is in hand is ended. Tasks that need it fail. The epic can still complete.")]
pub(crate) struct Cancel {
    /// The task, which is not over
    #[arg(value_name = "EPIC/SPRINT/TASK")]
    task: TaskPlace,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryReport<'a> {
    sprint: &'a str,
    task_id: &'a str,
    /// How many tasks wait again.
    retried: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelReport<'a> {
    sprint: &'a str,
    task_id: &'a str,
    /// Whether it was cancelled before.
    already: bool,
    /// The agent that had it in hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
}

pub(crate) async fn retry(arguments: &Retry, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let TaskPlace { sprint, task } = &arguments.task;
    let (plan, _) = arguments.task.plan(store).await?;
    let retried = match retry_patiently(arguments, store, &plan).await? {
        Ok(retried) => retried + retry_late(arguments, store, &plan).await?,
        Err(NotDone::InState(state @ (TaskState::Pending | TaskState::Assigned))) => {
            bail!("task {task} is {state}, so there is nothing to do again: nothing was done")
        }
        Err(NotDone::InState(TaskState::Completed)) => {
            bail!(
                "task {task} is completed, and its result may be in use: nothing was done; add it under another id"
            )
        }
        Err(not_done) => return Err(sprint.refusal(&not_done)),
    };
    let report = RetryReport { sprint: sprint.id.as_str(), task_id: task.as_str(), retried };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

/// Retries the task and what failed because of it. An agent that has just been told to end the work on it has some time
/// to do so.
async fn retry_patiently(
    arguments: &Retry,
    store: &OperatorStore,
    plan: &SprintPlan,
) -> Result<Result<u64, NotDone>, StoreError> {
    let TaskPlace { sprint, task } = &arguments.task;
    let begun = Instant::now();
    loop {
        let records = store.task_records(&sprint.id).await?.readable;
        let mut tasks = vec![task];
        tasks.extend(lost_with(plan, &records, task));
        let holder = records.get(task.as_str()).and_then(|record| record.agent_id.as_deref());
        let done = store.retry_tasks(sprint.of(), &tasks, holder).await?;
        if !matches!(done, Err(NotDone::Held(_))) || begun.elapsed() > PATIENCE {
            return Ok(done);
        }
        sleep(POLL).await;
    }
}

/// Retries what its coordinator has given up between the look and the retry. From then on it gives up nothing for this.
async fn retry_late(arguments: &Retry, store: &OperatorStore, plan: &SprintPlan) -> Result<u64, StoreError> {
    let TaskPlace { sprint, task } = &arguments.task;
    let records = store.task_records(&sprint.id).await?.readable;
    let late = lost_with(plan, &records, task);
    if late.is_empty() {
        return Ok(0);
    }
    Ok(store.retry_tasks(sprint.of(), &late, None).await?.unwrap_or(0))
}

/// The tasks that failed unrun because they need this one, directly or through others.
fn lost_with<'a>(
    plan: &'a SprintPlan,
    records: &BTreeMap<String, TaskRecord>,
    task: &'a TaskId,
) -> Vec<&'a TaskId> {
    let failed_unrun = |id: &TaskId| {
        let record = records.get(id.as_str());
        record.is_some_and(|record| record.state == TaskState::Failed && record.attempt == 0)
    };
    let mut lost = HashSet::from([task]);
    let mut found = Vec::new();
    // Each task stands behind all it needs.
    for later in plan.order() {
        if later.needs.iter().any(|need| lost.contains(need)) && failed_unrun(&later.id) {
            lost.insert(&later.id);
            found.push(&later.id);
        }
    }
    found
}

pub(crate) async fn cancel(arguments: &Cancel, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let TaskPlace { sprint, task } = &arguments.task;
    let (_, planned) = arguments.task.plan(store).await?;
    let (already, agent_id) = match store.cancel_task(sprint.of(), (task, &planned.record())).await? {
        Ok(agent) => (false, agent),
        Err(NotDone::InState(TaskState::Cancelled)) => (true, None),
        Err(NotDone::InState(state)) => {
            bail!("task {task} is {state}, so there is nothing to cancel: nothing was done")
        }
        Err(not_done) => return Err(sprint.refusal(&not_done)),
    };
    let report = CancelReport { sprint: sprint.id.as_str(), task_id: task.as_str(), already, agent_id };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

impl RetryReport<'_> {
    fn text(&self) -> String {
        let others = match self.retried.saturating_sub(1) {
            0 => String::new(),
            number => format!(", and {} that failed because of it", count(number, "task")),
        };
        format!("task {} waits again{others}\n", self.task_id)
    }
}

impl CancelReport<'_> {
    fn text(&self) -> String {
        let agent =
            self.agent_id.as_deref().map(|id| format!("; {} ends it", printable(id))).unwrap_or_default();
        let already = if self.already { " already" } else { "" };
        format!("task {} is cancelled{already}{agent}\n", self.task_id)
    }
}

#[cfg(test)]
mod tests {
    use lifecycle_core::sprint::plan::Plan;

    use super::*;

    #[test]
    fn what_failed_unrun_because_of_a_task_comes_back_with_it_and_nothing_else_does() {
        let task = |id: &str, needs: &str| format!("[[sprint.task]]\nid = \"{id}\"\nneeds = [{needs}]\n");
        let text = [
            "[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"a\"\ncommand = [\"true\"]\n".to_owned(),
            task("root", ""),
            task("needs", "\"root\""),
            task("through", "\"needs\""),
            task("ran", "\"root\""),
            task("other", ""),
        ];
        let plan = Plan::parse(&text.concat()).unwrap().sprints.remove(0);
        let failed = |attempt| TaskRecord { state: TaskState::Failed, attempt, ..TaskRecord::pending(3, 3) };
        let records = [("root", 3), ("needs", 0), ("through", 0), ("ran", 3), ("other", 0)];
        let records = records.map(|(id, attempt)| (id.to_owned(), failed(attempt))).into();
        let root = TaskId::new("root").unwrap();
        let found: Vec<&str> = lost_with(&plan, &records, &root).into_iter().map(TaskId::as_str).collect();
        assert_eq!(found, ["needs", "through"]);
    }
}
