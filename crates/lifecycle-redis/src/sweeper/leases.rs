//! Leases that lie in the future because the store's clock was set back.

use std::time::Duration;

use fred::interfaces::SortedSetsInterface;
use fred::types::Value;
use lifecycle_core::wire::time::{ServerTime, millis};

use crate::error::StoreError;
use crate::pipeline::flat;
use crate::reply::{argument, number, scores};
use crate::roles::SweeperStore;
use crate::scripts::Shorten;

/// What [`SweeperStore::shorten_leases`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shortened {
    /// How many leases it shortened.
    pub leases: u64,
    /// The longest lease among those that it looked at, in ms.
    pub longest_ms: u64,
}

/// How many leases one script call shortens; it takes well under 1 ms.
const SHORTENED_AT_ONCE: usize = 200;

impl SweeperStore {
    /// Shortens leases that end later than their own length from `now`: they were written before the store's clock was
    /// set back. Looks at up to `limit` leases that end more than `beyond_ms` from `now`, the last to end first.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Some may be shortened already; doing it again is
    /// harmless.
    pub async fn shorten_leases(
        &self,
        now: ServerTime,
        beyond_ms: u64,
        limit: i64,
    ) -> Result<Shortened, StoreError> {
        let beyond = now + Duration::from_millis(beyond_ms);
        let first = i64::try_from(beyond.as_ms().saturating_add(1)).unwrap_or(i64::MAX);
        let page = Some((0, limit));
        let far: Value = self
            .store
            .client
            .zrevrangebyscore(self.store.keys().leases(), i64::MAX, first, true, page)
            .await?;
        let far: Vec<(String, ServerTime)> = scores(flat(far));
        let mut done = Shortened::default();
        for chunk in far.chunks(SHORTENED_AT_ONCE) {
            let mut args = vec![argument(millis(self.store.settings().sweep.orphan_threshold))];
            args.extend(chunk.iter().map(|(id, _)| Value::from(id.as_str())));
            let records = chunk.iter().map(|(id, _)| self.store.keys().state(id));
            let names = Shorten { leases: self.store.keys().leases() };
            let reply = self.store.run_on(names, records, args).await?.into_array();
            let [shortened, longest] = reply.as_slice() else { continue };
            done.leases += number(shortened).unwrap_or(0);
            done.longest_ms = done.longest_ms.max(number(longest).unwrap_or(0));
        }
        Ok(done)
    }
}
