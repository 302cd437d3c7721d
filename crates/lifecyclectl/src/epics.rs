//! `epics`: what is at work and what waits for a coordinator. `history`: what came of those that ended.

use anyhow::bail;
use clap::{Args, Subcommand};
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, Table, age, count, printable};
use lifecycle_core::sprint::plan::Plan;
use lifecycle_core::wire::epic_record::{EpicRecord, EpicStatus};
use lifecycle_core::wire::ids::{EpicId, Incarnation};
use lifecycle_core::wire::task::TaskState;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{LogEntry, OperatorStore, StoreError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::wording;

/// Who cancels, for the audit log.
const BY: &str = "lifecyclectl";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl epics
  lifecyclectl epics --output json | jq -r '.epics[] | select(.status == \"waiting\").epic'

An epic waits after its coordinator stopped, crashed or was reaped. `coordinator resume EPIC` goes on with it; after \
coordinator.resume_for a sweeper removes it.")]
pub(crate) struct EpicsArguments {}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl epic cancel checkout

Its agents end their work and leave, its records are removed, and `lifecyclectl history` tells of it. To stop an epic and go on \
later, stop its coordinator instead (lifecyclectl stop checkout.coordinator).")]
pub(crate) struct EpicArguments {
    #[command(subcommand)]
    action: EpicAction,
}

#[derive(Debug, Subcommand)]
enum EpicAction {
    /// Ends an epic for good, whether it is at work or waits
    Cancel {
        /// The epic
        epic: EpicId,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelReport<'a> {
    epic: &'a str,
    /// The coordinator that was told to end it, if it was at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinator: Option<String>,
    /// How many keys were removed, if it waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_deleted: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl history
  lifecyclectl history checkout --output json

The store keeps about the last thousand epics that ended; `runs/<epic>/summary.json` on the coordinator's host tells of each \
task.")]
pub(crate) struct HistoryArguments {
    /// Only this epic
    epic: Option<EpicId>,
    /// How many of the latest
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    count: u64,
}

/// One epic that has a record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EpicRow {
    pub(crate) epic: String,
    pub(crate) status: EpicStatus,
    epoch: u64,
    coordinator: String,
    tasks_completed: u64,
    tasks_failed: u64,
    tasks: u64,
    started_at: ServerTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_since: Option<ServerTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_until: Option<ServerTime>,
}

#[derive(Debug, Serialize)]
struct Epics {
    epics: Vec<EpicRow>,
    #[serde(skip)]
    now: ServerTime,
}

#[derive(Debug, Serialize)]
struct History {
    epics: Vec<Map<String, Value>>,
}

pub(crate) async fn run(_: &EpicsArguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let now = store.server_time().await?;
    let epics = Epics { epics: rows(store).await?, now };
    match output {
        Output::Json => output::print_json(&epics)?,
        Output::Table => output::print_stdout(&epics.text())?,
    };
    Ok(exit::OK)
}

pub(crate) async fn act(
    arguments: &EpicArguments,
    store: &OperatorStore,
    output: Output,
) -> anyhow::Result<u8> {
    let EpicAction::Cancel { epic } = &arguments.action;
    let mut report = CancelReport { epic: epic.as_str(), coordinator: None, keys_deleted: None };
    let Some(record) = store.epic(epic).await? else {
        bail!("there is no epic {epic}: nothing was done; lifecyclectl epics lists those that there are");
    };
    report.keys_deleted = store.cancel_waiting(epic, BY).await?;
    if report.keys_deleted.is_none() {
        let life = record.incarnation.unwrap_or(Incarnation(0));
        if store.cancel_running(epic, &record.coordinator, life).await? {
            report.coordinator = Some(record.coordinator);
        } else {
            // Its coordinator has just left.
            report.keys_deleted = store.cancel_waiting(epic, BY).await?;
            if report.keys_deleted.is_none() {
                bail!("epic {epic} has just ended: nothing was done; lifecyclectl history {epic} tells how");
            }
        }
    }
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

impl CancelReport<'_> {
    fn text(&self) -> String {
        let epic = self.epic;
        match (&self.coordinator, self.keys_deleted) {
            (Some(coordinator), _) => format!(
                "{coordinator} is told to end epic {epic} for good; if it is gone, whoever finds the epic next does\n"
            ),
            (None, keys) => {
                format!("epic {epic} is cancelled, {} removed\n", count(keys.unwrap_or_default(), "key"))
            }
        }
    }
}

/// All epics that have a record, by id.
pub(crate) async fn rows(store: &OperatorStore) -> Result<Vec<EpicRow>, StoreError> {
    let mut rows = Vec::new();
    for (epic, record) in store.epics().await? {
        rows.push(row(store, &epic, record).await?);
    }
    Ok(rows)
}

/// The epics that wait for a coordinator, a line each.
pub(crate) async fn waiting(store: &OperatorStore, now: ServerTime) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    for (epic, _) in store.waiting_epics().await? {
        if let Some(record) = store.epic(&epic).await? {
            lines.extend(row(store, &epic, record).await?.waiting(now));
        }
    }
    Ok(lines)
}

async fn row(store: &OperatorStore, epic: &EpicId, record: EpicRecord) -> Result<EpicRow, StoreError> {
    let mut states = Vec::new();
    let mut added = 0;
    for sprint in store.sprints_of(epic).await? {
        // A key that holds something else makes one sprint unreadable, and hides nothing else.
        let records = or_nothing(store.task_records(&sprint).await)?.readable;
        added += or_nothing(store.added_tasks(&sprint).await)?.len();
        states.extend(records.values().map(|record| record.state));
    }
    // Sprints that have not started have no records yet.
    let planned: Result<usize, _> =
        Plan::parse(&record.plan).map(|plan| plan.sprints.iter().map(|sprint| sprint.tasks.len()).sum());
    let tasks = states.len().max(planned.map_or(0, |planned| planned + added));
    let in_state = |wanted: TaskState| states.iter().filter(|state| **state == wanted).count() as u64;
    Ok(EpicRow {
        epic: epic.to_string(),
        status: record.status,
        epoch: record.epoch,
        coordinator: record.coordinator,
        tasks_completed: in_state(TaskState::Completed),
        tasks_failed: in_state(TaskState::Failed),
        tasks: tasks as u64,
        started_at: record.started_at,
        waiting_since: record.waiting_since,
        kept_until: record.kept_until,
    })
}

fn or_nothing<T: Default>(read: Result<T, StoreError>) -> Result<T, StoreError> {
    match read {
        Err(error) if error.is_wrong_type() => Ok(T::default()),
        read => read,
    }
}

impl EpicRow {
    fn done(&self) -> String {
        let failed =
            if self.tasks_failed > 0 { format!(", {} failed", self.tasks_failed) } else { String::new() };
        format!("{} of {} completed{failed}", self.tasks_completed, count(self.tasks, "task"))
    }

    /// `epic shop waits: 15 of 24 tasks completed, kept for another 6d 23h`; `None` for one that is at work.
    pub(crate) fn waiting(&self, now: ServerTime) -> Option<String> {
        if self.status != EpicStatus::Waiting {
            return None;
        }
        let kept = self.kept_until.map(|until| format!(", kept for another {}", age(now.ms_until(until))));
        let epic = printable(&self.epic);
        let kept = kept.unwrap_or_default();
        Some(format!("epic {epic} waits: {}{kept}; `coordinator resume {epic}` goes on with it", self.done()))
    }
}

impl Epics {
    fn text(&self) -> String {
        if self.epics.is_empty() {
            return "no epic is at work, and none waits\n".into();
        }
        let mut table = Table::new(["EPIC", "STATUS", "EPOCH", "DONE", "SINCE", "KEPT FOR"]);
        for epic in &self.epics {
            let since = epic.waiting_since.unwrap_or(epic.started_at);
            table.row([
                epic.epic.clone(),
                epic.status.to_string(),
                epic.epoch.to_string(),
                epic.done(),
                format!("{} ago", age(self.now.ms_since(since))),
                epic.kept_until.map_or_else(|| "-".into(), |until| age(self.now.ms_until(until))),
            ]);
        }
        table.to_string()
    }
}

pub(crate) async fn history(
    arguments: &HistoryArguments,
    store: &OperatorStore,
    output: Output,
) -> anyhow::Result<u8> {
    // One epic may be far behind.
    let depth = if arguments.epic.is_some() { u64::MAX >> 1 } else { arguments.count };
    let entries = store.epics_history(depth).await?;
    let wanted = |entry: &&LogEntry| match &arguments.epic {
        Some(epic) => entry.fields.get("epic").is_some_and(|found| found == epic.as_str()),
        None => true,
    };
    let found = entries.iter().filter(wanted).take(usize::try_from(arguments.count).unwrap_or(usize::MAX));
    let history = History { epics: found.map(fields).collect() };
    match output {
        Output::Json => output::print_json(&history)?,
        Output::Table => output::print_stdout(&history.text())?,
    };
    Ok(exit::OK)
}

/// Numbers as numbers, as elsewhere.
fn fields(entry: &LogEntry) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("endedAt".into(), wording::written_at(entry).as_ms().into());
    for (name, value) in &entry.fields {
        let is_text = matches!(name.as_str(), "epic" | "outcome" | "coordinator" | "reason");
        let number = (!is_text).then(|| value.parse::<u64>().ok()).flatten();
        fields.insert(name.clone(), number.map_or_else(|| value.clone().into(), Value::from));
    }
    fields
}

impl History {
    fn text(&self) -> String {
        if self.epics.is_empty() {
            return "no such epic has ended as far as the store remembers\n".into();
        }
        let mut table = Table::new(["ENDED", "EPIC", "OUTCOME", "COMPLETED", "FAILED", "TOOK", "REASON"]);
        for epic in &self.epics {
            let text = |name: &str| epic.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let number = |name: &str| epic.get(name).and_then(Value::as_u64);
            let shown = |name: &str| number(name).map_or_else(|| "-".into(), |number| number.to_string());
            table.row([
                number("endedAt").map(wording::instant).unwrap_or_default(),
                text("epic"),
                text("outcome"),
                shown("tasksCompleted"),
                shown("tasksFailed"),
                number("elapsedMs").map_or_else(|| "-".into(), age),
                text("reason"),
            ]);
        }
        table.to_string()
    }
}
