//! `inspect`: all that is known of one agent.

use std::fmt::Write as _;

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, age, printable};
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::task::Assignment;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{AgentView, OperatorStore};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{errors, events, ps, wording};

/// How many of the agent's log entries are shown.
const LOG_ENTRIES: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl inspect coder-1
  lifecyclectl inspect coder-1 --output json | jq .ownedKeys")]
pub(crate) struct Arguments {
    /// The agent
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Portrait {
    now: ServerTime,
    #[serde(flatten)]
    row: ps::Row,
    active: bool,
    pid_start: Option<u64>,
    registered_at: Option<ServerTime>,
    lease_ms: Option<u64>,
    exit: Option<String>,
    order: Option<String>,
    owned_keys: Vec<String>,
    dependencies: Vec<String>,
    children: Vec<String>,
    tasks: Vec<Task>,
    log: Vec<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_id: String,
    sprint: String,
    attempt: u32,
    max_attempts: u32,
    input: String,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let Some(view) = store.view(&arguments.id).await? else {
        return Err(errors::no_such_agent(store, &arguments.id).await);
    };
    let portrait = portrait(store, &view).await?;
    match output {
        Output::Json => output::print_json(&portrait)?,
        Output::Table => output::print_stdout(&portrait.text())?,
    };
    Ok(exit::OK)
}

async fn portrait(store: &OperatorStore, view: &AgentView) -> anyhow::Result<Portrait> {
    let id = view.id.as_str();
    let now = store.server_time().await?;
    let record = view.record.as_ref();
    // Only registered agents are given tasks, and their ids fit the grammar.
    let tasks = match AgentId::new(id) {
        Ok(id) if record.is_some() => store.assignments(&id).await?,
        _ => Vec::new(),
    };
    let log = store.log(wording::LOG_DEPTH).await?;
    Ok(Portrait {
        now,
        row: ps::Row::of(view, now),
        active: view.active,
        pid_start: record.and_then(|record| record.pid_start),
        registered_at: record.map(|record| record.registered_at),
        lease_ms: record.map(|record| record.lease_ms),
        exit: record.and_then(|record| record.exit.clone()),
        order: store.pending_order(id).await?,
        owned_keys: store.owned_keys(id).await?,
        dependencies: store.dependencies(id).await?,
        children: store.children(id).await?,
        tasks: tasks.into_iter().map(Task::from).collect(),
        log: log
            .iter()
            .filter(|entry| wording::is_about(entry, id))
            .take(LOG_ENTRIES)
            .map(events::entry)
            .collect(),
    })
}

impl From<Assignment> for Task {
    fn from(task: Assignment) -> Self {
        Self {
            task_id: task.task.to_string(),
            sprint: task.sprint.to_string(),
            attempt: task.attempt,
            max_attempts: task.max_attempts,
            input: task.input,
        }
    }
}

impl Portrait {
    fn text(&self) -> String {
        let mut fields = vec![("agent", self.row.id().to_string())];
        fields.extend(self.row.described(self.now));
        let further = [
            ("registered", self.registered_at.map(|at| self.since(at))),
            ("lease length", self.lease_ms.map(age)),
            ("exit", self.exit.clone()),
            ("order", self.order.clone()),
            ("index", (!self.active).then(|| "not in agents:active".to_string())),
        ];
        fields.extend(further.into_iter().filter_map(|(name, text)| Some((name, text?))));

        let mut text = String::new();
        for (name, value) in fields {
            let _ = writeln!(text, "{name:<13} {}", printable(&value));
        }
        let tasks: Vec<String> = self.tasks.iter().map(Task::text).collect();
        let log: Vec<String> = self.log.iter().map(events::line).collect();
        for (heading, lines) in [
            ("tasks in flight", &tasks),
            ("owned keys", &self.owned_keys),
            ("depends on", &self.dependencies),
            ("children", &self.children),
            ("log, newest first", &log),
        ] {
            section(&mut text, heading, lines);
        }
        text
    }

    fn since(&self, at: ServerTime) -> String {
        format!("{} ago ({})", age(self.now.ms_since(at)), wording::instant(at.as_ms()))
    }
}

impl Task {
    fn text(&self) -> String {
        let Self { task_id, sprint, attempt, max_attempts, input } = self;
        format!("{task_id} of {sprint}, attempt {attempt} of {max_attempts}: {input}")
    }
}

fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}:");
    for line in lines {
        let _ = writeln!(text, "  {}", printable(line));
    }
}
