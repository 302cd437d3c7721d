//! The handle of a sweeper: reads what a pass needs, reaps, and records its passes.

pub(crate) mod fleet_usage;
mod indexes;
pub(crate) mod leases;
mod locks;
pub(crate) mod passes;
pub(crate) mod plain;
mod possible_residue;
mod suspects;
pub(crate) mod trends;
mod witnesses;

use lifecycle_core::wire::event::Event;

use crate::error::StoreError;
use crate::removal::{Reap, ReapOutcome};
use crate::roles::SweeperStore;

impl SweeperStore {
    /// Compare-and-reap: removes an agent if the script still finds what was judged. Running it twice has no further
    /// effect.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; the next pass goes on from
    /// there.
    pub async fn reap(&self, reap: &Reap<'_>) -> Result<ReapOutcome, StoreError> {
        self.store.reap(reap).await
    }

    /// Publishes an event as it is: to all observers, and to the agent it is addressed to.
    pub async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        self.store.publish(event).await
    }
}
