//! What a sweeper does to the store: look, adopt plain agents, lock, mark the end of a pass.

use std::collections::HashMap;
use std::time::Duration;

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::types::Value;
use fred::types::scan::ScanType;
use futures_util::StreamExt as _;
use futures_util::stream::TryStreamExt as _;
use lifecycle_core::brake::{Hold, HoldReason};
use lifecycle_core::codec::{self, MAX_DECODED_LEN};
use lifecycle_core::keys::KeySchema;
use lifecycle_core::liveness::{PlainBeat, PlainLease, millis, plain_lease};
use lifecycle_core::record::AgentRecord;
use lifecycle_core::sweep::{Candidate, Observation, Watermark};

use crate::agents::{parse_order, text};
use crate::error::StoreError;
use crate::removal::Judged;
use crate::reply::{fields, number, scores};
use crate::store::Store;

/// A candidate with what only the store side needs to know of it.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// What the plan judges.
    pub candidate: Candidate,
    /// For a plain agent: the lease its heartbeat amounts to.
    pub plain: Option<PlainLease>,
    beat: RawBeat,
}

#[derive(Debug, Clone, Default)]
enum RawBeat {
    #[default]
    Missing,
    Bytes(Vec<u8>),
    Length(u64),
}

impl Suspect {
    /// The heartbeat it was judged by, for the reap script to compare.
    #[must_use]
    pub fn judged(&self) -> Judged<'_> {
        match &self.beat {
            RawBeat::Missing => Judged::Missing,
            RawBeat::Bytes(bytes) => Judged::Bytes(bytes),
            RawBeat::Length(length) => Judged::Length(*length),
        }
    }
}

/// What the end of a pass changed about the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldChange {
    /// Nothing.
    Unchanged,
    /// Reaping is held from now on.
    Held,
    /// It is not held any more.
    Released,
}

impl Store {
    /// One look at the indexes.
    ///
    /// # Errors
    /// As the store says.
    pub async fn observe(&self, batch: u32) -> Result<Observation, StoreError> {
        let keys = self.keys();
        let names = vec![keys.active(), keys.leases(), keys.watermark(), keys.hold(), keys.generation()];
        let reply = self.run(&self.scripts.observe, names, vec![text(batch.into())]).await?.into_array();
        let Ok([now, generation, active, leases, expired, due, watermark, hold, next]) =
            <[Value; 9]>::try_from(reply)
        else {
            return Err(StoreError::Unexpected("the observation has another number of parts".into()));
        };
        let count = |value: &Value| number(value).unwrap_or(0);
        Ok(Observation {
            now: count(&now),
            generation: generation.as_string().filter(|marker| !marker.is_empty()),
            active: count(&active),
            leases: count(&leases),
            expired: count(&expired),
            batch: scores(due),
            watermark: read_watermark(&fields(watermark)),
            hold: read_hold(&fields(hold)),
            next_expiry: number(&next),
        })
    }

    /// All that is needed to judge the agents with these ids (and ends of leases).
    ///
    /// # Errors
    /// As the store says.
    pub async fn suspects(&self, due: &[(String, u64)], now: u64) -> Result<Vec<Suspect>, StoreError> {
        let pipeline = self.client.pipeline();
        for (id, _) in due {
            let () = pipeline.hgetall(self.keys().state(id)).await?;
            let () = pipeline.strlen(self.keys().heartbeat(id)).await?;
            let () = pipeline.get(self.keys().command(id)).await?;
        }
        let replies = pipeline.try_all::<Value>().await;
        let mut suspects = Vec::with_capacity(due.len());
        for ((id, lease_end), reply) in due.iter().zip(replies.chunks(3)) {
            let [state, beat, order] = reply else { continue };
            let record = match value(state)? {
                Some(state) => AgentRecord::from_fields(&fields(state)),
                None => None,
            };
            // A heartbeat of another type is there all the same.
            let length = value(beat)?.map_or(1, |length| number(&length).unwrap_or(0));
            let order = value(order)?.and_then(|order| parse_order(&order.as_string()?));
            let candidate = Candidate {
                id: id.clone(),
                lease_end: *lease_end,
                last_seen: record.as_ref().map(|record| lease_end.saturating_sub(record.lease_ms)),
                has_heartbeat: length > 0,
                record,
                order,
            };
            suspects.push(self.suspect(candidate, length, now).await?);
        }
        Ok(suspects)
    }

    async fn suspect(&self, mut candidate: Candidate, length: u64, now: u64) -> Result<Suspect, StoreError> {
        if candidate.record.is_some() {
            return Ok(Suspect { candidate, plain: None, beat: RawBeat::Missing });
        }
        let (beat, raw) = self.plain_beat(&candidate.id, length).await?;
        let lease = plain_lease(&beat, now, self.settings().sweep.orphan_threshold);
        candidate.last_seen = lease.last_seen;
        candidate.lease_end = lease.end.min(now);
        Ok(Suspect { candidate, plain: Some(lease), beat: raw })
    }

