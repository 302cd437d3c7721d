//! The census: which agents there are and what they use, read a part at a time.
//!
//! A small fleet is read at once. A large one is read in rounds, a part with each reading, so that neither the store
//! nor this process has too much to do at once. What is known of the other agents is kept meanwhile. An agent is
//! dropped if a whole round did not meet it. It is dropped at once if the bus says that it has left.

use std::collections::{BTreeMap, HashMap};

use lifecycle_core::agent::liveness::runs;
use lifecycle_core::memory::sample::MemorySample;
use lifecycle_core::wire::ids::{Incarnation, MAX_NAME_LEN};
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::record::AgentState;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{AgentUsage, IndexCursor, Stamp, StoreError, SweeperStore};

/// Most agents that one reading reads.
const MOST: usize = 5_000;
/// Most ids of the indexes that one reading looks at.
const MOST_NAMES: usize = 50_000;
/// Ids that one command asks for.
const PAGE: u32 = 1_000;
/// The state under which agents on the plain protocol are counted, which report none of ours.
const PLAIN: &str = "plain";

/// What is known of all agents.
#[derive(Debug, Default)]
pub(crate) struct Census {
    agents: HashMap<String, Entry>,
    /// Number of the round under way.
    round: u64,
    at: IndexCursor,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    incarnation: Option<Incarnation>,
    state: &'static str,
    lease_used: Option<f64>,
    /// The figures, with the time as the agent wrote it. A new time marks a new sample.
    memory: Option<(MemoryUsage, Stamp)>,
    met: u64,
}

/// The result of one reading.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// New samples since the last reading.
    pub(crate) samples: Vec<MemorySample>,
    /// Whether the round ended with it, so that all agents have been met.
    pub(crate) ends_round: bool,
}

/// Sums over all known agents.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Totals {
    pub(crate) rss: u64,
    pub(crate) heap_used: u64,
    pub(crate) processes: u64,
    pub(crate) lease_used: f64,
}

impl Census {
    /// Reads the next part. After an error the next reading goes on from the same place.
    pub(crate) async fn read(
        &mut self,
        store: &SweeperStore,
        now: ServerTime,
    ) -> Result<Reading, StoreError> {
        let mut reading = Reading::default();
        let (mut asked, mut names) = (0, 0);
        while !reading.ends_round && asked < MOST && names < MOST_NAMES {
            let (mut page, next) = store.index_page(&self.at, PAGE).await?;
            names += page.len().max(1);
            page.retain(|(id, _)| self.agents.get(id).is_none_or(|known| known.met != self.round + 1));
            asked += page.len();
            for usage in store.agent_usage(&page).await? {
                reading.samples.extend(self.meet(usage, now));
            }
            reading.ends_round = next.is_none();
            self.at = next.unwrap_or_default();
        }
        if reading.ends_round {
            self.end_round();
        }
        Ok(reading)
    }

    /// Takes in one agent. Returns its memory if that is a new sample.
    fn meet(&mut self, usage: AgentUsage, now: ServerTime) -> Option<MemorySample> {
        let lease_used = lease_used(&usage, now);
        let known = Entry {
            incarnation: usage.incarnation,
            state: usage.state.map_or(PLAIN, AgentState::as_str),
            lease_used,
            memory: usage.memory,
            met: self.round + 1,
        };
        let before = self.agents.insert(usage.id.clone(), known);
        let told =
            before.filter(|before| before.incarnation == usage.incarnation).and_then(|before| before.memory);
        let (memory, stamp) = usage.memory.filter(|memory| told != Some(*memory))?;
        let at = match stamp {
            Stamp::Server(at) => at.min(now),
            Stamp::Host(_) => now,
        };
        let MemoryUsage { rss, heap_used, limit, .. } = memory;
        Some(MemorySample {
            id: usage.id,
            incarnation: usage.incarnation,
            kind: usage.kind,
            at,
            rss,
            heap_used,
            limit,
        })
    }

    fn end_round(&mut self) {
        self.round += 1;
        self.agents.retain(|_, known| known.met == self.round);
    }

    /// Drops an agent that left. Another life of the same id stays.
    pub(crate) fn forget(&mut self, id: &str, incarnation: Option<Incarnation>) {
        if self.agents.get(id).is_some_and(|known| known.incarnation == incarnation) {
            self.agents.remove(id);
        }
    }

    /// Whether a whole round was read, so that every agent is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.round > 0
    }

    /// Whether this agent is known.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.agents.contains_key(id)
    }

    /// How many agents there are by state; `plain` counts those on the plain protocol.
    pub(crate) fn states(&self) -> BTreeMap<&'static str, u64> {
        let names = AgentState::ALL.iter().map(|state| state.as_str()).chain([PLAIN]);
        let mut states: BTreeMap<&'static str, u64> = names.map(|name| (name, 0)).collect();
        for known in self.agents.values() {
            *states.entry(known.state).or_default() += 1;
        }
        states
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for known in self.agents.values() {
            totals.lease_used = totals.lease_used.max(known.lease_used.unwrap_or(0.0));
            if let Some((memory, _)) = known.memory {
                totals.rss = totals.rss.saturating_add(memory.rss);
                totals.heap_used = totals.heap_used.saturating_add(memory.heap_used);
                totals.processes = totals.processes.saturating_add(memory.processes.unwrap_or(0));
            }
        }
        totals
    }

    /// Resident bytes of the agents that use most, in falling order. Ids that are longer than ours can be are left out:
    /// others may have written anything, and the page has to stay small.
    pub(crate) fn largest(&self, most: usize) -> Vec<(String, u64)> {
        let used = self.agents.iter().filter(|(id, _)| id.len() <= MAX_NAME_LEN);
        let used = used.filter_map(|(id, known)| Some((known.memory?.0.rss, id)));
        let mut used: Vec<(u64, &String)> = used.collect();
        let order = |one: &(u64, &String), other: &(u64, &String)| {
            other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1))
        };
        if used.len() > most {
            used.select_nth_unstable_by(most, order);
            used.truncate(most);
        }
        used.sort_unstable_by(order);
        used.into_iter().map(|(rss, id)| (id.clone(), rss)).collect()
    }
}

