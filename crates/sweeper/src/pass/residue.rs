//! Counts residue: keys of ours that no living agent owns.
//!
//! It judges as `lifecyclectl verify` does, and looks twice: a key that a registration or a cleanup was just about to
//! write or remove is in order at the second look. Agents that are dead and wait for cleanup are counted as orphans,
//! not here. In a large store nearly every key's owner has a running lease. Those keys are sorted out by name, page by
//! page, and only the rest is read and judged.

use lifecycle_core::sweep::residue::{self, Residue, Why};
use lifecycle_redis::StoreError;

use crate::sweeper::Sweeper;

impl Sweeper {
    /// Looks for residue, twice. Returns how many keys are residue.
    pub(crate) async fn count_residue(&self) -> Result<u64, StoreError> {
        let suspects = self.store.possible_residue().await?;
        let first = self.left_behind_of(&suspects).await?;
        if first.is_empty() {
            return Ok(0);
        }
        // A plain agent writes its beat and its membership one after the other. It gets as much time as for a last
        // call.
        tokio::time::sleep(self.settings().sweep.grace).await;
        let mut again = self.left_behind_of(&suspects).await?;
        residue::confirm(&first, &mut again);
        if let Some(finding) = again.first() {
            tracing::debug!(key = finding.key, detail = finding.detail, "a key is left behind");
        }
        Ok(again.len() as u64)
    }

    async fn left_behind_of(&self, keys: &[String]) -> Result<Vec<Residue>, StoreError> {
        let seen = self.store.inventory_of(keys).await?;
        self.let_lost_epics_wait(&seen).await?;
        let mut found = residue::find(self.store.keys(), &seen);
        found.retain(|finding| finding.member.is_none() && finding.why != Why::Orphan);
        Ok(found)
    }
}
