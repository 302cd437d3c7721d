//! Reads the fleet: its agents, what they own, and the audit log.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::types::Value;
use lifecycle_core::agent::liveness::SignsOfLife;
use lifecycle_core::agent::plain_lease::{PlainBeat, plain_lease};
use lifecycle_core::wire::codec::{MAX_DECODED_LEN, decode};
use lifecycle_core::wire::record::{AgentRecord, Heartbeat};
use lifecycle_core::wire::time::{HostTime, ServerTime};

use crate::error::StoreError;
use crate::pipeline::{all, value};
use crate::reply::{fields, number, scores, text, time};
use crate::roles::OperatorStore;
use crate::store::Store;

/// One agent as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    /// Its id, as found.
    pub id: String,
    /// Whether it is a member of `agents:active`.
    pub active: bool,
    /// End of its lease; `None` if it has none yet.
    pub lease_end: Option<ServerTime>,
    /// Its registration; `None` for an agent on the plain protocol.
    pub record: Option<AgentRecord>,
    /// Its last beat, if it can be read.
    pub beat: Option<Heartbeat>,
    /// Until when its heartbeat would prove it alive if it had no lease. `None` without a
    /// heartbeat.
    pub heartbeat_until: Option<ServerTime>,
}

impl AgentView {
    /// What decides whether it lives.
    #[must_use]
    pub fn signs_of_life(&self) -> SignsOfLife {
        SignsOfLife {
            active: self.active,
            lease_end: self.lease_end,
            incarnation: self.record.as_ref().map(|record| record.incarnation),
            ended: self.record.as_ref().and_then(|record| record.ended.clone()),
            heartbeat_until: self.heartbeat_until,
        }
    }

    /// When it last beat, for people: by its lease where there is one that tells, and else by its own word.
    #[must_use]
    pub fn last_beat(&self) -> Option<ServerTime> {
        match (&self.record, self.lease_end) {
            // Evidence of exit moves the lease's end. After that the end tells nothing of beats.
            (Some(record), Some(end)) if record.ended.is_none() => {
                Some(end - Duration::from_millis(record.lease_ms))
            }
            _ => self.beat.as_ref()?.timestamp.map(HostTime::taken_at_its_word),
        }
    }
}

/// One entry of `agents:log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Stream id; its first part is the server time in ms.
    pub id: String,
    /// The entry's fields, by name.
    pub fields: HashMap<String, String>,
}

impl OperatorStore {
    /// What an agent declared it depends on.
    pub async fn dependencies(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.store.members(&self.store.keys().deps(id)).await
    }

    /// The order that an agent was given and has not followed yet, as stored.
    pub async fn pending_order(&self, id: &str) -> Result<Option<String>, StoreError> {
        let found = value(&self.store.client.get::<Value, _>(self.store.keys().command(id)).await)?;
        Ok(found.filter(|order| !order.is_null()).map(|order| text(&order)))
    }

    /// How many agents are held, as the last pass recorded it; `None` if nothing is held.
    pub async fn held_agents(&self) -> Result<Option<u64>, StoreError> {
        let found = value(&self.store.client.hget::<Value, _, _>(self.store.keys().hold(), "agents").await)?;
        Ok(found.as_ref().and_then(number))
    }
}

