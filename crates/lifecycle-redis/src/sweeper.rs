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

use std::collections::HashMap;

use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::sweep::residue::Inventory;
use lifecycle_core::wire::event::Event;

use crate::error::StoreError;
use crate::removal::{Reap, ReapOutcome};
use crate::roles::SweeperStore;
use crate::sweeper::fleet_usage::{AgentUsage, IndexCursor};

impl SweeperStore {
    /// All that is needed to judge the agents with these ids (and ends of leases), in the same order.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn suspects(&self, due: &[(String, u64)], now: u64) -> Result<Vec<Suspect>, StoreError> {
        self.store.suspects(due, now).await
    }

    /// What plain agents left behind, by agent: their keys, and the sets of others that list them. One SCAN for all of
    /// them; names are compared exactly.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn left_behind(&self, ids: &[&str]) -> Result<HashMap<String, Vec<String>>, StoreError> {
        self.store.left_behind(ids).await
    }

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
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        self.store.publish(event).await
    }

    /// The next page of ids in the indexes with the ends of their leases, and the cursor to go on with (`None` at the
    /// end). An agent in both indexes comes twice, and SCAN itself may repeat one.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn index_page(
        &self,
        cursor: &IndexCursor,
        count: u32,
    ) -> Result<(Vec<(String, Option<u64>)>, Option<IndexCursor>), StoreError> {
        self.store.index_page(cursor, count).await
    }

    /// The memory of each of these agents (id and end of lease), in the same order.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn agent_usage(&self, agents: &[(String, Option<u64>)]) -> Result<Vec<AgentUsage>, StoreError> {
        self.store.agent_usage(agents).await
    }

    /// For a few keys, all that tells whose they are, with those agents of the fleet that can own them.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn inventory_of(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        self.store.inventory_of(keys).await
    }
}