    async fn plain_beat(&self, id: &str, length: u64) -> Result<(PlainBeat, RawBeat), StoreError> {
        let key = self.keys().heartbeat(id);
        if length == 0 {
            return Ok((PlainBeat::Missing, RawBeat::Missing));
        }
        let raw = if length > MAX_DECODED_LEN as u64 {
            RawBeat::Length(length)
        } else {
            match self.client.get::<Value, _>(key.as_str()).await {
                Ok(value) => value.into_owned_bytes().map_or(RawBeat::Missing, RawBeat::Bytes),
                Err(error) if error.details().starts_with("WRONGTYPE") => RawBeat::Missing,
                Err(error) => return Err(error.into()),
            }
        };
        if let RawBeat::Bytes(bytes) = &raw
            && let Ok(beat) = codec::decode::<lifecycle_core::record::Heartbeat>(bytes)
            && beat.timestamp.is_some()
        {
            return Ok((PlainBeat::Read(beat), raw));
        }
        let left: i64 = self.client.pttl(key.as_str()).await?;
        tracing::warn!(agent = id, bytes = length, "a heartbeat cannot be read; it counts until its key expires");
        Ok((PlainBeat::Unreadable { expires_in: u64::try_from(left).ok().map(Duration::from_millis) }, raw))
    }

    /// Gives leases to plain agents: members of `agents:active` that have none. Returns how many.
    ///
    /// # Errors
    /// As the store says.
    pub async fn adopt_plain(&self, now: u64) -> Result<u64, StoreError> {
        let members: Vec<String> = self.client.smembers(self.keys().active()).await?;
        let mut adopted = 0;
        for chunk in members.chunks(1_000) {
            let mut args: Vec<Value> = vec![self.keys().leases().into()];
            args.extend(chunk.iter().map(|id| Value::from(id.as_str())));
            let scores: Value = self.client.custom(fred::cmd!("ZMSCORE"), args).await?;
            let without: Vec<(String, u64)> = chunk
                .iter()
                .zip(scores.into_array())
                .filter(|(_, score)| score.is_null())
                .map(|(id, _)| (id.clone(), now))
                .collect();
            for suspect in self.suspects(&without, now).await? {
                let end = match (&suspect.plain, &suspect.candidate.record) {
                    (Some(lease), _) => lease.end,
                    // Registered, but its lease was lost: it gets a whole one.
                    (None, Some(record)) => now + record.lease_ms,
                    (None, None) => continue,
                };
                adopted += u64::from(self.set_lease(&suspect, end, None).await?);
            }
        }
        Ok(adopted)
    }

    /// Renews a plain agent's lease to what its heartbeat amounts to.
    ///
    /// # Errors
    /// As the store says.
    pub async fn renew_plain(&self, suspect: &Suspect, judged_end: u64) -> Result<bool, StoreError> {
        match suspect.plain {
            Some(lease) => self.set_lease(suspect, lease.end, Some(judged_end)).await,
            None => Ok(false),
        }
    }

    async fn set_lease(&self, suspect: &Suspect, end: u64, judged: Option<u64>) -> Result<bool, StoreError> {
        let id = suspect.candidate.id.as_str();
        if suspect.candidate.record.is_some() {
            let added: u64 = self
                .client
                .zadd(
                    self.keys().leases(),
                    Some(fred::types::SetOptions::NX),
                    None,
                    false,
                    false,
                    (precise(end), id),
                )
                .await?;
            return Ok(added == 1);
        }
        let names = vec![self.keys().active(), self.keys().leases(), self.keys().state(id)];
        let args = vec![id.into(), text(end), judged.map_or_else(|| Value::from(""), text)];
        Ok(number(&self.run(&self.scripts.adopt, names, args).await?) == Some(1))
    }

    /// When up to `limit` living agents last beat, in ms of server time: the witnesses of a plan.
    ///
    /// # Errors
    /// As the store says.
    pub async fn witnesses(&self, now: u64, limit: i64) -> Result<Vec<u64>, StoreError> {
        let living: Value = self
            .client
            .zrangebyscore(self.keys().leases(), format!("({now}"), "+inf", true, Some((0, limit)))
            .await?;
        let living = scores(flat(living));
        let pipeline = self.client.pipeline();
        for (id, _) in &living {
            let () = pipeline.hget(self.keys().state(id), "leaseMs").await?;
        }
        let lengths = pipeline.try_all::<Value>().await;
        let beats = living.iter().zip(lengths).filter_map(|((_, end), length)| {
            // No length: a plain agent, whose own clock is no witness.
            Some(end.saturating_sub(number(&length.ok()?)?))
        });
        Ok(beats.collect())
    }

