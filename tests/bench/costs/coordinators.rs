//! What one coordinator can do, and what it costs: whole processes of the shipped binaries, by their command lines and by
//! what the store says.

mod hand_out;
mod idle;
mod resume;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::Event;
use lifecycle_tests::plain::Subscription;
use lifecycle_tests::{PlainClient, Role};

use crate::processes::SOON;
use crate::report::CostReport;

/// The epic of every plan here, and its only sprint and kind of agent.
const EPIC: &str = "bench";
const SPRINT: &str = "s";
const AGENT: &str = "a";

/// How many tasks each measurement has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) tasks: u32,
    pub(crate) pending: u32,
    pub(crate) resumed: u32,
}

pub(crate) fn measure(sizes: Sizes, idle: Duration, runs: u8, report: &mut CostReport) -> Result<()> {
    hand_out::measure(sizes.tasks, runs, report)?;
    idle::measure(sizes.pending, idle, report)?;
    resume::measure(sizes.resumed, runs, report)
}

/// Writes a plan with one sprint. `tasks` is what it says of them.
fn write_plan(folder: &Path, agents: u16, command: &str, tasks: &str) -> Result<()> {
    let plan = format!(
        "[epic]\nid = \"{EPIC}\"\n[[sprint]]\nid = \"{SPRINT}\"\n[[sprint.agent]]\nid = \"{AGENT}\"\ncount = {agents}\n\
         command = [{command}]\n{tasks}"
    );
    Ok(std::fs::write(folder.join("plan.toml"), plan)?)
}

/// The ids of so many tasks.
fn task_ids(tasks: u32) -> impl Iterator<Item = String> {
    (0..tasks).map(|number| format!("t{number}"))
}

/// The next event. The coordinator that should cause it is named where none comes.
fn next_event(events: &mut Subscription, coordinator: &Role) -> Result<Event> {
    match events.next(SOON)? {
        Some((_, bytes)) => decode(&bytes).context("an event could not be read"),
        None => bail!("nothing happened for {SOON:?}; the coordinator wrote:\n{}", coordinator.stderr()),
    }
}

/// What the server was asked for since its statistics were last reset: command, calls, microseconds in all. Commands of
/// scripts are among them, and those of this program that only ask for statistics are not.
fn asked(client: &mut PlainClient) -> Result<Vec<(String, f64, f64)>> {
    let info = client.text(&["INFO", "commandstats"])?.unwrap_or_default();
    let asked = info.lines().filter_map(|line| {
        let (command, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let figure = |name: &str| {
            figures.split(',').find_map(|figure| figure.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some((command.to_owned(), figure("calls")?, figure("usec")?))
    });
    Ok(asked.filter(|(command, ..)| command != "info" && !command.starts_with("config")).collect())
}

fn calls(asked: &[(String, f64, f64)]) -> f64 {
    asked.iter().map(|(_, calls, _)| calls).sum()
}
