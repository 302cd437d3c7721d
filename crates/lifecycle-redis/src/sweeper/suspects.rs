//! Reads all that is needed to judge agents whose lease seems to be over.

use std::time::Duration;

use fred::interfaces::{HashesInterface, KeysInterface, SetsInterface};
use fred::types::Value;
use futures_util::{StreamExt as _, TryStreamExt as _};
use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_core::wire::time::ServerTime;

use crate::agent::life::parse_order;
use crate::error::StoreError;
use crate::pipeline::{IN_FLIGHT, PIPELINED, all, value};
use crate::reply::{fields, number};
use crate::store::Store;

impl Store {
    /// All that is needed to judge the agents with these ids (and ends of leases), in the same order.
    pub async fn suspects(
        &self,
        due: &[(String, ServerTime)],
        now: ServerTime,
    ) -> Result<Vec<Suspect>, StoreError> {
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

    /// Each suspect with the length of its heartbeat, which is not read yet.
    async fn read_suspects(&self, due: &[(String, ServerTime)]) -> Result<Vec<(Suspect, u64)>, StoreError> {
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
            // A heartbeat key of another type counts as a heartbeat that is there.
            let length = value(beat)?.map_or(1, |length| number(&length).unwrap_or(0));
            let order = value(order)?.and_then(|order| parse_order(&order.as_string()?));
            suspects.push((
                Suspect {
                    id: id.clone(),
                    lease_end: *lease_end,
                    last_seen: record
                        .as_ref()
                        .map(|record| *lease_end - Duration::from_millis(record.lease_ms)),
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
}
