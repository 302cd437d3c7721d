//! `task add`: one task by arguments, or many as lines of JSON.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::{self, Output, count};
use lifecycle_core::sprint::plan::{Addition, NewTask, TaskPlan, additions, read_lines};
use lifecycle_redis::OperatorStore;
use serde::Serialize;

use crate::place::SprintPlace;

/// Most bytes that are read: far more than a store should be given.
const MOST_BYTES: u64 = 1 << 30;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task add checkout/api --id logout --input 'write the logout endpoint' --needs login,session
  lifecyclectl task add checkout/api --from tasks.jsonl
  jq -c '{id: .name, input: .text}' issues.json | lifecyclectl task add checkout/api --from -

A line of JSON has the keys of a task in a plan: {\"id\": \"logout\", \"input\": \"…\", \"needs\": [\"login\"], \"attempts\": 3, \
\"max_crashes\": 3, \"retry_backoff\": \"10s\", \"timeout\": \"20m\"}. All of them are added, or none. A task that is there \
already with the same content stays as it is, so the same command may be run again.")]
pub(crate) struct Arguments {
    /// The sprint
    #[arg(value_name = "EPIC/SPRINT")]
    sprint: SprintPlace,
    /// The id of the task, unique in the sprint
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    id: Option<String>,
    /// What to do; `{result:TASK}` in it stands for the result of a task that it needs
    #[arg(long, conflicts_with = "from")]
    input: Option<String>,
    /// Tasks of the sprint that must be complete first, with commas between
    #[arg(long, value_name = "TASKS", value_delimiter = ',', conflicts_with = "from")]
    needs: Vec<String>,
    /// How often it may run and fail
    #[arg(long, conflicts_with = "from")]
    attempts: Option<u32>,
    /// How many of its runs may end with a crash
    #[arg(long, conflicts_with = "from")]
    max_crashes: Option<u32>,
    /// Pause after its first failed run, such as 10s; it doubles with each further one
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    retry_backoff: Option<String>,
    /// How long one attempt may take, such as 20m
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    timeout: Option<String>,
    /// A file with a task in each line, in JSON; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    sprint: &'a str,
    /// How many were added.
    added: u64,
    /// How many were there already, with the same content.
    unchanged: u64,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let new = arguments.read().map_err(usage)?;
    let asked = new.len() as u64;
    let plan = arguments.sprint.plan(store).await?;
    let fresh =
        additions(&plan.tasks, new).map_err(|problem| anyhow::anyhow!("{problem}; nothing was added"))?;
    let tasks: Vec<_> = fresh.iter().map(|task: &TaskPlan| task.added(0)).collect();
    let added = store.add_tasks(arguments.sprint.of(), &tasks).await?;
    let added = added.map_err(|not_done| arguments.sprint.refusal(&not_done))?;
    let report = Report { sprint: arguments.sprint.id.as_str(), added, unchanged: asked - added };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

#[allow(clippy::needless_pass_by_value)] // For map_err.
fn usage(error: anyhow::Error) -> Failure {
    Failure::new(exit::USAGE, format!("{error:#}; nothing was added"))
}

impl Arguments {
    fn read(&self) -> anyhow::Result<Vec<Addition>> {
        let Some(from) = &self.from else { return Ok(vec![self.one()?]) };
        let text = read_text(from)?;
        let shown =
            if from.as_os_str() == "-" { "standard input".into() } else { from.display().to_string() };
        let tasks = read_lines(&text).map_err(|problem| anyhow::anyhow!("{shown}, {problem}"))?;
        anyhow::ensure!(!tasks.is_empty(), "{shown} has no task in it");
        Ok(tasks)
    }

    fn one(&self) -> anyhow::Result<Addition> {
        let new = NewTask {
            id: self.id.clone().unwrap_or_default(),
            input: self.input.clone().unwrap_or_default(),
            needs: self.needs.clone(),
            attempts: self.attempts,
            max_crashes: self.max_crashes,
            retry_backoff: self.retry_backoff.clone(),
            timeout: self.timeout.clone(),
        };
        Ok(Addition { line: None, task: new.checked().map_err(anyhow::Error::msg)? })
    }
}

fn read_text(from: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if from.as_os_str() == "-" {
        std::io::stdin().lock().take(MOST_BYTES).read_to_end(&mut bytes).context("standard input")?;
    } else {
        let file = std::fs::File::open(from).with_context(|| from.display().to_string())?;
        file.take(MOST_BYTES).read_to_end(&mut bytes).with_context(|| from.display().to_string())?;
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        anyhow::anyhow!("{}, line {line}: not UTF-8", from.display())
    })
}

impl Report<'_> {
    fn text(&self) -> String {
        let unchanged = match self.unchanged {
            0 => String::new(),
            number => format!(
                ", {} there already",
                if number == 1 { "1 was".into() } else { format!("{number} were") }
            ),
        };
        format!("{} added to sprint {}{unchanged}\n", count(self.added, "task"), self.sprint)
    }
}
