//! What a sweeper does to the store: look, lock, mark the end of a pass. What concerns agents on the seed's plain
//! protocol is in `plain`.

use std::collections::HashMap;
use std::time::Duration;

use fred::interfaces::{HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::types::Value;
use futures_util::StreamExt as _;
use futures_util::stream::TryStreamExt as _;
use lifecycle_core::brake::{Hold, HoldReason, is_overdue};
use lifecycle_core::codec::{self, MAX_DECODED_LEN};
use lifecycle_core::liveness::{PlainLease, millis, plain_witness};
use lifecycle_core::record::{AgentRecord, Heartbeat};
use lifecycle_core::sweep::{Candidate, Observation, Watermark};

use crate::agents::{parse_order, text};
use crate::error::{StoreError, is_wrong_type};
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
    /// Whether it is a member of `agents:active`.
    pub listed: bool,
    pub(crate) beat: RawBeat,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum RawBeat {
    #[default]
    Missing,
    Bytes(Vec<u8>),
    Length(u64),
}

impl Suspect {
    /// Whether this is a plain agent that took itself off the list, as the seed's shutdown does, and beats no more.
    /// It left; it did not fall silent.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.plain.is_some() && !self.listed && !self.candidate.has_heartbeat
    }

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
            // Asked for separately, by who has somebody to judge.
            overdue: 0,
        })
    }

    /// Further leases that were over at `now`, oldest first, beyond the `known` oldest.
    ///
    /// # Errors
    /// As the store says.
    pub async fn expired(
        &self,
        now: u64,
        known: usize,
        count: usize,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let range = |number| i64::try_from(number).unwrap_or(i64::MAX);
        // As a number: fred takes text for a bound of names, which the server refuses among scores.
        let until = i64::try_from(now).unwrap_or(i64::MAX);
        let due: Value = self
            .client
            .zrangebyscore(self.keys().leases(), "-inf", until, true, Some((range(known), range(count))))
            .await?;
        Ok(scores(flat(due)))
    }

    /// All that is needed to judge the agents with these ids (and ends of leases), in the same order.
    ///
    /// # Errors
    /// As the store says.
    pub async fn suspects(&self, due: &[(String, u64)], now: u64) -> Result<Vec<Suspect>, StoreError> {
        let mut suspects = Vec::with_capacity(due.len());
        for chunk in due.chunks(PIPELINED) {
            let found = self.candidates(chunk).await?;
            let judged: Vec<Suspect> = futures_util::stream::iter(found)
                .map(|(candidate, length, listed)| self.suspect(candidate, length, listed, now))
                .buffered(IN_FLIGHT)
                .try_collect()
                .await?;
            suspects.extend(judged);
        }
        Ok(suspects)
    }

    /// Each with the length of its heartbeat, and whether it is listed.
    async fn candidates(&self, due: &[(String, u64)]) -> Result<Vec<(Candidate, u64, bool)>, StoreError> {
        let pipeline = self.client.pipeline();
        for (id, _) in due {
            let () = pipeline.hgetall(self.keys().state(id)).await?;
            let () = pipeline.strlen(self.keys().heartbeat(id)).await?;
            let () = pipeline.get(self.keys().command(id)).await?;
            let () = pipeline.sismember(self.keys().active(), id.as_str()).await?;
        }
        let replies = all(pipeline.try_all::<Value>().await, due.len() * 4)?;
        let mut candidates = Vec::with_capacity(due.len());
        for ((id, lease_end), reply) in due.iter().zip(replies.chunks(4)) {
            let [state, beat, order, listed] = reply else { continue };
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
            let listed = value(listed)?.is_some_and(|listed| number(&listed) == Some(1));
            candidates.push((candidate, length, listed));
        }
        Ok(candidates)
    }

    /// How many agents have missed a beat although their lease still runs. Looks at up to `limit` of those whose lease
    /// ends within `longest_ms`. A plain agent's lease is renewed only when it is over, so its heartbeat is read.
    ///
    /// # Errors
    /// As the store says.
    pub async fn overdue(&self, now: u64, longest_ms: u64, limit: i64) -> Result<u64, StoreError> {
        let late = self.running(now, Some(now + longest_ms), limit).await?;
        let lengths = self.with_lease_lengths(late).await?;
        Ok(lengths.iter().filter(|(end, lease)| is_overdue(end.saturating_sub(now), *lease)).count() as u64)
    }

    /// Leases that still run, up to `until`, the first to end first.
    async fn running(
        &self,
        now: u64,
        until: Option<u64>,
        limit: i64,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        // Ends are whole ms. The client takes numbers for scores; of text it makes lexical bounds.
        let bound = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let (first, last) = (bound(now + 1), until.map_or(i64::MAX, bound));
        let page = Some((0, limit));
        Ok(scores(flat(self.client.zrangebyscore(self.keys().leases(), first, last, true, page).await?)))
    }

    /// Ends and lengths of these leases, as of the last beat.
    async fn with_lease_lengths(&self, leases: Vec<(String, u64)>) -> Result<Vec<(u64, u64)>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.client.pipeline();
        for (id, _) in &leases {
            let () = pipeline.hget(self.keys().state(id), "leaseMs").await?;
            let () = pipeline.getrange(self.keys().heartbeat(id), 0, MAX_DECODED_LEN).await?;
        }
        let replies = all(pipeline.try_all::<Value>().await, leases.len() * 2)?;
        let plain = millis(self.settings().sweep.orphan_threshold);
        let ends = leases.iter().zip(replies.chunks(2)).filter_map(|((_, end), replies)| {
            let [length, beat] = replies else { return None };
            if let Some(length) = length.as_ref().ok().and_then(number) {
                return Some((*end, length));
            }
            let beat: Heartbeat = codec::decode(beat.as_ref().ok()?.as_bytes()?).ok()?;
            Some((beat.timestamp? + plain, plain))
        });
        Ok(ends.collect())
    }

    /// When up to `limit` living agents last beat, in ms of server time: the witnesses of a plan.
    ///
    /// # Errors
    /// As the store says.
    pub async fn witnesses(&self, now: u64, limit: i64) -> Result<Vec<u64>, StoreError> {
        let living = self.running(now, None, limit).await?;
        if living.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.client.pipeline();
        for (id, _) in &living {
            let () = pipeline.hget(self.keys().state(id), "leaseMs").await?;
            let () = pipeline.getrange(self.keys().heartbeat(id), 0, MAX_DECODED_LEN).await?;
            let () = pipeline.pttl(self.keys().heartbeat(id)).await?;
        }
        let replies = all(pipeline.try_all::<Value>().await, living.len() * 3)?;
        let ttl = self.settings().heartbeat.ttl;
        let beats = living.iter().zip(replies.chunks(3)).filter_map(|((_, end), replies)| {
            let [length, beat, left] = replies else { return None };
            if let Some(length) = length.as_ref().ok().and_then(number) {
                return Some(end.saturating_sub(length));
            }
            let beat = codec::decode(beat.as_ref().ok()?.as_bytes()?).ok()?;
            plain_witness(&beat, Duration::from_millis(number(left.as_ref().ok()?)?), ttl, now)
        });
        Ok(beats.collect())
    }

    /// Takes the cleanup locks of these agents; one answer each.
    ///
    /// # Errors
    /// As the store says.
    pub async fn lock(
        &self,
        ids: &[&str],
        token: &str,
        steal_after: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        let ttl = text(millis(self.settings().sweep.lock_ttl).max(1));
        let steal = text(millis(steal_after));
        let mut taken = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LOCKED_AT_ONCE) {
            let names = chunk.iter().map(|id| self.keys().cleanup_lock(id)).collect();
            let args = vec![token.into(), ttl.clone(), steal.clone()];
            let reply = self.run(&self.scripts.lock, names, args).await?.into_array();
            if reply.len() != chunk.len() {
                return Err(StoreError::Unexpected(format!(
                    "{} answers for {} locks",
                    reply.len(),
                    chunk.len()
                )));
            }
            taken.extend(reply.iter().map(|answer| number(answer) == Some(1)));
        }
        Ok(taken)
    }

    /// Gives a cleanup lock back.
    ///
    /// # Errors
    /// As the store says. The lock then ends by itself after `sweep.lock_ttl`.
    pub async fn unlock(&self, id: &str, token: &str) -> Result<(), StoreError> {
        self.run(&self.scripts.unlock, vec![self.keys().cleanup_lock(id)], vec![token.into()]).await.map(drop)
    }

    /// Records the end of a pass, and whether anybody was held. `looked_at` is when the pass looked, in ms of
    /// server time: whatever ended since, it has not judged.
    ///
    /// # Errors
    /// As the store says.
    pub async fn end_pass(
        &self,
        by: &str,
        looked_at: u64,
        hold: Option<(&HoldReason, u64)>,
    ) -> Result<HoldChange, StoreError> {
        let names = vec![self.keys().watermark(), self.keys().hold(), self.keys().generation()];
        let (why, held, name) = match hold {
            Some((reason, held)) => (reason.to_string(), held, reason.name()),
            None => (String::new(), 0, ""),
        };
        let forgotten = millis(self.settings().sweep.interval).saturating_mul(10);
        let args = vec![
            by.into(),
            why.into(),
            text(held),
            name.into(),
            self.wire.as_str().into(),
            text(looked_at),
            text(forgotten),
        ];
        let reply = self.run(&self.scripts.watermark, names, args).await?.into_array();
        Ok(match reply.get(1).and_then(Value::as_string).as_deref() {
            Some("held") => HoldChange::Held,
            Some("released") => HoldChange::Released,
            _ => HoldChange::Unchanged,
        })
    }

    /// Takes back that this sweeper is at work.
    ///
    /// # Errors
    /// As the store says. It is missed after a while all the same.
    pub async fn leave_sweep(&self, by: &str) -> Result<(), StoreError> {
        self.run(&self.scripts.leave, vec![self.keys().watermark()], vec![by.into()]).await.map(drop)
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
}

