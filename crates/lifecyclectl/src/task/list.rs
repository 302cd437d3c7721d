//! `task list`.

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{Output, Table};
use lifecycle_core::sprint::plan::{SprintPlan, TaskPlan};
use lifecycle_core::wire::task::{TaskRecord, TaskState};
use lifecycle_redis::OperatorStore;
use serde::Serialize;

use crate::place::{self, EpicOrSprint};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task list checkout
  lifecyclectl task list checkout/api --state failed
  lifecyclectl task list checkout --output json | jq -r '.tasks[] | select(.crashes > 0).taskId'")]
pub(crate) struct Arguments {
    /// The epic, or one of its sprints
    #[arg(value_name = "EPIC[/SPRINT]")]
    of: EpicOrSprint,
    /// Only tasks in this state: pending, assigned, completed, failed or cancelled
    #[arg(long)]
    state: Option<TaskState>,
}

#[derive(Debug, Serialize)]
struct Tasks {
    tasks: Vec<Row>,
}

/// One task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    sprint: String,
    task_id: String,
    state: TaskState,
    attempts: u32,
    max_attempts: u32,
    crashes: u32,
    needs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let sprints = match &arguments.of {
        EpicOrSprint::Sprint(sprint) => vec![sprint.plan(store).await?],
        EpicOrSprint::Epic(epic) => {
            let mut sprints = Vec::new();
            for sprint in place::plan_of(&place::epic(store, epic).await?)?.sprints {
                sprints.push(place::with_added(store, sprint).await?);
            }
            sprints
        }
    };
    let mut tasks = Vec::new();
    for sprint in sprints {
        let records = store.task_records(&sprint.id).await?.readable;
        let rows = sprint.tasks.iter().map(|task| row(&sprint, task, records.get(task.id.as_str())));
        tasks.extend(rows.filter(|row| arguments.state.is_none_or(|state| row.state == state)));
    }
    output.show(&Tasks { tasks }, Tasks::table)?;
    Ok(exit::OK)
}

fn row(sprint: &SprintPlan, task: &TaskPlan, record: Option<&TaskRecord>) -> Row {
    // A sprint that has not begun has no records.
    let record = record.cloned().unwrap_or_else(|| task.record());
    Row {
        sprint: sprint.name.to_string(),
        task_id: task.id.to_string(),
        state: record.state,
        attempts: record.attempt,
        max_attempts: record.max_attempts,
        crashes: record.crashes,
        needs: task.needs.iter().map(ToString::to_string).collect(),
        agent_id: record.agent_id,
        detail: record.detail,
    }
}

impl Tasks {
    fn table(&self) -> Table {
        let mut table = Table::new(["SPRINT", "TASK", "STATE", "ATTEMPTS", "CRASHES", "AGENT", "DETAIL"]);
        for task in &self.tasks {
            table.row([
                task.sprint.clone(),
                task.task_id.clone(),
                task.state.to_string(),
                format!("{}/{}", task.attempts, task.max_attempts),
                task.crashes.to_string(),
                task.agent_id.clone().unwrap_or_else(|| "-".into()),
                task.detail.clone().unwrap_or_default(),
            ]);
        }
        table
    }
}
