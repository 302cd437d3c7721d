//! `memory`: how much memory the fleet has, which agents have most of it, and the trends.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write as _};

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, printable};
use lifecycle_core::memory::leak::{Finding, Trend};
use lifecycle_core::wire::memory_records::{MemoryStats, MemoryUsage};
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{AgentUsage, OperatorStore};
use serde::Serialize;

use crate::wording;

/// The kind under which agents on the plain protocol are found.
pub(super) const PLAIN: &str = "plain";
/// How many agents are shown unless another number is asked for.
const SHOWN: usize = 20;
/// A slope beyond this is not believed: 2^53 bytes per hour.
const STEEPEST: f64 = 9_007_199_254_740_992.0;

#[derive(Debug, Clone, Args)]
pub(super) struct Selection {
    /// How many agents are shown, of those with most resident memory [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Only agents of this kind; `plain` for those on the plain protocol
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Show every column whole, however narrow the terminal
    #[arg(long, short)]
    wide: bool,
}

/// The memory of the fleet, or of one kind. Sizes in bytes, times in ms of server time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fleet {
    #[serde(flatten)]
    pub(super) totals: MemoryStats,
    /// The sample that sweepers compare the fleet with: only agents that were there then and still are.
    pub(super) baseline: Option<MemoryStats>,
    /// The agents with most resident memory, in falling order.
    pub(super) agents: Vec<Row>,
    #[serde(skip)]
    pub(super) kind: Option<String>,
    /// How many of the agents reported their memory.
    #[serde(skip)]
    pub(super) telling: u64,
    #[serde(skip)]
    pub(super) processes: Option<u64>,
}

/// One agent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) agent_id: String,
    pub(super) incarnation: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) state: Option<String>,
    pub(super) lease_end: Option<ServerTime>,
    pub(super) rss: Option<u64>,
    pub(super) heap_used: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) pss: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) slope_bytes_per_hour: Option<f64>,
    pub(super) confidence: Option<f64>,
    #[serde(rename = "limitReachedMs")]
    pub(super) limit_reached_at: Option<ServerTime>,
    pub(super) finding: Option<&'static str>,
    pub(super) floors: Vec<u64>,
}

pub(super) async fn run(selection: &Selection, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let fleet = read_fleet(selection, store).await?;
    match output {
        Output::Json => output::print_json(&fleet)?,
        Output::Table => {
            let shown = output::print_stdout(&fleet.text(selection.wide))?;
            if !fleet.agents.is_empty() && fleet.agents.iter().all(Row::is_without_trend) {
                note(&why_no_trend(store).await);
            }
            shown
        }
    };
    Ok(exit::OK)
}

async fn read_fleet(selection: &Selection, store: &OperatorStore) -> anyhow::Result<Fleet> {
    let mut agents = store.fleet_usage().await?;
    agents.retain(|agent| selection.kind.as_deref().is_none_or(|kind| kind == kind_of(agent)));
    agents.sort_by_key(|agent| Reverse(rss(agent)));
    let info = match store.server_info("memory").await {
        Ok(info) => info,
        Err(error) if error.is_transient() => return Err(error.into()),
        // The user has no right to INFO. The other figures are worth showing.
        Err(_) => HashMap::new(),
    };
    let mut fleet = Fleet {
        totals: MemoryStats {
            total_agents: agents.len() as u64,
            redis_memory: info.get("used_memory").and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
            timestamp: store.server_time().await?,
            ..MemoryStats::default()
        },
        baseline: store.memory_baseline().await?,
        agents: Vec::new(),
        kind: selection.kind.clone(),
        telling: 0,
        processes: None,
    };
    for (usage, _) in agents.iter().filter_map(|agent| agent.memory) {
        fleet.add(&usage);
    }
    let top = selection.top.map(|top| usize::try_from(top).unwrap_or(usize::MAX));
    agents.truncate(top.unwrap_or(SHOWN));
    let ids: Vec<&str> = agents.iter().map(|agent| agent.id.as_str()).collect();
    let trends = store.trends(&ids).await?;
    fleet.agents = agents.iter().zip(trends).map(|(agent, trend)| Row::of(agent, trend)).collect();
    Ok(fleet)
}

/// The kind of an agent, or `plain`.
fn kind_of(agent: &AgentUsage) -> &str {
    if agent.incarnation.is_none() { PLAIN } else { &agent.kind }
}

fn rss(agent: &AgentUsage) -> Option<u64> {
    agent.memory.map(|(usage, _)| usage.rss)
}

impl Selection {
    pub(super) fn is_empty(&self) -> bool {
        self.top.is_none() && self.kind.is_none()
    }
}

impl Fleet {
    fn add(&mut self, usage: &MemoryUsage) {
        let totals = &mut self.totals;
        totals.total_rss = totals.total_rss.saturating_add(usage.rss);
        totals.total_heap_used = totals.total_heap_used.saturating_add(usage.heap_used);
        if let Some(processes) = usage.processes {
            self.processes = Some(self.processes.unwrap_or(0).saturating_add(processes));
        }
        self.telling += 1;
    }
}

impl Row {
    fn of(agent: &AgentUsage, trend: Option<Trend>) -> Self {
        let usage = agent.memory.map(|(usage, _)| usage);
        let row = Self {
            agent_id: agent.id.clone(),
            incarnation: agent.incarnation.map(|incarnation| incarnation.to_string()),
            kind: agent.incarnation.and((!agent.kind.is_empty()).then(|| agent.kind.clone())),
            state: agent.state.map(|state| state.to_string()),
            lease_end: agent.lease_end,
            rss: usage.map(|usage| usage.rss),
            heap_used: usage.map(|usage| usage.heap_used),
            processes: usage.and_then(|usage| usage.processes),
            pss: usage.and_then(|usage| usage.pss),
            limit: usage.and_then(|usage| usage.limit),
            ..Self::default()
        };
        let Some(trend) = trend else { return row };
        let slope = Some(trend.slope_bytes_per_hour).filter(|slope| slope.abs() <= STEEPEST);
        Self {
            slope_bytes_per_hour: slope,
            confidence: Some(trend.confidence),
            limit_reached_at: slope.and(trend.limit_reached_at),
            finding: trend.finding.map(Finding::as_str),
            floors: trend.floors,
            ..row
        }
    }

    fn is_without_trend(&self) -> bool {
        self.confidence.is_none()
    }
}

/// The memory has been shown by now, so it is no error if the store does not tell who sweeps it.
async fn why_no_trend(store: &OperatorStore) -> String {
    let why = match store.observe(1).await {
        Ok(seen) => wording::absence(&seen, store.settings()),
        Err(error) => Some(error.to_string()),
    };
    let patience = || {
        "sweepers write them once they have watched an agent that beats with its memory for some minutes"
            .into()
    };
    format!("no trends: {}", why.unwrap_or_else(patience))
}

/// A remark on stderr. If that is closed, there is nowhere to report it.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {}", printable(text));
}
