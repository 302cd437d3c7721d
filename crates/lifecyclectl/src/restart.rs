//! `restart`: has the coordinator put another process in an agent's place.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, printable};
use lifecycle_core::text::units::parse_duration;
use lifecycle_core::wire::epic_record::EpicStatus;
use lifecycle_core::wire::ids::{AgentId, Incarnation, SprintId};
use lifecycle_core::wire::record::{AgentRecord, Order};
use lifecycle_core::wire::task::SprintMessage;
use lifecycle_redis::{OperatorStore, StoreError};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::errors;

/// Pause between two checks whether the agent is back.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl restart checkout.coder-1
  lifecyclectl restart checkout.coder-1 --drain --wait 10m

A living agent hands its tasks back and leaves, and its coordinator starts it again. One that is not there (it was stopped
with --no-replace, or given up after too many crashes) is started again as well.")]
pub(crate) struct Arguments {
    /// The agent: `EPIC.NAME`
    #[arg(value_name = "ID")]
    id: AgentId,
    /// Let it finish the tasks it has first
    #[arg(long)]
    drain: bool,
    /// Wait until it is back, for 1 minute or the time given
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, default_missing_value = "1m", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RestartReport<'a> {
    agent_id: &'a str,
    back: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let id = arguments.id.as_str();
    let before = store.record(id).await?.filter(|record| record.ended.is_none());
    if let Some(pool) = before.as_ref().and_then(|record| record.pool.as_ref()) {
        bail!(
            "{id} has joined pool {pool}, so whoever started it starts it again: nothing was done; use `drain` or `stop`"
        );
    }
    ask_coordinator(arguments, store, before.as_ref()).await?;
    if let Some(record) = &before {
        let order = if arguments.drain { Order::Drain } else { Order::Terminate };
        store.order(id, record.incarnation, order).await?;
    }
    let mut report = RestartReport { agent_id: id, back: false, pid: None };
    if let Some(patience) = arguments.wait {
        let life = before.map(|record| record.incarnation);
        let Some(record) = back_within(patience, store, id, life).await? else {
            let waited = humantime::format_duration(patience);
            bail!(
                "{id} is not back after {waited}: its coordinator is told; `lifecyclectl events` shows what goes on"
            );
        };
        (report.back, report.pid) = (true, record.pid);
    }
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

/// Tells the coordinator that the agent is wanted. Refused, with nothing done, if no coordinator would start it again.
async fn ask_coordinator(
    arguments: &Arguments,
    store: &OperatorStore,
    record: Option<&AgentRecord>,
) -> anyhow::Result<()> {
    let id = arguments.id.as_str();
    let message = SprintMessage::Restart { agent_id: id.into() };
    let mut told = false;
    let sprints = sprints(store, &arguments.id, record).await?;
    if !sprints.is_empty() {
        refuse_if_waiting(store, &arguments.id).await?;
    }
    for sprint in sprints {
        told |= store.tell_sprint(&sprint, &message).await?;
    }
    match record {
        _ if told => Ok(()),
        Some(_) => bail!(
            "{id} was not started by a coordinator, so nobody would start it again: nothing was done; use `stop`"
        ),
        None => Err(errors::no_such_agent(store, id).await),
    }
}

/// An epic that waits has no coordinator that would read the message.
async fn refuse_if_waiting(store: &OperatorStore, id: &AgentId) -> anyhow::Result<()> {
    let Some(epic) = id.epic() else { return Ok(()) };
    match store.epic(&epic).await? {
        Some(record) if record.status == EpicStatus::Waiting => bail!(
            "epic {epic} waits for a coordinator, so nobody would start {id} again: nothing was done; \
             `coordinator resume {epic}` goes on with it and starts its agents"
        ),
        _ => Ok(()),
    }
}

/// The sprints whose coordinator may have the agent: the agent's own; or, if it is not registered, all of its epic.
async fn sprints(
    store: &OperatorStore,
    id: &AgentId,
    record: Option<&AgentRecord>,
) -> Result<Vec<SprintId>, StoreError> {
    let Some(record) = record else {
        return match id.epic() {
            Some(epic) => store.sprints_of(&epic).await,
            None => Ok(Vec::new()),
        };
    };
    let Some(sprint) = &record.sprint else { return Ok(Vec::new()) };
    let coordinator = store.sprint_record(sprint).await?.coordinator;
    let is_its_own = coordinator.is_some() && coordinator == record.parent;
    Ok(if is_its_own { vec![sprint.clone()] } else { Vec::new() })
}

async fn back_within(
    patience: Duration,
    store: &OperatorStore,
    id: &str,
    before: Option<Incarnation>,
) -> Result<Option<AgentRecord>, StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        let record = store.record(id).await?;
        let back = record.filter(|record| record.ended.is_none() && Some(record.incarnation) != before);
        if back.is_some() || Instant::now() >= deadline {
            return Ok(back);
        }
        sleep(POLL).await;
    }
}

impl RestartReport<'_> {
    fn text(&self) -> String {
        let id = printable(self.agent_id);
        match (self.back, self.pid) {
            (true, Some(pid)) => format!("{id} is back, as pid {pid}\n"),
            (true, None) => format!("{id} is back\n"),
            (false, _) => format!("{id} is to be started again by its coordinator\n"),
        }
    }
}
