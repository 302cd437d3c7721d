//! Reads the indexes of the fleet.

use std::collections::HashMap;
use std::time::Duration;

use fred::interfaces::SortedSetsInterface;
use fred::types::Value;
use lifecycle_core::sweep::observation::IndexReading;
use lifecycle_core::wire::sweep_records::{Hold, Watermark};
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::pipeline::flat;
use crate::reply::{argument, fields, number, scores, time};
use crate::roles::SweeperStore;
use crate::scripts::Observe;
use crate::store::Store;

impl SweeperStore {
    /// Leases that were over at `now`, oldest first, without the `known` oldest ones.
    pub async fn expired(
        &self,
        now: ServerTime,
        known: usize,
        count: usize,
    ) -> Result<Vec<(String, ServerTime)>, StoreError> {
        let range = |number| i64::try_from(number).unwrap_or(i64::MAX);
        // The bound is a number: fred takes text for a bound of names, and the server refuses that among scores.
        let until = i64::try_from(now.as_ms()).unwrap_or(i64::MAX);
        let due: Value = self
            .store
            .client
            .zrangebyscore(
                self.store.keys().leases(),
                "-inf",
                until,
                true,
                Some((range(known), range(count))),
            )
            .await?;
        Ok(scores(flat(due)))
    }
}

impl Store {
    /// One reading of the indexes, with up to `batch` of the leases that are over.
    pub async fn observe(&self, batch: u32) -> Result<IndexReading, StoreError> {
        let keys = self.keys();
        let names = Observe {
            active: keys.active(),
            leases: keys.leases(),
            watermark: keys.watermark(),
            hold: keys.hold(),
            generation: keys.generation(),
        };
        let reply = self.run(names, vec![argument(batch.into())]).await?.into_array();
        let Ok([now, generation, active, leases, expired, due, watermark, hold, next]) =
            <[Value; 9]>::try_from(reply)
        else {
            return Err(StoreError::Unexpected("the look at the indexes has another number of parts".into()));
        };
        let count = |value: &Value| number(value).unwrap_or(0);
        let now = time(&now).unwrap_or_default();
        Ok(IndexReading {
            now,
            generation: generation.as_string().filter(|marker| !marker.is_empty()),
            active: count(&active),
            leases: count(&leases),
            expired: count(&expired),
            due: scores(due),
            watermark: read_watermark(&fields(watermark)).map(|mark| mark.as_of(now)),
            hold: read_hold(&fields(hold), now),
            next_expiry: time(&next),
        })
    }

    /// Leases that still run and end by `until`, the first to end first.
    pub(crate) async fn running(
        &self,
        now: ServerTime,
        until: Option<ServerTime>,
        limit: i64,
    ) -> Result<Vec<(String, ServerTime)>, StoreError> {
        // Ends are whole ms. The client makes scores of numbers, and lexical bounds of text.
        let bound = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let (first, last) = (bound(now.as_ms() + 1), until.map_or(i64::MAX, |until| bound(until.as_ms())));
        let page = Some((0, limit));
        Ok(scores(flat(self.client.zrangebyscore(self.keys().leases(), first, last, true, page).await?)))
    }
}

fn read_watermark(fields: &HashMap<String, String>) -> Option<Watermark> {
    let time = |name: &str| fields.get(name).and_then(|ms| ms.parse().ok()).map(ServerTime::from_store_ms);
    let mut mark = Watermark {
        at: time("at")?,
        good: time("good"),
        by: fields.get("by").cloned().unwrap_or_default(),
        passes: Vec::new(),
        left: fields.get("leftBy").cloned().zip(time("leftAt")),
    };
    fields.iter().for_each(|(name, value)| mark.note_pass(name, value));
    Some(mark)
}

fn read_hold(fields: &HashMap<String, String>, now: ServerTime) -> Option<Hold> {
    let number = |name: &str| fields.get(name).and_then(|number| number.parse().ok());
    let time = |name: &str| number(name).map(ServerTime::from_store_ms);
    let hold = Hold {
        since: time("since")?,
        kind: fields.get("kind").and_then(|kind| kind.parse().ok()),
        kind_since: time("kindSince"),
        reason: fields.get("reason").cloned().unwrap_or_default(),
        fleet: number("fleet"),
        released_until: time("releasedUntil"),
    };
    Some(hold.as_of(now, number("releasedFor").map(Duration::from_millis)))
}
