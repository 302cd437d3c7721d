//! Epics that wait for a coordinator: removed when nobody went on with them in time. And epics that lost theirs.

use lifecycle_core::sweep::residue;
use lifecycle_core::wire::ids::EpicId;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::StoreError;

use crate::sweeper::Sweeper;

impl Sweeper {
    /// Removes the epics that have waited for longer than they are kept.
    pub(crate) async fn expire_epics(&self, now: ServerTime) -> Result<(), StoreError> {
        for (epic, keys) in self.store.expire_epics(now, self.id()).await? {
            tracing::warn!(%epic, keys, "expired: nobody went on with the epic in time; its records are removed");
        }
        Ok(())
    }

    /// Lets those epics wait that run by their record and whose coordinator is not there. The removal of a coordinator
    /// does that at once, so only a store that went back in time has such epics.
    pub(crate) async fn let_lost_epics_wait(&self, seen: &residue::Inventory) -> Result<(), StoreError> {
        for (name, record) in residue::without_coordinator(seen) {
            let Ok(epic) = EpicId::new(name) else { continue };
            if self.store.let_epic_wait(&epic, record).await? {
                tracing::warn!(%epic, "waiting: the epic had a coordinator by its record, and there is none");
            }
        }
        Ok(())
    }
}
