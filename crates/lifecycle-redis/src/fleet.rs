//! Reading the fleet: who is there, what they own, what was done to whom.

use std::collections::HashMap;

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::types::Value;
use lifecycle_core::codec::decode;
use lifecycle_core::record::{AgentRecord, Heartbeat};

use crate::error::StoreError;
use crate::reply::{fields, number, scores, text};
use crate::store::Store;

/// One agent as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    /// Its id, as found.
    pub id: String,
    /// End of its lease in ms of server time; `None` if it has none (yet).
    pub lease_end: Option<u64>,
    /// Its registration; `None` for an agent on the seed's plain protocol.
    pub record: Option<AgentRecord>,
    /// Its last beat, if it can be read.
    pub beat: Option<Heartbeat>,
}

/// One entry of `agents:log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Stream id; its first part is the server time in ms.
    pub id: String,
    /// What was written.
    pub fields: HashMap<String, String>,
}

impl Store {
    /// Every agent in either index, by id.
    ///
    /// # Errors
    /// As the store says.
    pub async fn fleet(&self) -> Result<Vec<AgentView>, StoreError> {
        let members: Vec<String> = self.client.smembers(self.keys().active()).await?;
        let leases: Value = self.client.zrange(self.keys().leases(), 0, -1, None, false, None, true).await?;
        let leases: HashMap<String, u64> = scores(leases).into_iter().collect();
        let mut ids: Vec<String> = members.into_iter().chain(leases.keys().cloned()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut fleet = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(500) {
            let pipeline = self.client.pipeline();
            for id in chunk {
                let () = pipeline.hgetall(self.keys().state(id)).await?;
                // No more than a beat can be: somebody may have put 10 MB there.
                let () = pipeline.getrange(self.keys().heartbeat(id), 0, lifecycle_core::codec::MAX_DECODED_LEN).await?;
            }
            let replies = pipeline.try_all::<Value>().await;
            for (id, reply) in chunk.iter().zip(replies.chunks(2)) {
                let [state, beat] = reply else { continue };
                fleet.push(AgentView {
                    id: id.clone(),
                    lease_end: leases.get(id).copied(),
                    record: readable(state)?.and_then(|state| AgentRecord::from_fields(&fields(state))),
                    beat: readable(beat)?.and_then(|beat| decode(beat.as_bytes()?).ok()),
                });
            }
        }
        Ok(fleet)
    }

    /// One agent; `None` if it is in no index.
    ///
    /// # Errors
    /// As the store says.
    pub async fn agent(&self, id: &str) -> Result<Option<AgentView>, StoreError> {
        let lease: Value = self.client.zscore(self.keys().leases(), id).await?;
        let lease_end = number(&lease);
        let active: bool = self.client.sismember(self.keys().active(), id).await?;
        let record = self.record(id).await?;
        if lease_end.is_none() && !active && record.is_none() {
            return Ok(None);
        }
        let beat: Value = self
            .client
            .getrange(self.keys().heartbeat(id), 0, lifecycle_core::codec::MAX_DECODED_LEN)
            .await
            .unwrap_or(Value::Null);
        let beat = beat.as_bytes().and_then(|bytes| decode(bytes).ok());
        Ok(Some(AgentView { id: id.to_string(), lease_end, record, beat }))
    }

    /// The further keys an agent declared as its own, tasks in flight among them.
    ///
    /// # Errors
    /// As the store says.
    pub async fn owned_keys(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let mut owned: Vec<String> = self.client.smembers(self.keys().keys(id)).await?;
        owned.sort_unstable();
        Ok(owned)
    }

    /// The agents an agent spawned.
    ///
    /// # Errors
    /// As the store says.
    pub async fn children(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let mut children: Vec<String> = self.client.smembers(self.keys().children(id)).await?;
        children.sort_unstable();
        Ok(children)
    }

    /// The order an agent has not answered yet.
    ///
    /// # Errors
    /// As the store says.
    pub async fn pending_order(&self, id: &str) -> Result<Option<String>, StoreError> {
        Ok(self.client.get(self.keys().command(id)).await?)
    }

    /// The latest entries of the audit log, newest first.
    ///
    /// # Errors
    /// As the store says.
    pub async fn log(&self, count: u64) -> Result<Vec<LogEntry>, StoreError> {
        let args: Vec<Value> =
            vec![self.keys().log().into(), "+".into(), "-".into(), "COUNT".into(), count.to_string().into()];
        let reply: Value = self.client.custom(fred::cmd!("XREVRANGE"), args).await?;
        let entries = reply.into_array().into_iter().filter_map(|entry| {
            let mut parts = entry.into_array().into_iter();
            Some(LogEntry { id: text(&parts.next()?), fields: fields(parts.next()?) })
        });
        Ok(entries.collect())
    }

    /// What the server says of itself in one section of `INFO`, by name.
    ///
    /// # Errors
    /// As the store says.
    pub async fn server_info(&self, section: &str) -> Result<HashMap<String, String>, StoreError> {
        let info: String = self.client.custom(fred::cmd!("INFO"), vec![section]).await?;
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        Ok(lines.map(|(name, value)| (name.to_string(), value.trim().to_string())).collect())
    }
}

/// `None` where the key holds another type.
fn readable(reply: &Result<Value, fred::error::Error>) -> Result<Option<Value>, StoreError> {
    match reply {
        Ok(value) => Ok(Some(value.clone())),
        Err(error) if error.details().starts_with("WRONGTYPE") => Ok(None),
        Err(error) => Err(error.clone().into()),
    }
}
