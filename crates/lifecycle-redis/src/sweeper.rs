//! A sweeper: what it observes, and what a pass leaves behind.

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
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::removal::{Reap, ReapOutcome};
use crate::roles::SweeperStore;
use crate::sweeper::fleet_usage::{AgentUsage, IndexCursor};

impl SweeperStore {
    /// All that is needed to judge the agents with these ids (and ends of leases), in the same order.
    ///
    /// # Errors
    /// As the store says.
    pub async fn suspects(
        &self,
        due: &[(String, ServerTime)],
        now: ServerTime,
    ) -> Result<Vec<Suspect>, StoreError> {
        self.store.suspects(due, now).await
    }

    /// What plain agents left behind, by agent: their keys, and the lists of others that they are on. One SCAN for all of
    /// them, compared exactly.
    ///
    /// # Errors
    /// As the store says.
    pub async fn left_behind(&self, ids: &[&str]) -> Result<HashMap<String, Vec<String>>, StoreError> {
        self.store.left_behind(ids).await
    }

    /// Compare-and-reap: removes an agent if it is still what it was judged to be. Running it twice does nothing twice.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot answer; the next pass goes on where it stopped.
    pub async fn reap(&self, reap: &Reap<'_>) -> Result<ReapOutcome, StoreError> {
        self.store.reap(reap).await
    }

    /// Publishes an event as it is: to everybody who observes, and to the agent it is addressed to.
    ///
    /// # Errors
    /// As the store says.
    pub async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        self.store.publish(event).await
    }

    /// The next page of ids in the indexes, with the ends of their leases, and where to go on; `None` at the end.
    /// Whoever is in both indexes is named twice, and SCAN itself may name somebody twice.
    ///
    /// # Errors
    /// As the store says.
    pub async fn index_page(
        &self,
        cursor: &IndexCursor,
        count: u32,
    ) -> Result<(Vec<(String, Option<ServerTime>)>, Option<IndexCursor>), StoreError> {
        self.store.index_page(cursor, count).await
    }

    /// What each of these agents uses (id and end of lease), in the same order.
    ///
    /// # Errors
    /// As the store says.
    pub async fn agent_usage(
        &self,
        agents: &[(String, Option<ServerTime>)],
    ) -> Result<Vec<AgentUsage>, StoreError> {
        self.store.agent_usage(agents).await
    }

    /// Of these keys all that says whose they are, and of the fleet those agents that can be their owners.
    ///
    /// # Errors
    /// As the store says.
    pub async fn inventory_of(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        self.store.inventory_of(keys).await
    }
}
