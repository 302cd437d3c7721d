//! `drain` and `stop`: orders to a living agent, delivered in the reply to its next beat.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, printable};
use lifecycle_core::text::units::parse_duration;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::task::SprintMessage;
use lifecycle_redis::{Bus, Hint, OperatorStore, StoreError};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::{errors, ps, wording};

/// How often the keys are looked at while waiting, because events are only hints.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl drain coder-1
  lifecyclectl drain checkout.coder-1 --wait 10m
  lifecyclectl drain checkout.coder-1 --no-replace

The agent takes no new task, finishes those it has, gives everything back and exits 0. While its sprint has work, its
coordinator starts another in its place.")]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) arguments: Arguments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl stop coder-1
  lifecyclectl stop checkout.coder-1 --wait 30s
  lifecyclectl stop checkout.coder-1 --no-replace

The agent ends its process tree at once, hands its tasks back (which costs them neither an attempt nor a crash) and
leaves. While its sprint has work, its coordinator starts another in its place.")]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) arguments: Arguments,
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The agent
    #[arg(value_name = "ID")]
    id: String,
    /// Wait until the agent is gone, for 1 minute or the time given
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, default_missing_value = "1m", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Have its coordinator start nobody in its place, until `lifecyclectl restart` says otherwise
    #[arg(long)]
    no_replace: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderReport<'a> {
    agent_id: &'a str,
    order: Order,
    gone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub(crate) async fn run(
    order: Order,
    arguments: &Arguments,
    store: &OperatorStore,
    output: Output,
) -> anyhow::Result<u8> {
    let id = arguments.id.as_str();
    // The subscription comes first, so that the end of a quick agent is heard.
    let bus = arguments.wait.map(|_| store.subscribe()).transpose()?;
    let incarnation = give(order, arguments, store).await?;
    let mut report = OrderReport { agent_id: id, order, gone: false, detail: None };
    if let (Some(mut bus), Some(patience)) = (bus, arguments.wait) {
        if !is_gone_within(patience, &mut bus, store, id, incarnation).await? {
            bail!("{}", still_there(patience, store, id).await?);
        }
        report.gone = true;
        report.detail = farewell(store, id, incarnation).await?;
    }
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

/// Gives the order to the life that is registered now.
async fn give(order: Order, arguments: &Arguments, store: &OperatorStore) -> anyhow::Result<Incarnation> {
    let id = arguments.id.as_str();
    let Some(view) = store.view(id).await? else {
        return Err(errors::no_such_agent(store, id).await);
    };
    let Some(record) = view.record else {
        bail!(
            "{id} is not registered (plain protocol), so it takes no orders: nothing was done; end its process, or use `reap`"
        );
    };
    if let (true, Some(sprint)) = (arguments.no_replace, &record.sprint) {
        // This comes first, or the coordinator might replace the agent before. Without a sprint no coordinator would.
        store.tell_sprint(sprint, &SprintMessage::Retire { agent_id: id.into() }).await?;
    }
    if store.order(id, record.incarnation, order).await? {
        return Ok(record.incarnation);
    }
    let how = record.ended.map_or_else(|| "it has just gone".into(), |why| format!("it ended ({why})"));
    bail!("{id} takes no orders any more: {how}; a sweeper, or `reap`, cleans it up")
}

async fn is_gone_within(
    patience: Duration,
    bus: &mut Bus,
    store: &OperatorStore,
    id: &str,
    incarnation: Incarnation,
) -> Result<bool, StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        let life = store.record(id).await?.map(|record| record.incarnation);
        if life != Some(incarnation) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        next_sign(bus, id, deadline.min(Instant::now() + POLL)).await;
    }
}

/// Returns at an event that ends a life of the agent, or at `until`.
async fn next_sign(bus: &mut Bus, id: &str, until: Instant) {
    while let Ok(hint) = timeout_at(until, bus.next()).await {
        if matches!(&hint, Hint::Event(event) if is_end(event, id)) {
            return;
        }
    }
}

fn is_end(event: &Event, id: &str) -> bool {
    event.is_about(id) && event.is_end_of_life()
}

async fn farewell(
    store: &OperatorStore,
    id: &str,
    incarnation: Incarnation,
) -> Result<Option<String>, StoreError> {
    let now = store.server_time().await?;
    let life = incarnation.to_string();
    let log = store.log(wording::LOG_DEPTH).await?;
    let entry = log
        .into_iter()
        .find(|entry| wording::is_about(entry, id) && entry.fields.get("incarnation") == Some(&life));
    Ok(entry.map(|entry| wording::farewell(&entry, now)))
}

async fn still_there(patience: Duration, store: &OperatorStore, id: &str) -> Result<String, StoreError> {
    let waited = humantime::format_duration(patience);
    let state = match store.view(id).await? {
        Some(view) => {
            let now = store.server_time().await?;
            let tasks = match AgentId::new(id) {
                Ok(id) => store.assignments(&id).await?.len() as u64,
                Err(_) => 0,
            };
            let words = ps::Row::of(&view, now).described(now);
            let word =
                |name| words.iter().find(|(found, _)| *found == name).map_or("-", |(_, text)| text.as_str());
            let (state, lease) = (word("state"), word("lease"));
            format!("{state}, {} in flight, lease {lease}", output::count(tasks, "task"))
        }
        None => "it has just gone".into(),
    };
    Ok(format!(
        "{id} is still there after {waited} ({state}): the order stands; wait longer, or use `stop` or `reap`"
    ))
}

impl OrderReport<'_> {
    fn text(&self) -> String {
        let id = printable(self.agent_id);
        match (self.gone, &self.detail, self.order) {
            (true, Some(detail), _) => format!("{id} is gone: {}\n", printable(detail)),
            (true, None, _) => format!("{id} is gone\n"),
            (false, _, Order::Drain) => format!("{id} is told to finish its tasks and leave\n"),
            (false, _, Order::Terminate) => format!("{id} is told to stop at once\n"),
        }
    }
}
