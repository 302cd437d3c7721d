//! What a sweeper reads of the fleet's memory, and what it writes about it.
//!
//! It reads page by page over the indexes, so that the caller decides how much of a large fleet it looks at in one go.
//! Of each agent it asks for a few fields only.

use std::collections::HashMap;

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use fred::types::{Expiration, Value};
use lifecycle_core::memory::fleet_growth::LeakTurn;
use lifecycle_core::wire::codec::{MAX_DECODED_LEN, decode};
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::memory_records::{MemoryStats, MemoryUsage};
use lifecycle_core::wire::record::{AgentState, Heartbeat};
use lifecycle_core::wire::time::{HostTime, ServerTime, millis};

use crate::error::StoreError;
use crate::pipeline::{PIPELINED, all, value};
use crate::reply::{self, argument, number, scores};
use crate::roles::SweeperStore;
use crate::scripts::LatchLeak;
use crate::store::Store;

/// The largest plausible figure: beyond 2^53 many clients' numbers are not exact, and no memory is that large.
const PLAUSIBLE: u64 = 1 << 53;

/// How far a reading of the indexes has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexCursor {
    /// In `agents:leases`.
    Leases(String),
    /// In `agents:active`, after all leases.
    Active(String),
}

impl Default for IndexCursor {
    fn default() -> Self {
        Self::Leases("0".into())
    }
}

/// The memory of one agent, and what is needed to judge it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentUsage {
    /// Its id, as found.
    pub id: String,
    /// Its life; `None` for an agent on the plain protocol.
    pub incarnation: Option<Incarnation>,
    /// Its kind; empty where that is not known.
    pub kind: String,
    /// Where it is in its life; `None` for an agent on the plain protocol.
    pub state: Option<AgentState>,
    /// End of its lease, if it has one.
    pub lease_end: Option<ServerTime>,
    /// Length of its lease in ms. `None` for plain agents and after evidence of exit, because there the lease's end
    /// tells nothing of beats.
    pub lease_ms: Option<u64>,
    /// Its memory, and when it was written.
    pub memory: Option<(MemoryUsage, Stamp)>,
}

/// When figures were written, by the clock of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The store, with a beat of a registered agent.
    Server(ServerTime),
    /// An agent on the plain protocol.
    Host(HostTime),
}

impl SweeperStore {
    /// Writes down the sample that the fleet's growth is measured against, for other tools. It stays for two windows.
    pub async fn keep_baseline(&self, baseline: &MemoryStats) -> Result<(), StoreError> {
        let lifetime = millis(self.store.settings().memory.leak_window).saturating_mul(2).max(1);
        let lifetime = Expiration::PX(i64::try_from(lifetime).unwrap_or(i64::MAX));
        let bytes = self.store.wire.encode(baseline)?;
        let key = self.store.keys().memory_baseline();
        Ok(self.store.client.set::<(), _, _>(key, bytes.as_slice(), Some(lifetime), None, false).await?)
    }

    /// Takes part in the latch that all sweepers share. The alert is published if no sweeper has seen this episode
    /// before; returns whether it was. A leak that no sweeper saw for a whole window counts as another episode.
    pub async fn latch_leak(&self, turn: LeakTurn, alert: Option<&Event>) -> Result<bool, StoreError> {
        if turn == LeakTurn::Quiet {
            return Ok(false);
        }
        let alert = alert.map(|event| self.store.wire.encode(event)).transpose()?.unwrap_or_default();
        let quiet = argument(millis(self.store.settings().memory.leak_window));
        let args = vec![turn.as_str().into(), quiet, Value::Bytes(alert.into())];
        let reply = self.store.run(LatchLeak { stats: self.store.keys().memory_stats() }, args).await?;
        Ok(number(&reply) == Some(1))
    }
}

