//! What other agents' beats show: that the store was up, and which agents have missed one.

use fred::interfaces::{HashesInterface, KeysInterface, SortedSetsInterface};
use fred::types::Value;
use lifecycle_core::agent::plain_lease::{plain_last_beat, plain_witness};
use lifecycle_core::sweep::brake::{Witness, is_overdue};
use lifecycle_core::wire::codec;
use lifecycle_core::wire::codec::MAX_DECODED_LEN;
use lifecycle_core::wire::record::Heartbeat;
use lifecycle_core::wire::time::millis;

use crate::error::StoreError;
use crate::pipeline::{all, flat};
use crate::reply::{number, scores};
use crate::roles::SweeperStore;

/// What is known of one agent's beats.
#[derive(Debug, Default)]
struct Beats {
    /// Length of its lease; `None` for a plain agent.
    lease_ms: Option<u64>,
    steady_since: Option<u64>,
    plain: Option<Heartbeat>,
    /// When its heartbeat key expires.
    expires_at: Option<u64>,
}

impl SweeperStore {
    /// How many agents have missed a beat although their lease still runs. Looks at up to `limit` of the leases that
    /// end within `longest_ms`. A plain agent's lease is renewed only when it is over, so its heartbeat is read
    /// instead.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn overdue(&self, now: u64, longest_ms: u64, limit: i64) -> Result<u64, StoreError> {
        let late = self.store.running(now, Some(now + longest_ms), limit).await?;
        let lengths = self.with_lease_lengths(late, now).await?;
        Ok(lengths.iter().filter(|(end, lease)| is_overdue(end.saturating_sub(now), *lease)).count() as u64)
    }

    /// Ends and lengths of these leases, as of each agent's last beat.
    async fn with_lease_lengths(
        &self,
        leases: Vec<(String, u64)>,
        now: u64,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let plain = millis(self.store.settings().sweep.orphan_threshold);
        let lifetime = self.store.settings().heartbeat.ttl;
        let beats = self.beats_of(&leases).await?;
        let ends = leases.iter().zip(beats).filter_map(|((_, end), beat)| {
            if let Some(length) = beat.lease_ms {
                return Some((*end, length));
            }
            Some((plain_last_beat(beat.plain?.timestamp?, beat.expires_at, now, lifetime) + plain, plain))
        });
        Ok(ends.collect())
    }

    /// The witnesses of a plan: what up to twice `limit` living agents' beats show. Half of them are the leases that
    /// end first, because their last beats are the oldest. The other half end last, because those agents certainly
    /// live.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn witnesses(&self, now: u64, limit: i64) -> Result<Vec<Witness>, StoreError> {
        let mut living = self.store.running(now, None, limit).await?;
        let (first, page) = (i64::try_from(now + 1).unwrap_or(i64::MAX), Some((0, limit)));
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
                let last = end.saturating_sub(length);
                return Some(Witness { since: beat.steady_since.unwrap_or(last), last, gap: length / 2 });
            }
            let last = plain_witness(beat.plain?.timestamp?, beat.expires_at?, now, lifetime)?;
            Some(Witness::of_one_beat(last))
        });
        Ok(witnesses.collect())
    }

    /// What is known of the beats of each of these agents, in the same order.
    async fn beats_of(&self, leases: &[(String, u64)]) -> Result<Vec<Beats>, StoreError> {
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
                steady_since: record.get(1).and_then(number),
                plain: beat.as_ref().ok().and_then(|beat| codec::decode(beat.as_bytes()?).ok()),
                expires_at: expires_at.as_ref().ok().and_then(number),
            }
        });
        Ok(beats.collect())
    }
}
