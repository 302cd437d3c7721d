//! Figures of the fleet that a pass does not need: agents by state, memory by agent and in total, and its growth.
//!
//! One task reads (`census`), judges (`fleet_growth`) and leaves a summary here, from which pages are rendered. A
//! scrape reads only the summary, so it is as fast with 100,000 agents as with ten. The series of an agent that is gone
//! ends with the next summary, and at once if the bus said that the agent left.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifecycle_core::settings;
use lifecycle_core::text::units;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::metric;
use lifecycle_redis::{StoreError, SweeperStore};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::http::exposition::Exposition;
use crate::memory::census::{Census, Totals};
use crate::memory::fleet_growth::{FleetGrowthWatch, GrowthStatus};
use crate::memory::leak_watch::LeakWatch;
use crate::store_watch::StoreWatch;

/// Longest time between two readings.
const PERIOD: Duration = Duration::from_secs(15);
/// Shortest one, where `memory.leak_window` is short.
const LEAST_PERIOD: Duration = Duration::from_millis(250);
/// Longest time between two parts of one round over a large fleet.
const BETWEEN_PARTS: Duration = Duration::from_secs(5);
/// The same in the first round, before which there is nothing to show.
const BETWEEN_FIRST_PARTS: Duration = Duration::from_millis(500);
/// Fewest readings per window: growth is measured over that window.
const PER_WINDOW: u32 = 20;
/// Pause between two tries of the first reading, while the store is away.
const FIRST: Duration = Duration::from_millis(500);
/// Most agents that have a series of their own: those that use most.
const SERIES: usize = 200;
/// Most agents that left and are remembered until the next reading.
const MOST_LEFT: usize = 10_000;

/// The source of the pages' figures.
#[derive(Debug, Default)]
pub(crate) struct MemorySampler {
    summary: Mutex<Summary>,
    /// Agents that left since the last reading.
    left: Mutex<HashMap<String, Option<Incarnation>>>,
}

#[derive(Debug, Default)]
struct Summary {
    states: BTreeMap<&'static str, u64>,
    /// Resident bytes by agent, largest first.
    largest: Vec<(String, u64)>,
    totals: Option<Totals>,
    growth: GrowthStatus,
    /// How many agents have a finding, by finding.
    findings: BTreeMap<&'static str, u64>,
    store: StoreMemory,
}

/// The census, and the watches that judge what it read.
struct Watchers {
    census: Census,
    growth: FleetGrowthWatch,
    leaks: LeakWatch,
}

#[derive(Debug, Clone, Copy, Default)]
struct StoreMemory {
    used: Option<u64>,
    limit: Option<u64>,
}

impl MemorySampler {
    /// Reads for ever. An error costs one reading.
    pub(crate) async fn keep(&self, store: &SweeperStore, watch: &StoreWatch) -> Infallible {
        let mut looks = interval(FIRST);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !watch.is_answering() {
            looks.tick().await;
        }
        let memory = &store.settings().memory;
        let period = (memory.leak_window / PER_WINDOW).clamp(LEAST_PERIOD, PERIOD);
        let mut watchers = Watchers {
            census: Census::default(),
            growth: FleetGrowthWatch::new(memory),
            leaks: LeakWatch::default(),
        };
        loop {
            let wait = match self.read(store, &mut watchers).await {
                Ok(true) => period,
                Ok(false) if watchers.census.is_complete() => period.min(BETWEEN_PARTS),
                Ok(false) => BETWEEN_FIRST_PARTS,
                Err(error) => {
                    tracing::debug!(%error, "the figures of the fleet could not be read");
                    period
                }
            };
            sleep(wait).await;
        }
    }

    /// Makes one reading. Returns whether it ended a round, so that the next one may begin later.
    async fn read(&self, store: &SweeperStore, watchers: &mut Watchers) -> Result<bool, StoreError> {
        let Watchers { census, growth, leaks } = watchers;
        for (id, incarnation) in std::mem::take(&mut *lock(&self.left)) {
            census.forget(&id, incarnation);
        }
        let now = store.server_time().await?;
        let reading = census.read(store, now).await?;
        let memory = store_memory(store).await?;
        growth.observe(&reading.samples, now, memory.used);
        leaks.observe(&reading.samples);
        if reading.ends_round {
            growth.retain(|id| census.knows(id));
            leaks.retain(|id| census.knows(id));
        }
        let summary = if census.is_complete() {
            let growth = growth.judge(store, now).await;
            let (largest, totals) = (census.largest(SERIES), Some(census.totals()));
            leaks.tell(store, now, &largest.iter().map(|(id, _)| id.as_str()).collect()).await;
            let (states, findings) = (census.states(), leaks.findings());
            Summary { states, largest, totals, growth, findings, store: memory }
        } else {
            // A part of the fleet must not pass for all of it.
            Summary { store: memory, ..Summary::default() }
        };
        *lock(&self.summary) = summary;
        Ok(reading.ends_round)
    }

