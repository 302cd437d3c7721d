//! Keeps `agents:active`, `agents:leases` and the records in agreement.
//!
//! Agents on the plain protocol list themselves and take themselves off the list, and know of no lease. And an index
//! may be lost. An agent that is listed gets a lease. An agent that left loses its lease, and the keys it left behind.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lifecycle_core::sweep::observation::{IndexReading, Suspect};
use lifecycle_core::wire::metric::{self, IndexGap};
use lifecycle_redis::{Differences, StoreError};
use tokio::time::sleep;

use crate::events::Wake;
use crate::pass::report::named;
use crate::sweeper::Sweeper;

/// Time to the next try when the records could not be compared.
const RETRY: Duration = Duration::from_secs(5);

impl Sweeper {
    /// Compares the indexes when their counts say that there may be something new, or when asked to.
    pub(crate) async fn differences(
        &self,
        seen: &IndexReading,
        compare: bool,
    ) -> Result<Differences, StoreError> {
        if !compare && difference(seen) == self.accepted.load(Ordering::Relaxed) {
            return Ok(Differences::default());
        }
        let found = self.store.compare_indexes(seen.now).await?;
        for id in &found.unusable {
            self.report_strange(id);
        }
        // A difference that can be repaired is accepted only after the repair. A store that refuses the repair (for
        // want of a right, say) is asked again by the next pass, not only by the next reconcile.
        if found.unleased.is_empty() && found.left.is_empty() {
            self.accept(seen);
        }
        Ok(found)
    }

    /// The remaining difference cannot be repaired, so it is no reason to compare again.
    pub(crate) fn accept(&self, seen: &IndexReading) {
        self.accepted.store(difference(seen), Ordering::Relaxed);
    }

    /// Gives leases to agents that have none. For a plain agent this is the normal course. A registered agent had a
    /// lease that an index lost.
    pub(crate) async fn watch_again(&self, unleased: &[Suspect]) -> Result<(), StoreError> {
        let (lost, new): (Vec<Suspect>, Vec<Suspect>) =
            unleased.iter().cloned().partition(|suspect| suspect.record.is_some());
        self.store.adopt(&new).await?;
        let restored = self.store.adopt(&lost).await?;
        metrics::counter!(metric::RECONCILED, "finding" => IndexGap::Unleased.as_str()).increment(restored);
        Ok(())
    }

    /// Forgets plain agents that left. Returns how many keys they had left behind.
    pub(crate) async fn forget(&self, left: &[Suspect]) -> Result<u64, StoreError> {
        if left.is_empty() {
            return Ok(0);
        }
        let ids: Vec<&str> = left.iter().map(|suspect| suspect.id.as_str()).collect();
        let left_behind = self.store.left_behind(&ids).await?;
        let mut removed = 0;
        for id in ids {
            let keys = left_behind.get(id).map(Vec::as_slice).unwrap_or_default();
            if let Some(keys) = self.store.forget(id, keys).await? {
                tracing::debug!(agent = ?named(id), keys, "forgotten: a plain agent left");
                removed += keys;
            }
        }
        Ok(removed)
    }

    /// Looks for registered agents that neither index has, and for keys that are left behind: now and every
    /// `sweep.reconcile_interval`. It has its own task because it reads the name of every key, and no pass should wait
    /// for it.
    pub(crate) async fn keep_reconciled(&self, wake: &Wake) -> Infallible {
        loop {
            let wait = match self.reconcile_all(wake).await {
                Ok(()) => self.settings().sweep.reconcile_interval,
                Err(error) => {
                    tracing::debug!(%error, "records and indexes could not be compared");
                    RETRY
                }
            };
            sleep(wait).await;
        }
    }

    /// Restores the agents that the indexes lost first, so that their keys are not taken for residue.
    async fn reconcile_all(&self, wake: &Wake) -> Result<(), StoreError> {
        let restored = self.reconcile().await?;
        if restored > 0 {
            tracing::warn!(
                restored,
                "unindexed: registered agents were missing from the indexes and are watched again"
            );
            wake.now.notify_one();
        }
        let keys = self.count_residue().await?;
        if keys > 0 {
            tracing::warn!(
                keys,
                "residue: keys are left behind without a living owner; `lifecyclectl verify` names them"
            );
        }
        self.found_residue(keys);
        Ok(())
    }

    /// Puts registered agents back that the indexes lost. Returns how many.
    pub(crate) async fn reconcile(&self) -> Result<u64, StoreError> {
        let lost = self.store.unlisted(self.store.server_time().await?).await?;
        let restored = self.store.adopt(&lost).await?;
        metrics::counter!(metric::RECONCILED, "finding" => IndexGap::Unindexed.as_str()).increment(restored);
        Ok(restored)
    }
}

fn difference(seen: &IndexReading) -> i64 {
    i64::try_from(seen.active).unwrap_or(i64::MAX) - i64::try_from(seen.leases).unwrap_or(i64::MAX)
}
