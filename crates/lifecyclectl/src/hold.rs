//! `hold`: shows why reaping is held, or lets it go on.

use clap::{Args, Subcommand};
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, age, printable};
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::OperatorStore;
use serde::Serialize;

use crate::wording;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl hold
  lifecyclectl hold release

Reaping is held when so much of the fleet falls silent at once that an outage is likelier than deaths. After \
sweep.hold_timeout it goes on by itself at a limited rate; released, it goes on at full rate for that long.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lets reaping go on: these agents are really dead
    Release,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct HoldReport {
    held: bool,
    released: bool,
    since: Option<ServerTime>,
    agents: Option<u64>,
    reason: Option<String>,
    released_until: Option<ServerTime>,
    #[serde(skip)]
    now: ServerTime,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let released = match arguments.action {
        // It is no error if nothing is held: reaping goes on, as was asked for.
        Some(Action::Release) => store.release_hold(store.settings().sweep.hold_timeout).await?.is_some(),
        None => false,
    };
    let report = HoldReport { released, ..read_hold(store).await? };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

async fn read_hold(store: &OperatorStore) -> anyhow::Result<HoldReport> {
    let seen = store.observe(1).await?;
    let Some(hold) = &seen.hold else { return Ok(HoldReport::default()) };
    Ok(HoldReport {
        held: wording::held(&seen).is_some(),
        released: false,
        since: Some(hold.since),
        agents: store.held_agents().await?,
        reason: Some(hold.reason.clone()),
        released_until: hold.released_until,
        now: seen.now,
    })
}

impl HoldReport {
    fn text(&self) -> String {
        let (Some(since), Some(reason)) = (self.since, &self.reason) else {
            return "reaping is not held\n".into();
        };
        let reason = printable(reason);
        if let (false, Some(until)) = (self.held, self.released_until) {
            let left = age(self.now.ms_until(until));
            return format!("reaping goes on, released for another {left}; it was held because {reason}\n");
        }
        let agents = self.agents.map(|agents| format!(" for {}", output::count(agents, "agent")));
        let since = age(self.now.ms_since(since));
        format!("reaping is held{} since {since}: {reason}\n", agents.unwrap_or_default())
    }
}