    /// Takes in from the bus which agents left.
    pub(crate) fn note_departure(&self, event: &Event) {
        if !event.is_end_of_life() {
            return;
        }
        let mut left = lock(&self.left);
        if let Some(id) = event.agent_id.as_ref().filter(|_| left.len() < MOST_LEFT) {
            left.insert(id.clone(), event.incarnation);
        }
    }

    pub(crate) fn render(&self, page: &mut Exposition, settings: &settings::Memory) {
        let (summary, left) = (lock(&self.summary), lock(&self.left));
        let largest = summary.largest.iter().filter(|(id, _)| !left.contains_key(id));
        page.labelled(metric::AGENT_MEMORY, "agent_id", largest.map(|(id, bytes)| (id, bytes)));
        page.single(metric::MEMORY_GROWTH, summary.growth.growth);
        let threshold = units::size::text(settings.leak_threshold);
        page.labelled(metric::MEMORY_LEAK, "threshold", [(threshold, u8::from(summary.growth.is_leak))]);
        page.labelled(metric::LEAKING_AGENTS, "finding", &summary.findings);
        page.labelled(metric::AGENTS_BY_STATE, "state", &summary.states);
        page.single(metric::LEASE_USED, summary.totals.map(|totals| totals.lease_used));
        page.single(metric::FLEET_RSS, summary.totals.map(|totals| totals.rss));
        page.single(metric::FLEET_HEAP_USED, summary.totals.map(|totals| totals.heap_used));
        page.single(metric::FLEET_PROCESSES, summary.totals.map(|totals| totals.processes));
        page.single(metric::STORE_MEMORY, summary.store.used);
        page.single(metric::STORE_MEMORY_LIMIT, summary.store.limit);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn store_memory(store: &SweeperStore) -> Result<StoreMemory, StoreError> {
    let info = match store.server_info("memory").await {
        Ok(info) => info,
        Err(error) if error.is_transient() => return Err(error),
        // The user has no right to INFO. The figures of the fleet do not need it.
        Err(_) => return Ok(StoreMemory::default()),
    };
    let number = |name: &str| info.get(name).and_then(|value| value.parse().ok());
    Ok(StoreMemory { used: number("used_memory"), limit: number("maxmemory") })
}

#[cfg(test)]
mod tests {
    use lifecycle_core::wire::event::Payload;

    use super::*;

    fn rendered(sampler: &MemorySampler) -> Vec<String> {
        let mut page = Exposition::default();
        sampler.render(&mut page, &settings::Memory::default());
        page.text().lines().filter(|line| !line.starts_with('#')).map(str::to_string).collect()
    }

    #[test]
    fn before_the_first_reading_there_is_no_leak_and_nothing_is_claimed_of_the_fleet() {
        assert_eq!(rendered(&MemorySampler::default()), ["memory_leak_detected{threshold=\"100MB\"} 0"]);
    }

    #[test]
    fn series_are_those_of_the_last_reading_without_those_who_left_since() {
        let sampler = MemorySampler::default();
        lock(&sampler.summary).largest = vec![("coder-1".into(), 9), ("coder-2".into(), 7)];
        lock(&sampler.summary).growth = GrowthStatus { growth: Some(-5), is_leak: true };
        let (process, keys_deleted, tasks_requeued) = (None, None, None);
        let left = Payload::AgentShutdown { reason: None, process, keys_deleted, tasks_requeued };
        sampler.note_departure(&Event::new(left, 1).about("coder-1", None));
        assert_eq!(
            rendered(&sampler),
            [
                "agent_memory_usage_bytes{agent_id=\"coder-2\"} 7",
                "memory_growth_bytes -5",
                "memory_leak_detected{threshold=\"100MB\"} 1"
            ]
        );
    }
}
