//! `verify`: looks for keys that are left behind, and for processes on this host.
//!
//! A store is read while it is used, so every finding is checked a second time. A key of an agent that was just
//! registering or leaving is in order at the second look.

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, Table, count};
use lifecycle_core::sweep::residue::{self, Inventory, Residue};
use lifecycle_redis::{OperatorStore, StoreError};
use serde::Serialize;

use crate::{epics, processes};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl verify
  lifecyclectl verify --output json | jq -r '.residue[].key'

Exits 0 when every key of the product, and every process of its agents on this host, has a living owner; 1 when any has \
none. An `orphan` is dead and waits for \
cleanup: the next pass of a sweeper takes it away. Keys of other programs are counted, not judged.")]
pub(crate) struct Arguments {}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    /// How many keys of the product there are.
    pub(crate) keys: u64,
    /// How many agents live.
    pub(crate) living_agents: u64,
    /// How many keys of others there are.
    pub(crate) foreign_keys: u64,
    /// Epics that wait for a coordinator: their keys are kept for it.
    pub(crate) waiting: Vec<String>,
    /// Keys and entries without a living owner.
    pub(crate) residue: Vec<Residue>,
    /// What is left on this host of lives that are over, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<String>,
}

pub(crate) async fn run(_: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let mut findings = search(store).await?;
    findings.processes = processes::left(store).await?;
    match output {
        Output::Json => output::print_json(&findings)?,
        Output::Table => output::print_stdout(&findings.text())?,
    };
    let is_clean = findings.residue.is_empty() && findings.processes.is_none();
    Ok(if is_clean { exit::OK } else { exit::FAILED })
}

/// Reads the whole keyspace, and a second time the keys that seemed left behind.
pub(crate) async fn search(store: &OperatorStore) -> Result<Findings, StoreError> {
    let (keys, foreign_keys) = store.product_keys().await?;
    let first = store.inventory(&keys).await?;
    let mut residue = residue::find(store.keys(), &first);
    if !residue.is_empty() {
        // Writes that are not one script (a plain agent's beat and membership, say) get as much time as a last call.
        tokio::time::sleep(store.settings().sweep.grace).await;
        residue = confirmed(store, &first, &residue).await?;
    }
    let waiting = epics::waiting(store, first.now).await?;
    let (keys, living_agents) = (first.keys.len() as u64, living(&first));
    Ok(Findings { keys, living_agents, foreign_keys, waiting, residue, processes: None })
}

async fn confirmed(
    store: &OperatorStore,
    first: &Inventory,
    suspected: &[Residue],
) -> Result<Vec<Residue>, StoreError> {
    let again = store.inventory(&to_read_again(store, first, suspected)).await?;
    let mut found = residue::find(store.keys(), &again);
    residue::confirm(suspected, &mut found);
    Ok(found)
}

/// The suspected keys, and the keys that tell which agent declared one of them, or whose sprint it is.
fn to_read_again(store: &OperatorStore, first: &Inventory, suspected: &[Residue]) -> Vec<String> {
    let claims = first.claimed.keys().map(|id| store.keys().keys(id));
    let mut keys: Vec<String> = suspected.iter().map(|finding| finding.key.clone()).chain(claims).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn living(seen: &Inventory) -> u64 {
    seen.agents.values().filter(|known| known.is_alive(seen.now)).count() as u64
}

impl Findings {
    /// The last line: what was checked, and the result.
    pub(crate) fn summary(&self) -> String {
        let foreign = match self.foreign_keys {
            0 => String::new(),
            others => format!(" ({} of other programs not looked at)", count(others, "key")),
        };
        let (keys, agents) = (count(self.keys, "key"), count(self.living_agents, "living agent"));
        match self.residue.len() as u64 {
            0 => format!("no residue: {keys}, {agents}, each key with an owner{foreign}"),
            1 => format!("1 finding without a living owner, among {keys} and {agents}{foreign}"),
            many => format!("{many} findings without a living owner, among {keys} and {agents}{foreign}"),
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(["KEY", "OWNER", "WHY", "DETAIL"]);
        for Residue { key, member, owner, why, detail } in &self.residue {
            let place = member.as_ref().map_or_else(|| key.clone(), |member| format!("{key} ({member})"));
            table.row([&place, owner, why.as_str(), detail]);
        }
        let listed = if self.residue.is_empty() { String::new() } else { table.to_string() };
        let waiting: String = self.waiting.iter().map(|line| format!("{line}\n")).collect();
        let processes = self.processes.iter().map(|line| format!("{line}\n")).collect::<String>();
        format!("{listed}{waiting}{}\n{processes}", self.summary())
    }
}