impl Store {
    /// The next page of ids in the indexes with the ends of their leases, and the cursor to go on with (`None` at the
    /// end). An agent in both indexes comes twice, and SCAN itself may repeat one.
    pub async fn index_page(
        &self,
        cursor: &IndexCursor,
        count: u32,
    ) -> Result<(Vec<(String, Option<ServerTime>)>, Option<IndexCursor>), StoreError> {
        let (command, key, at) = match cursor {
            IndexCursor::Leases(at) => (fred::cmd!("ZSCAN"), self.keys().leases(), at),
            IndexCursor::Active(at) => (fred::cmd!("SSCAN"), self.keys().active(), at),
        };
        let args: Vec<Value> = vec![key.into(), at.as_str().into(), "COUNT".into(), argument(count.into())];
        // Another type under the name of an index costs that index, not the whole reading.
        let reply = value(&self.client.custom::<Value, Value>(command, args).await)?;
        let mut parts = reply.map(Value::into_array).unwrap_or_default().into_iter();
        let next = parts.next().map_or_else(|| "0".to_string(), |next| reply::text(&next));
        let page = parts.next().unwrap_or_else(|| Value::Array(Vec::new()));
        let is_end = next == "0";
        Ok(match cursor {
            IndexCursor::Leases(_) => {
                let next = if is_end { IndexCursor::Active(next) } else { IndexCursor::Leases(next) };
                let leases = scores(page).into_iter().map(|(id, end)| (id, Some(end)));
                (leases.collect(), Some(next))
            }
            IndexCursor::Active(_) => {
                let ids = page.into_array().iter().map(|id| (reply::text(id), None)).collect();
                (ids, (!is_end).then_some(IndexCursor::Active(next)))
            }
        })
    }

    /// The memory of each of these agents (id and end of lease), in the same order.
    pub async fn agent_usage(
        &self,
        agents: &[(String, Option<ServerTime>)],
    ) -> Result<Vec<AgentUsage>, StoreError> {
        let mut usages = Vec::with_capacity(agents.len());
        for chunk in agents.chunks(PIPELINED) {
            let pipeline = self.client.pipeline();
            for (id, _) in chunk {
                let () = pipeline.hmget(self.keys().state(id), RECORD_FIELDS.to_vec()).await?;
                let () = pipeline.hmget(self.keys().memory(id), MEMORY_FIELDS.to_vec()).await?;
            }
            let replies = all(pipeline.try_all::<Value>().await, chunk.len() * 2)?;
            for ((id, lease_end), replies) in chunk.iter().zip(replies.chunks(2)) {
                let [record, memory] = replies else { continue };
                let record = named(&RECORD_FIELDS, value(record)?);
                let memory = named(&MEMORY_FIELDS, value(memory)?);
                usages.push(read_usage(id, *lease_end, &record, &memory));
            }
        }
        self.read_plain_beats(&mut usages).await?;
        Ok(usages)
    }

    /// A plain agent also reports its memory with each heartbeat, and those figures are fresher.
    async fn read_plain_beats(&self, usages: &mut [AgentUsage]) -> Result<(), StoreError> {
        let mut plain: Vec<&mut AgentUsage> =
            usages.iter_mut().filter(|agent| agent.incarnation.is_none()).collect();
        for chunk in plain.chunks_mut(PIPELINED) {
            let pipeline = self.client.pipeline();
            for agent in chunk.iter() {
                let () = pipeline.getrange(self.keys().heartbeat(&agent.id), 0, MAX_DECODED_LEN).await?;
            }
            let replies = all(pipeline.try_all::<Value>().await, chunk.len())?;
            for (agent, reply) in chunk.iter_mut().zip(&replies) {
                let found = value(reply)?;
                let beat = found
                    .as_ref()
                    .and_then(Value::as_bytes)
                    .and_then(|bytes| decode::<Heartbeat>(bytes).ok());
                let told = beat.and_then(|beat| {
                    let stamp = beat.timestamp.unwrap_or(HostTime::from_host_ms(0));
                    Some((plausible(beat.memory_usage?)?, Stamp::Host(stamp)))
                });
                agent.memory = told.or(agent.memory);
            }
        }
        Ok(())
    }
}