impl Store {
    /// Every agent in either index, by id.
    pub async fn fleet(&self) -> Result<Vec<AgentView>, StoreError> {
        let now = self.server_time().await?;
        let active: HashSet<String> = self.members(&self.keys().active()).await?.into_iter().collect();
        let leases = self.client.zrange(self.keys().leases(), 0, -1, None, false, None, true).await;
        let leases = value(&leases)?.map(scores).unwrap_or_default();
        let leases: HashMap<String, ServerTime> = leases.into_iter().collect();
        let mut ids: Vec<&String> = active.iter().chain(leases.keys()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut fleet = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(500) {
            let pipeline = self.client.pipeline();
            for id in chunk {
                let () = pipeline.hgetall(self.keys().state(id)).await?;
                // Reads no more than a beat can be long: somebody may have put 10 MB there.
                let () = pipeline.getrange(self.keys().heartbeat(id), 0, MAX_DECODED_LEN).await?;
            }
            let replies = all(pipeline.try_all::<Value>().await, chunk.len() * 2)?;
            for (id, reply) in chunk.iter().zip(replies.chunks(2)) {
                let [state, beat] = reply else { continue };
                let beat = self.beat_found(id, beat).await?;
                fleet.push(AgentView {
                    id: (*id).clone(),
                    active: active.contains(*id),
                    lease_end: leases.get(*id).copied(),
                    record: value(state)?.and_then(|state| AgentRecord::from_fields(&fields(state))),
                    heartbeat_until: self.vouches_until(&beat, now),
                    beat: read_beat(beat),
                });
            }
        }
        Ok(fleet)
    }

    /// One agent; `None` if it is in no index and has no record.
    pub async fn view(&self, id: &str) -> Result<Option<AgentView>, StoreError> {
        let now = self.server_time().await?;
        let (active, leases) = (self.keys().active(), self.keys().leases());
        let lease: Value = self.of_key(&leases, self.client.zscore(&leases, id).await).await?;
        let lease_end = time(&lease);
        let active: bool = self.of_key(&active, self.client.sismember(&active, id).await).await?;
        let record = self.record(id).await?;
        if lease_end.is_none() && !active && record.is_none() {
            return Ok(None);
        }
        let beat = self.client.getrange(self.keys().heartbeat(id), 0, MAX_DECODED_LEN).await;
        let beat = self.beat_found(id, &beat).await?;
        let heartbeat_until = self.vouches_until(&beat, now);
        Ok(Some(AgentView {
            id: id.to_string(),
            active,
            lease_end,
            record,
            beat: read_beat(beat),
            heartbeat_until,
        }))
    }

    /// What the reply to a GETRANGE of a heartbeat key tells.
    async fn beat_found(
        &self,
        id: &str,
        reply: &Result<Value, fred::error::Error>,
    ) -> Result<PlainBeat, StoreError> {
        let found = value(reply)?;
        let bytes = found.as_ref().and_then(Value::as_bytes);
        match bytes {
            Some([]) => return Ok(PlainBeat::Missing),
            Some(bytes) => {
                if let Ok(beat) = decode::<Heartbeat>(bytes) {
                    return Ok(PlainBeat::Read { beat: Box::new(beat), expires_at: None });
                }
            }
            None => {}
        }
        let left: i64 = self.client.pttl(self.keys().heartbeat(id)).await?;
        Ok(PlainBeat::Unreadable { expires_in: u64::try_from(left).ok().map(Duration::from_millis) })
    }

    /// By the beat's timestamp alone. Where that is wrong, the lease that sweepers keep for the agent tells more.
    fn vouches_until(&self, beat: &PlainBeat, now: ServerTime) -> Option<ServerTime> {
        (*beat != PlainBeat::Missing).then(|| plain_lease(beat, None, now, self.plain_rule()).end)
    }

    /// The further keys an agent declared as its own, tasks in flight among them.
    pub async fn owned_keys(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.members(&self.keys().keys(id)).await
    }

    /// The agents an agent spawned.
    pub async fn children(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.members(&self.keys().children(id)).await
    }

    /// The members of a set, sorted; none where the key holds another type. Bytes that are no text are replaced.
    async fn members(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let found = value(&self.client.smembers::<Value, _>(key).await)?;
        let mut members: Vec<String> =
            found.map(Value::into_array).unwrap_or_default().iter().map(text).collect();
        members.sort_unstable();
        Ok(members)
    }

    /// The latest entries of the audit log, newest first.
    pub async fn log(&self, count: u64) -> Result<Vec<LogEntry>, StoreError> {
        self.entries(&self.keys().log(), count).await
    }

    /// What the server tells of itself in one section of `INFO`, by name.
    pub async fn server_info(&self, section: &str) -> Result<HashMap<String, String>, StoreError> {
        let info: String = self.client.custom(fred::cmd!("INFO"), vec![section]).await?;
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        Ok(lines.map(|(name, value)| (name.to_string(), value.trim().to_string())).collect())
    }
}

fn read_beat(beat: PlainBeat) -> Option<Heartbeat> {
    match beat {
        PlainBeat::Read { beat, .. } => Some(*beat),
        PlainBeat::Missing | PlainBeat::Unreadable { .. } => None,
    }
}