/// How many script calls are on their way at once.
pub(crate) const IN_FLIGHT: usize = 256;
/// How many cleanup locks one script call takes: well under 1 ms.
const LOCKED_AT_ONCE: usize = 100;
/// How many agents are asked for in one pipeline.
pub(crate) const PIPELINED: usize = 500;

/// A pipeline that was not answered as a whole says so in a single error, which must not pass for few answers.
pub(crate) fn all(
    replies: Vec<Result<Value, fred::error::Error>>,
    expected: usize,
) -> Result<Vec<Result<Value, fred::error::Error>>, StoreError> {
    if replies.len() == expected {
        return Ok(replies);
    }
    let given = replies.len();
    Err(match replies.into_iter().find_map(Result::err) {
        Some(error) => error.into(),
        None => StoreError::Unexpected(format!("{given} replies to {expected} commands")),
    })
}

/// A pipelined answer: `None` where the key holds another type.
pub(crate) fn value(reply: &Result<Value, fred::error::Error>) -> Result<Option<Value>, StoreError> {
    match reply {
        Ok(value) => Ok(Some(value.clone())),
        Err(error) if is_wrong_type(error) => Ok(None),
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

fn read_watermark(fields: &HashMap<String, String>) -> Option<Watermark> {
    let number = |name: &str| fields.get(name).and_then(|number| number.parse().ok());
    let mut mark = Watermark {
        at: number("at")?,
        good: number("good"),
        by: fields.get("by").cloned().unwrap_or_default(),
        passes: Vec::new(),
        left: fields.get("leftBy").cloned().zip(number("leftAt")),
    };
    fields.iter().for_each(|(name, value)| mark.note_pass(name, value));
    Some(mark)
}

fn read_hold(fields: &HashMap<String, String>) -> Option<Hold> {
    Some(Hold {
        since: fields.get("since")?.parse().ok()?,
        reason: fields.get("reason").cloned().unwrap_or_default(),
        released_until: fields.get("releasedUntil").and_then(|until| until.parse().ok()),
    })
}