const RECORD_FIELDS: [&str; 5] = ["incarnation", "kind", "state", "leaseMs", "ended"];
/// The field with the time at which the figures were written.
const TIMESTAMP: &str = "timestamp";

const MEMORY_FIELDS: [&str; 9] = {
    let [heap_used, heap_total, rss, external, processes, pss, cgroup, limit] = MemoryUsage::FIELDS;
    [heap_used, heap_total, rss, external, processes, pss, cgroup, limit, TIMESTAMP]
};

/// The fields that are there, by name; empty where the key holds another type.
fn named<const N: usize>(names: &[&'static str; N], values: Option<Value>) -> HashMap<&'static str, Value> {
    let values = values.map(Value::into_array).unwrap_or_default();
    names.iter().copied().zip(values).filter(|(_, value)| !value.is_null()).collect()
}

fn read_usage(
    id: &str,
    lease_end: Option<ServerTime>,
    record: &HashMap<&str, Value>,
    memory: &HashMap<&str, Value>,
) -> AgentUsage {
    let word = |name: &str| record.get(name).map(reply::text);
    let figure = |name: &str| memory.get(name).and_then(number);
    let incarnation: Option<Incarnation> = word("incarnation").and_then(|text| text.parse().ok());
    let usage = plausible(MemoryUsage::from_figures(MemoryUsage::FIELDS.map(figure)));
    let written = figure(TIMESTAMP).unwrap_or(0);
    let stamp = match incarnation {
        Some(_) => Stamp::Server(ServerTime::from_store_ms(written)),
        None => Stamp::Host(HostTime::from_host_ms(written)),
    };
    let has_ended = record.contains_key("ended");
    AgentUsage {
        id: id.to_string(),
        incarnation,
        kind: word("kind").unwrap_or_default(),
        state: incarnation
            .map(|_| word("state").and_then(|word| word.parse().ok()).unwrap_or(AgentState::Starting)),
        lease_end,
        lease_ms: record.get("leaseMs").and_then(number).filter(|_| incarnation.is_some() && !has_ended),
        memory: usage.map(|usage| (usage, stamp)),
    }
}

/// Drops figures that cannot be true. `None` without resident memory, which every process has.
fn plausible(usage: MemoryUsage) -> Option<MemoryUsage> {
    let fine = |figure: Option<u64>| figure.filter(|figure| *figure <= PLAUSIBLE);
    (1..=PLAUSIBLE).contains(&usage.rss).then(|| MemoryUsage::from_figures(usage.figures().map(fine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&'static str, &str)]) -> Option<MemoryUsage> {
        let fields = fields.iter().map(|(name, value)| (*name, Value::from(*value))).collect();
        read_usage("a", None, &HashMap::new(), &fields).memory.map(|(usage, _)| usage)
    }

    #[test]
    fn figures_that_cannot_be_true_are_dropped_and_the_others_stay() {
        for rss in ["-4", "1e99", "much", "", "0", "18446744073709551615", "9007199254740993", "NaN"] {
            assert_eq!(read(&[("rss", rss)]), None, "{rss}");
        }
        let odd = read(&[("rss", "7"), ("heapUsed", "1e99"), ("external", "-1"), ("processes", "all")]);
        assert_eq!(odd, Some(MemoryUsage { rss: 7, ..MemoryUsage::default() }));
        assert_eq!(read(&[("heapUsed", "7")]), None);
    }

    #[test]
    fn a_lease_that_evidence_of_exit_ended_says_nothing_of_beats() {
        let record = |ended: bool| {
            let mut fields =
                HashMap::from([("incarnation", Value::from("7")), ("leaseMs", Value::from("1000"))]);
            if ended {
                fields.insert("ended", Value::from("process_exited"));
            }
            read_usage("a", Some(ServerTime::from_store_ms(1)), &fields, &HashMap::new()).lease_ms
        };
        assert_eq!((record(false), record(true)), (Some(1_000), None));
    }
}
