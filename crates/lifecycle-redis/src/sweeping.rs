//! What a sweeper does to the store: look, lock, mark the end of a pass. What concerns agents on the plain
//! protocol is in `plain`.

use std::collections::HashMap;
use std::time::Duration;

use fred::interfaces::{HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::types::Value;
use futures_util::StreamExt as _;
use futures_util::stream::TryStreamExt as _;
use lifecycle_core::brake::{Hold, Holding, Witness, is_overdue};
use lifecycle_core::codec::{self, MAX_DECODED_LEN};
use lifecycle_core::liveness::{millis, plain_last_beat, plain_witness};
use lifecycle_core::record::{AgentRecord, Heartbeat};
use lifecycle_core::sweep::{Observation, Suspect, Watermark};

use crate::agents::{parse_order, text};
use crate::error::{StoreError, is_wrong_type};
use crate::reply::{fields, number, scores};
use crate::store::Store;

/// What is known of one agent's beats.
#[derive(Debug, Default)]
struct Beats {
    /// Length of its lease; `None` for a plain agent.
    lease_ms: Option<u64>,
    steady_since: Option<u64>,
    plain: Option<Heartbeat>,
    /// When its heartbeat expires.
    expires_at: Option<u64>,
}

/// What [`Store::shorten_leases`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shortened {
    /// How many leases it shortened.
    pub leases: u64,
    /// The longest lease that there is among those it looked at, in ms.
    pub longest_ms: u64,
}

