//! Judges the growth of the fleet's memory, and publishes one alert per leak.
//!
//! Every sweeper judges for itself, by what it has read itself. Only the alert is shared: a latch in the store lets the
//! first sweeper's alert through, once per episode.

use lifecycle_cli::output;
use lifecycle_core::memory::fleet_growth::{FleetGrowth, FleetHistory, LeakEpisode, LeakTurn};
use lifecycle_core::memory::sample::MemorySample;
use lifecycle_core::settings;
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::memory_records::Grown;
use lifecycle_core::wire::time::{ServerTime, millis};
use lifecycle_redis::SweeperStore;

use crate::pass::report;

/// One sweeper's judgement of the fleet's growth.
#[derive(Debug)]
pub(crate) struct FleetGrowthWatch {
    history: FleetHistory,
    episode: LeakEpisode,
    threshold: u64,
    /// A change that the store does not know of yet, because it did not answer.
    untold: Option<LeakTurn>,
}

/// The result of the last judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GrowthStatus {
    /// Growth in bytes; `None` until there is a sample to compare with.
    pub(crate) growth: Option<i64>,
    /// Whether a leak is going on.
    pub(crate) is_leak: bool,
}

impl FleetGrowthWatch {
    pub(crate) fn new(memory: &settings::Memory) -> Self {
        Self {
            history: FleetHistory::new(millis(memory.leak_window)),
            episode: LeakEpisode::default(),
            threshold: memory.leak_threshold.as_u64(),
            untold: None,
        }
    }

    /// Takes in the samples of a reading.
    pub(crate) fn observe(&mut self, samples: &[MemorySample], now: ServerTime, store_memory: Option<u64>) {
        for sample in samples {
            self.history.observe(sample);
        }
        if let Some(bytes) = store_memory {
            self.history.observe_store(now, bytes);
        }
    }

    /// Drops the history of agents that are gone.
    pub(crate) fn retain(&mut self, is_there: impl FnMut(&str) -> bool) {
        self.history.retain(is_there);
    }

    /// Judges as of `now`, and tells the store and the bus what changed.
    pub(crate) async fn judge(&mut self, store: &SweeperStore, now: ServerTime) -> GrowthStatus {
        let Some(growth) = self.history.judge(now) else {
            return GrowthStatus { growth: None, is_leak: self.episode.is_on };
        };
        if let Err(error) = store.keep_baseline(&growth.baseline).await {
            tracing::debug!(%error, "the memory baseline was not written");
        }
        let turn = self.episode.judge(growth.bytes(), self.threshold);
        self.tell(store, turn, &growth).await;
        GrowthStatus { growth: Some(growth.bytes()), is_leak: self.episode.is_on }
    }

    async fn tell(&mut self, store: &SweeperStore, turn: LeakTurn, growth: &FleetGrowth) {
        match turn {
            LeakTurn::Began => tracing::warn!(
                bytes = growth.bytes(),
                agents = growth.current.total_agents,
                "the memory of the fleet grew by {} within memory.leak_window; most of all: {}",
                output::size(growth.bytes().unsigned_abs()),
                named(growth)
            ),
            LeakTurn::Ended => {
                tracing::info!(bytes = growth.bytes(), "the memory of the fleet grows no more")
            }
            LeakTurn::Quiet | LeakTurn::Lasts => {}
        }
        // A beginning that the store does not know of is told as long as the leak lasts, and an end until something new
        // happens.
        let turn = match (self.untold.take(), turn) {
            (Some(LeakTurn::Began), LeakTurn::Lasts) => LeakTurn::Began,
            (Some(LeakTurn::Ended), LeakTurn::Quiet) => LeakTurn::Ended,
            (_, turn) => turn,
        };
        let alert = (turn == LeakTurn::Began).then(|| alert(growth));
        if let Err(error) = store.latch_leak(turn, alert.as_ref()).await {
            tracing::debug!(%error, "the state of the leak was not told; trying again with the next reading");
            self.untold = Some(turn);
        }
    }
}

fn alert(growth: &FleetGrowth) -> Event {
    let payload = Payload::MemoryLeakDetected {
        growth: Some(growth.bytes()),
        growth_pct: growth.percent(),
        baseline: Some(growth.baseline),
        current: Some(growth.current),
        agents: growth.grown.clone(),
        reason: None,
        slope_bytes_per_hour: None,
        confidence: None,
        window_ms: None,
        limit_reached_ms: None,
    };
    Event::new(payload, growth.current.timestamp.as_ms())
}

fn named(growth: &FleetGrowth) -> String {
    let most = growth.grown.iter().take(3);
    let size = |grown: &Grown| output::size(grown.growth.unsigned_abs());
    most.map(|grown| format!("{:?} (+{})", report::named(&grown.agent_id), size(grown)))
        .collect::<Vec<_>>()
        .join(", ")
}