    /// Takes the cleanup locks of these agents; one answer each.
    ///
    /// # Errors
    /// As the store says.
    pub async fn lock(&self, ids: &[&str], token: &str, steal_after: Duration) -> Result<Vec<bool>, StoreError> {
        let ttl = text(millis(self.settings().sweep.lock_ttl).max(1));
        let steal = text(millis(steal_after));
        futures_util::stream::iter(ids)
            .map(|id| {
                let args = vec![token.into(), ttl.clone(), steal.clone()];
                async move {
                    let names = vec![self.keys().cleanup_lock(id)];
                    Ok(number(&self.run(&self.scripts.lock, names, args).await?) == Some(1))
                }
            })
            .buffered(IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Gives a cleanup lock back.
    ///
    /// # Errors
    /// As the store says. The lock then ends by itself after `sweep.lock_ttl`.
    pub async fn unlock(&self, id: &str, token: &str) -> Result<(), StoreError> {
        self.run(&self.scripts.unlock, vec![self.keys().cleanup_lock(id)], vec![token.into()]).await.map(drop)
    }

    /// Records the end of a pass, and whether anybody was held.
    ///
    /// # Errors
    /// As the store says.
    pub async fn end_pass(&self, by: &str, hold: Option<(&HoldReason, u64)>) -> Result<HoldChange, StoreError> {
        let names = vec![self.keys().watermark(), self.keys().hold(), self.keys().generation()];
        let (why, held, name) = match hold {
            Some((reason, held)) => (reason.to_string(), held, reason.name()),
            None => (String::new(), 0, ""),
        };
        let args = vec![by.into(), why.into(), text(held), name.into(), self.wire.as_str().into()];
        let reply = self.run(&self.scripts.watermark, names, args).await?.into_array();
        Ok(match reply.get(1).and_then(Value::as_string).as_deref() {
            Some("held") => HoldChange::Held,
            Some("released") => HoldChange::Released,
            _ => HoldChange::Unchanged,
        })
    }

    /// An operator's word to go on reaping for `period`. Returns why it was held, `None` if it was not.
    ///
    /// # Errors
    /// As the store says.
    pub async fn release_hold(&self, period: Duration) -> Result<Option<String>, StoreError> {
        let args = vec![text(millis(period)), self.wire.as_str().into()];
        let reply = self.run(&self.scripts.hold_release, vec![self.keys().hold()], args).await?.into_array();
        Ok(reply.get(1).and_then(Value::as_string))
    }

    /// Keys that plain agents left behind (`agent:task:<id>…`, `agent:deps:<id>…`, `agent:state:<id>`), by agent: one
    /// SCAN for all of them, compared exactly.
    ///
    /// # Errors
    /// As the store says.
    pub async fn left_behind(&self, ids: &[&str]) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        self.scan_keys(|key| {
            if let Some(owner) = self.keys().plain_owner(key)
                && ids.contains(&owner)
                // The record itself is among the keys every removal names.
                && key != self.keys().state(owner)
            {
                found.entry(owner.to_string()).or_default().push(key.to_string());
            }
        })
        .await?;
        Ok(found)
    }

    /// Calls `see` with every key of the store that could be ours, without blocking it.
    ///
    /// # Errors
    /// As the store says.
    pub async fn scan_keys(&self, mut see: impl FnMut(&str)) -> Result<(), StoreError> {
        let mut cursor: fred::bytes_utils::Str = "0".into();
        loop {
            let (next, page): (fred::bytes_utils::Str, Vec<fred::types::Key>) =
                self.client.scan_page(cursor, "*", Some(1_000), None::<ScanType>).await?;
            page.iter().filter_map(|key| key.as_str()).for_each(&mut see);
            if &*next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }
}

/// How many script calls are on their way at once.
const IN_FLIGHT: usize = 256;

/// A pipelined answer: `None` where the key holds another type.
fn value(reply: &Result<Value, fred::error::Error>) -> Result<Option<Value>, StoreError> {
    match reply {
        Ok(value) => Ok(Some(value.clone())),
        Err(error) if error.details().starts_with("WRONGTYPE") => Ok(None),
        Err(error) => Err(error.clone().into()),
    }
}

/// RESP3 would give pairs; a flat list serves both.
fn flat(value: Value) -> Value {
    Value::Array(
        value
            .into_array()
            .into_iter()
            .flat_map(|item| if item.is_array() { item.into_array() } else { vec![item] })
            .collect(),
    )
}

#[allow(clippy::cast_precision_loss)] // ms of server time need 41 bits.
fn precise(ms: u64) -> f64 {
    ms as f64
}

fn read_watermark(fields: &HashMap<String, String>) -> Option<Watermark> {
    Some(Watermark {
        at: fields.get("at")?.parse().ok()?,
        good: fields.get("good").and_then(|good| good.parse().ok()),
        by: fields.get("by").cloned().unwrap_or_default(),
    })
}

fn read_hold(fields: &HashMap<String, String>) -> Option<Hold> {
    Some(Hold {
        since: fields.get("since")?.parse().ok()?,
        reason: fields.get("reason").cloned().unwrap_or_default(),
        released_until: fields.get("releasedUntil").and_then(|until| until.parse().ok()),
    })
}

/// Whether an id taken from an index can be used in exact key names.
#[must_use]
pub fn is_usable(id: &str) -> bool {
    KeySchema::is_exact(id) && !id.contains('\u{fffd}')
}