/// The part of a running lease that has passed, 0 to 1.
#[allow(clippy::cast_precision_loss)] // Leases are far shorter than 2^52 ms.
fn lease_used(usage: &AgentUsage, now: ServerTime) -> Option<f64> {
    let length = usage.lease_ms.filter(|length| *length > 0)?;
    let end = usage.lease_end.filter(|end| runs(*end, now))?;
    let left = now.ms_until(end);
    Some((1.0 - left as f64 / length as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use lifecycle_core::wire::time::HostTime;

    use super::*;

    fn at(ms: u64) -> ServerTime {
        ServerTime::from_store_ms(ms)
    }

    fn usage(id: &str, life: u64, rss: u64, stamp: u64) -> AgentUsage {
        AgentUsage {
            id: id.into(),
            incarnation: Some(Incarnation(life)),
            kind: "coder".into(),
            state: Some(AgentState::Busy),
            lease_end: Some(at(1_900)),
            lease_ms: Some(1_000),
            memory: Some((
                MemoryUsage { rss, processes: Some(2), ..MemoryUsage::default() },
                Stamp::Server(at(stamp)),
            )),
        }
    }

    #[test]
    fn a_sample_is_new_once_and_again_in_another_life() {
        let mut census = Census::default();
        assert_eq!(census.meet(usage("a", 1, 7, 900), at(1_000)).unwrap().at, at(900));
        assert_eq!(census.meet(usage("a", 1, 7, 900), at(1_001)), None);
        assert_eq!(census.meet(usage("a", 1, 7, 901), at(1_002)).unwrap().at, at(901));
        assert_eq!(census.meet(usage("a", 2, 7, 901), at(1_003)).unwrap().incarnation, Some(Incarnation(2)));
        assert_eq!(
            census.meet(usage("a", 2, 7, 9_999), at(1_004)).unwrap().at,
            at(1_004),
            "no sample is of the future"
        );
        let mut plain = usage("p", 0, 7, 5);
        plain.incarnation = None;
        plain.memory = plain.memory.map(|(usage, _)| (usage, Stamp::Host(HostTime::from_host_ms(5))));
        assert_eq!(census.meet(plain, at(1_000)).unwrap().at, at(1_000), "its own clock says nothing");
    }

    #[test]
    fn who_is_not_met_in_a_round_is_gone_at_its_end_and_not_before() {
        let mut census = Census::default();
        census.meet(usage("a", 1, 7, 1), at(1_000));
        census.meet(usage("b", 1, 9, 1), at(1_000));
        census.end_round();
        census.meet(usage("a", 1, 8, 2), at(2_000));
        assert_eq!(census.largest(9), [("b".to_string(), 9), ("a".to_string(), 8)]);
        census.end_round();
        assert_eq!(census.largest(9), [("a".to_string(), 8)]);
        assert_eq!(census.states()["busy"], 1);
        census.forget("a", Some(Incarnation(2)));
        assert!(census.knows("a"), "another life left");
        census.forget("a", Some(Incarnation(1)));
        assert!(!census.knows("a"));
    }

    #[test]
    fn totals_and_the_largest_are_of_everybody_and_absurd_sums_do_not_overflow() {
        let mut census = Census::default();
        for n in 0..300_u64 {
            census.meet(usage(&format!("agent-{n:03}"), 1, n + 1, 1), at(1_000));
        }
        let largest = census.largest(200);
        assert_eq!((largest.len(), largest[0].1, largest[199].1), (200, 300, 101));
        let totals = census.totals();
        assert_eq!((totals.rss, totals.processes), (300 * 301 / 2, 600));
        assert!((totals.lease_used - 0.1).abs() < 1e-9, "{totals:?}");
        census.meet(usage("x", 1, u64::MAX, 1), at(1_000));
        census.meet(usage("y", 1, u64::MAX, 1), at(1_000));
        assert_eq!(census.totals().rss, u64::MAX);
        census.meet(usage(&"z".repeat(1 << 20), 1, 1, 1), at(1_000));
        assert!(
            census.largest(999).iter().all(|(id, _)| id.len() < 10),
            "an id that is none of ours has no series"
        );
    }

    #[test]
    fn a_lease_that_is_over_or_says_nothing_of_beats_is_not_counted_as_used() {
        let mut late = usage("a", 1, 1, 1);
        assert_eq!(lease_used(&late, at(1_900)), None);
        late.lease_end = Some(at(9_000));
        assert_eq!(lease_used(&late, at(1_000)), Some(0.0));
        late.lease_ms = None;
        assert_eq!(lease_used(&late, at(1_000)), None);
    }
}
