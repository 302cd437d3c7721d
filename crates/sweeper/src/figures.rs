//! Figures of the fleet that a pass does not need: agents by state, memory by agent.
//!
//! Per-agent series are rendered from the last reading and not kept as metric handles, so those of agents that
//! are gone are gone with the next reading.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifecycle_core::metric;
use lifecycle_core::record::AgentState;
use lifecycle_redis::{AgentView, Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};

use crate::watch::Watch;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(15);
/// How often to look whether the store is there for the first reading.
const FIRST: Duration = Duration::from_millis(500);
/// Most agents with a series of their own: those that use most.
const SERIES: usize = 200;
/// Larger fleets are not read in full for the sake of figures.
const MOST: usize = 5_000;

/// The last reading.
#[derive(Debug, Default)]
pub(crate) struct Figures(Mutex<Reading>);

#[derive(Debug, Default)]
struct Reading {
    /// Agents by state; `plain` for those on the seed's protocol.
    states: BTreeMap<&'static str, u64>,
    /// Resident bytes by agent, largest first.
    memory: Vec<(String, u64)>,
}

impl Figures {
    /// Reads for ever; an error costs one reading.
    pub(crate) async fn keep(&self, store: &Store, watch: &Watch) -> Infallible {
        let mut looks = interval(FIRST);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !watch.is_answering() {
            looks.tick().await;
        }
        let mut readings = interval(PERIOD);
        readings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            readings.tick().await;
            match read(store).await {
                Ok(reading) => *self.lock() = reading,
                Err(error) => tracing::debug!(%error, "the figures of the fleet could not be read"),
            }
        }
    }

    /// The series in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let reading = self.lock();
        let mut text = String::new();
        if !reading.states.is_empty() {
            head(&mut text, metric::AGENTS_BY_STATE);
            for (state, count) in &reading.states {
                let _ = writeln!(text, "{}{{state=\"{state}\"}} {count}", metric::AGENTS_BY_STATE);
            }
        }
        if !reading.memory.is_empty() {
            head(&mut text, metric::AGENT_MEMORY);
            for (id, bytes) in &reading.memory {
                let _ = writeln!(text, "{}{{agent_id=\"{}\"}} {bytes}", metric::AGENT_MEMORY, escaped(id));
            }
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(store: &Store) -> Result<Reading, StoreError> {
    if store.observe(0).await?.active > MOST as u64 {
        return Ok(Reading::default());
    }
    let fleet = store.fleet().await?;
    let mut states: BTreeMap<&'static str, u64> =
        AgentState::ALL.iter().map(|state| (state.as_str(), 0)).collect();
    for agent in &fleet {
        let state = agent.record.as_ref().map_or("plain", |record| record.state.as_str());
        *states.entry(state).or_default() += 1;
    }
    Ok(Reading { states, memory: memory(store, &fleet).await? })
}

/// From the beat, or from the record that plain agents keep apart.
async fn memory(store: &Store, fleet: &[AgentView]) -> Result<Vec<(String, u64)>, StoreError> {
    let in_beat =
        |agent: &AgentView| agent.beat.as_ref().and_then(|beat| beat.memory_usage).map(|usage| usage.rss);
    let silent: Vec<&str> =
        fleet.iter().filter(|agent| in_beat(agent).is_none()).map(|agent| agent.id.as_str()).collect();
    let mut memory: Vec<(String, u64)> =
        fleet.iter().filter_map(|agent| Some((agent.id.clone(), in_beat(agent)?))).collect();
    let recorded = store.resident_memory(&silent).await?;
    memory.extend(silent.iter().zip(recorded).filter_map(|(id, bytes)| Some(((*id).to_string(), bytes?))));
    memory.sort_by(|(one, less), (other, more)| more.cmp(less).then_with(|| one.cmp(other)));
    memory.truncate(SERIES);
    Ok(memory)
}

fn head(text: &mut String, name: &str) {
    if let Some((_, _, help)) = metric::ALL.iter().find(|(known, ..)| *known == name) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_those_of_the_last_reading_alone_and_strange_ids_stay_in_their_quotes() {
        let figures = Figures::default();
        assert_eq!(figures.render(), "");
        figures.lock().memory = vec![("a\"b\n\\".into(), 7)];
        assert!(figures.render().ends_with("agent_memory_usage_bytes{agent_id=\"a\\\"b\\n\\\\\"} 7\n"));
        figures.lock().memory = vec![("coder-1".into(), 9)];
        let text = figures.render();
        assert!(text.starts_with("# HELP agent_memory_usage_bytes "), "{text}");
        assert_eq!(
            text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
            ["agent_memory_usage_bytes{agent_id=\"coder-1\"} 9"]
        );
    }
}