/// What the store granted of the limited rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// How many agents may be reaped.
    pub agents: u64,
    /// When there will be more; zero if nothing was refused, or the hold is over.
    pub more_in: Duration,
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
        let now = count(&now);
        Ok(Observation {
            now,
            generation: generation.as_string().filter(|marker| !marker.is_empty()),
            active: count(&active),
            leases: count(&leases),
            expired: count(&expired),
            batch: scores(due),
            watermark: read_watermark(&fields(watermark)).map(|mark| mark.as_of(now)),
            hold: read_hold(&fields(hold), now),
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
            let found = self.read_suspects(chunk).await?;
            let judged: Vec<Suspect> = futures_util::stream::iter(found)
                .map(|(suspect, length)| self.read_beat_of(suspect, length, now))
                .buffered(IN_FLIGHT)
                .try_collect()
                .await?;
            suspects.extend(judged);
        }
        Ok(suspects)
    }

    /// Each with the length of its heartbeat, which is not read yet.
    async fn read_suspects(&self, due: &[(String, u64)]) -> Result<Vec<(Suspect, u64)>, StoreError> {
        let pipeline = self.client.pipeline();
        for (id, _) in due {
            let () = pipeline.hgetall(self.keys().state(id)).await?;
            let () = pipeline.strlen(self.keys().heartbeat(id)).await?;
            let () = pipeline.get(self.keys().command(id)).await?;
            let () = pipeline.sismember(self.keys().active(), id.as_str()).await?;
        }
        let replies = all(pipeline.try_all::<Value>().await, due.len() * 4)?;
        let mut suspects = Vec::with_capacity(due.len());
        for ((id, lease_end), reply) in due.iter().zip(replies.chunks(4)) {
            let [state, beat, order, listed] = reply else { continue };
            let record = match value(state)? {
                Some(state) => AgentRecord::from_fields(&fields(state)),
                None => None,
            };
            // A heartbeat of another type is there all the same.
            let length = value(beat)?.map_or(1, |length| number(&length).unwrap_or(0));
            let order = value(order)?.and_then(|order| parse_order(&order.as_string()?));
            suspects.push((
                Suspect {
                    id: id.clone(),
                    lease_end: *lease_end,
                    last_seen: record.as_ref().map(|record| lease_end.saturating_sub(record.lease_ms)),
                    has_heartbeat: length > 0,
                    record,
                    order,
                    listed: value(listed)?.is_some_and(|listed| number(&listed) == Some(1)),
                    ..Suspect::default()
                },
                length,
            ));
        }
        Ok(suspects)
    }

    /// How many agents have missed a beat although their lease still runs. Looks at up to `limit` of those whose lease
    /// ends within `longest_ms`. A plain agent's lease is renewed only when it is over, so its heartbeat is read.
    ///
    /// # Errors
    /// As the store says.
    pub async fn overdue(&self, now: u64, longest_ms: u64, limit: i64) -> Result<u64, StoreError> {
        let late = self.running(now, Some(now + longest_ms), limit).await?;
        let lengths = self.with_lease_lengths(late, now).await?;
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
    async fn with_lease_lengths(
        &self,
        leases: Vec<(String, u64)>,
        now: u64,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let plain = millis(self.settings().sweep.orphan_threshold);
        let lifetime = self.settings().heartbeat.ttl;
        let beats = self.beats_of(&leases).await?;
        let ends = leases.iter().zip(beats).filter_map(|((_, end), beat)| {
            if let Some(length) = beat.lease_ms {
                return Some((*end, length));
            }
            Some((plain_last_beat(beat.plain?.timestamp?, beat.expires_at, now, lifetime) + plain, plain))
        });
        Ok(ends.collect())
    }

    /// What up to twice `limit` living agents' beats show: the witnesses of a plan. Those whose leases end first, because
    /// their last beats are the oldest, and those whose leases end last, because they certainly live.
    ///
    /// # Errors
    /// As the store says.
    pub async fn witnesses(&self, now: u64, limit: i64) -> Result<Vec<Witness>, StoreError> {
        let mut living = self.running(now, None, limit).await?;
        let (first, page) = (i64::try_from(now + 1).unwrap_or(i64::MAX), Some((0, limit)));
        let latest: Value =
            self.client.zrevrangebyscore(self.keys().leases(), i64::MAX, first, true, page).await?;
        living.extend(scores(flat(latest)));
        living.sort_unstable();
        living.dedup();
        let lifetime = self.settings().heartbeat.ttl;
        let beats = self.beats_of(&living).await?;
        let witnesses = living.iter().zip(beats).filter_map(|((_, end), beat)| {
            if let Some(length) = beat.lease_ms {
                let last = end.saturating_sub(length);
                return Some(Witness { since: beat.steady_since.unwrap_or(last), last, gap: length / 2 });
            }
            let last = plain_witness(beat.plain?.timestamp?, beat.expires_at?, now, lifetime)?;
            Some(Witness::of_one_beat(last))
        });
        Ok(witnesses.collect())
    }

    /// What is known of these agents' beats, in the same order.
    async fn beats_of(&self, leases: &[(String, u64)]) -> Result<Vec<Beats>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.client.pipeline();
        for (id, _) in leases {
            let () = pipeline.hmget(self.keys().state(id), vec!["leaseMs", "steadySince"]).await?;
            let () = pipeline.pexpire_time(self.keys().heartbeat(id)).await?;
            let () = pipeline.getrange(self.keys().heartbeat(id), 0, MAX_DECODED_LEN).await?;
        }
        let replies = all(pipeline.try_all::<Value>().await, leases.len() * 3)?;
        let beats = replies.chunks(3).map(|replies| {
            let [record, expires_at, beat] = replies else { return Beats::default() };
            let record = record.as_ref().map(|record| record.clone().into_array()).unwrap_or_default();
            Beats {
                lease_ms: record.first().and_then(number),
                steady_since: record.get(1).and_then(number),
                plain: beat.as_ref().ok().and_then(|beat| codec::decode(beat.as_bytes()?).ok()),
                expires_at: expires_at.as_ref().ok().and_then(number),
            }
        });
        Ok(beats.collect())
    }

    /// Shortens leases that end later than their own length from now, of agents whose lease ends more than `beyond_ms` from
    /// `now`: what was written before the store's clock was set back. Looks at up to `limit` of them, the last to end first.
    ///
    /// # Errors
    /// As the store says. What was shortened until then is shortened.
    pub async fn shorten_leases(
        &self,
        now: u64,
        beyond_ms: u64,
        limit: i64,
    ) -> Result<Shortened, StoreError> {
        let first = i64::try_from(now.saturating_add(beyond_ms).saturating_add(1)).unwrap_or(i64::MAX);
        let page = Some((0, limit));
        let far: Value =
            self.client.zrevrangebyscore(self.keys().leases(), i64::MAX, first, true, page).await?;
        let far: Vec<(String, u64)> = scores(flat(far));
        let mut done = Shortened::default();
        for chunk in far.chunks(SHORTENED_AT_ONCE) {
            let mut names = vec![self.keys().leases()];
            let mut args = vec![text(millis(self.settings().sweep.orphan_threshold))];
            for (id, _) in chunk {
                names.push(self.keys().state(id));
                args.push(id.as_str().into());
            }
            let reply = self.run(&self.scripts.shorten, names, args).await?.into_array();
            let [shortened, longest] = reply.as_slice() else { continue };
            done.leases += number(shortened).unwrap_or(0);
            done.longest_ms = done.longest_ms.max(number(longest).unwrap_or(0));
        }
        Ok(done)
    }

    /// Asks for a part of the limited rate at which reaping goes on after a hold; with `only_ask` none is taken.
    ///
    /// # Errors
    /// As the store says.
    pub async fn grant(&self, wanted: u64, a_minute: u64, only_ask: bool) -> Result<Grant, StoreError> {
        let args = vec![text(wanted), text(a_minute), if only_ask { "1" } else { "" }.into()];
        let reply = self.run(&self.scripts.grant, vec![self.keys().hold()], args).await?.into_array();
        let part = |at: usize| reply.get(at).and_then(number).unwrap_or(0);
        Ok(Grant { agents: part(0), more_in: Duration::from_millis(part(1)) })
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
        hold: Option<(&Holding, u64)>,
    ) -> Result<HoldChange, StoreError> {
        let names = vec![self.keys().watermark(), self.keys().hold(), self.keys().generation()];
        let (why, held, name) = match hold {
            Some((holding, held)) => (holding.to_string(), held, holding.reason.kind().as_str()),
            None => (String::new(), 0, ""),
        };
        let forgotten = millis(self.settings().sweep.interval).saturating_mul(10);
        let fleet = hold.map_or(0, |(holding, _)| holding.fleet);
        let args = vec![
            by.into(),
            why.into(),
            text(held),
            name.into(),
            self.wire.as_str().into(),
            text(looked_at),
            text(forgotten),
            text(fleet),
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
/// How many leases one script call shortens: well under 1 ms.
const SHORTENED_AT_ONCE: usize = 200;
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

fn read_hold(fields: &HashMap<String, String>, now: u64) -> Option<Hold> {
    let number = |name: &str| fields.get(name).and_then(|number| number.parse().ok());
    let hold = Hold {
        since: number("since")?,
        kind: fields.get("kind").and_then(|kind| kind.parse().ok()),
        reason: fields.get("reason").cloned().unwrap_or_default(),
        fleet: number("fleet"),
        released_until: number("releasedUntil"),
    };
    Some(hold.as_of(now, number("releasedFor")))
}
