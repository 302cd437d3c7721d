//! What other agents' beats show: that the store was up, and which agents have missed one.

use std::time::Duration;

use fred::interfaces::{HashesInterface, KeysInterface, SortedSetsInterface};
use fred::types::Value;
use lifecycle_core::agent::plain_lease::{plain_last_beat, plain_witness};
use lifecycle_core::sweep::brake::{Witness, is_overdue};
use lifecycle_core::wire::codec;
use lifecycle_core::wire::codec::MAX_DECODED_LEN;
use lifecycle_core::wire::record::Heartbeat;
use lifecycle_core::wire::time::{ServerTime, millis};

use crate::error::StoreError;
use crate::pipeline::{all, flat};
use crate::reply::{number, scores, time};
use crate::roles::SweeperStore;

/// What is known of one agent's beats.
#[derive(Debug, Default)]
struct Beats {
    /// Length of its lease; `None` for a plain agent.
    lease_ms: Option<u64>,
    steady_since: Option<ServerTime>,
    plain: Option<Heartbeat>,
    /// When its heartbeat key expires.
    expires_at: Option<ServerTime>,
}

impl SweeperStore {
    /// How many agents have missed a beat although their lease still runs. Looks at up to `limit` of the leases that
    /// end within `longest_ms`. A plain agent's lease is renewed only when it is over, so its heartbeat is read
    /// instead.
    pub async fn overdue(&self, now: ServerTime, longest_ms: u64, limit: i64) -> Result<u64, StoreError> {
        let until = now + Duration::from_millis(longest_ms);
        let late = self.store.running(now, Some(until), limit).await?;
        let lengths = self.with_lease_lengths(late, now).await?;
        Ok(lengths.iter().filter(|(end, lease)| is_overdue(now.ms_until(*end), *lease)).count() as u64)
    }

    /// Ends and lengths of these leases, as of each agent's last beat.
    async fn with_lease_lengths(
        &self,
        leases: Vec<(String, ServerTime)>,
        now: ServerTime,
    ) -> Result<Vec<(ServerTime, u64)>, StoreError> {
        let plain = self.store.settings().sweep.orphan_threshold;
        let lifetime = self.store.settings().heartbeat.ttl;
        let beats = self.beats_of(&leases).await?;
        let ends = leases.iter().zip(beats).filter_map(|((_, end), beat)| {
            if let Some(length) = beat.lease_ms {
                return Some((*end, length));
            }
            let last = plain_last_beat(beat.plain?.timestamp?, beat.expires_at, now, lifetime);
            Some((last + plain, millis(plain)))
        });
        Ok(ends.collect())
    }

    /// The witnesses of a plan: what up to twice `limit` living agents' beats show. Half of them are the leases that
    /// end first, because their last beats are the oldest. The other half end last, because those agents certainly
    /// live.
    pub async fn witnesses(&self, now: ServerTime, limit: i64) -> Result<Vec<Witness>, StoreError> {
        let mut living = self.store.running(now, None, limit).await?;
        let (first, page) = (i64::try_from(now.as_ms() + 1).unwrap_or(i64::MAX), Some((0, limit)));
        let latest: Value = self
            .store
            .client
            .zrevrangebyscore(self.store.keys().leases(), i64::MAX, first, true, page)
            .await?;
        living.extend(scores(flat(latest)));
        living.sort_unstable();
        living.dedup();
        let lifetime = self.store.settings().heartbeat.ttl;
        let beats = self.beats_of(&living).await?;
        let witnesses = living.iter().zip(beats).filter_map(|((_, end), beat)| {
            if let Some(length) = beat.lease_ms {
                let last = *end - Duration::from_millis(length);
                let (since, gap) = (beat.steady_since.unwrap_or(last), Duration::from_millis(length / 2));
                return Some(Witness { since, last, gap });
            }
            let last = plain_witness(beat.plain?.timestamp?, beat.expires_at?, now, lifetime)?;
            Some(Witness::of_one_beat(last))
        });
        Ok(witnesses.collect())
    }

    /// What is known of the beats of each of these agents, in the same order.
    async fn beats_of(&self, leases: &[(String, ServerTime)]) -> Result<Vec<Beats>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.store.client.pipeline();
        for (id, _) in leases {
            let () = pipeline.hmget(self.store.keys().state(id), vec!["leaseMs", "steadySince"]).await?;
            let () = pipeline.pexpire_time(self.store.keys().heartbeat(id)).await?;
            let () = pipeline.getrange(self.store.keys().heartbeat(id), 0, MAX_DECODED_LEN).await?;
        }
        let replies = all(pipeline.try_all::<Value>().await, leases.len() * 3)?;
        let beats = replies.chunks(3).map(|replies| {
            let [record, expires_at, beat] = replies else { return Beats::default() };
            let record = record.as_ref().map(|record| record.clone().into_array()).unwrap_or_default();
            Beats {
                lease_ms: record.first().and_then(number),
                steady_since: record.get(1).and_then(time),
                plain: beat.as_ref().ok().and_then(|beat| codec::decode(beat.as_bytes()?).ok()),
                expires_at: expires_at.as_ref().ok().and_then(time),
            }
        });
        Ok(beats.collect())
    }
}
