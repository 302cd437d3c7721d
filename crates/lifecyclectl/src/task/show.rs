//! `task show`: a task, its record and its result.

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, printable};
use lifecycle_core::wire::task::TaskState;
use lifecycle_core::wire::time::{ServerTime, millis};
use lifecycle_redis::OperatorStore;
use serde::Serialize;

use crate::place::TaskPlace;
use crate::wording;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task show checkout/api/login
  lifecyclectl task show checkout/api/login --output json | jq -r .result")]
pub(crate) struct Arguments {
    /// The task
    #[arg(value_name = "EPIC/SPRINT/TASK")]
    task: TaskPlace,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    sprint: String,
    task_id: String,
    state: TaskState,
    input: String,
    needs: Vec<String>,
    attempts: u32,
    max_attempts: u32,
    runs: u32,
    crashes: u32,
    max_crashes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_backoff_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<ServerTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assigned_at: Option<ServerTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<ServerTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let (sprint, task) = arguments.task.plan(store).await?;
    let record = store.task_record(&sprint.id, &task.id).await?.unwrap_or_else(|| task.record());
    let result = store.task_results(&sprint.id, std::slice::from_ref(&task.id)).await?.remove(&task.id);
    let shown = Shown {
        sprint: sprint.id.to_string(),
        task_id: task.id.to_string(),
        state: record.state,
        input: task.input,
        needs: task.needs.iter().map(ToString::to_string).collect(),
        attempts: record.attempt,
        max_attempts: record.max_attempts,
        runs: record.run,
        crashes: record.crashes,
        max_crashes: record.max_crashes,
        retry_backoff_ms: Some(record.retry_backoff_ms).filter(|pause| *pause > 0),
        timeout_ms: task.timeout.map(millis),
        not_before: record.not_before,
        agent_id: record.agent_id,
        detail: record.detail,
        assigned_at: record.assigned_at,
        ended_at: record.ended_at,
        result,
    };
    match output {
        Output::Json => output::print_json(&shown)?,
        Output::Table => output::print_stdout(&shown.text())?,
    };
    Ok(exit::OK)
}

impl Shown {
    fn text(&self) -> String {
        let at = |time: Option<ServerTime>| time.map(|time| wording::instant(time.as_ms()));
        let number = |number: u32, most: u32| Some(format!("{number} of {most}"));
        let lines = [
            ("task", Some(format!("{} of sprint {}", self.task_id, self.sprint))),
            ("state", Some(self.state.to_string())),
            ("needs", Some(self.needs.join(", ")).filter(|needs| !needs.is_empty())),
            ("attempts", number(self.attempts, self.max_attempts)),
            ("crashes", number(self.crashes, self.max_crashes)),
            ("waits until", at(self.not_before)),
            ("agent", self.agent_id.clone()),
            ("handed out", at(self.assigned_at)),
            ("ended", at(self.ended_at)),
            ("detail", self.detail.clone()),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            if let Some(value) = value {
                text += &format!("{name:<12} {}\n", printable(&value));
            }
        }
        for (name, body) in [("input", Some(&self.input)), ("result", self.result.as_ref())] {
            if let Some(body) = body.filter(|body| !body.is_empty()) {
                text += &format!("{name}\n");
                body.lines().for_each(|line| text += &format!("  {}\n", printable(line)));
            }
        }
        text
    }
}
