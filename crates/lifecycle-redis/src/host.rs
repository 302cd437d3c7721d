//! Whoever sees processes on this host, and says what became of them.

use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::Fate;

use crate::error::StoreError;
use crate::roles::HostStore;

impl HostStore<'_> {
    /// Says that the agent's process was seen to end without a clean release: its lease ends now. `false` if that
    /// life is not there any more.
    ///
    /// # Errors
    /// As the store says.
    pub async fn process_exited(
        &self,
        id: &str,
        incarnation: Incarnation,
        status: &str,
    ) -> Result<bool, StoreError> {
        self.store.process_exited(id, incarnation, status, self.by).await
    }

    /// Says what was proven of the agent's processes, and writes it into the audit log.
    ///
    /// # Errors
    /// As the store says.
    pub async fn acknowledge(
        &self,
        id: &str,
        incarnation: Incarnation,
        fate: &Fate,
    ) -> Result<(), StoreError> {
        self.store.acknowledge(id, incarnation, fate, self.by).await
    }
}
