//! The handle of a process that watches other processes of this host, and reports what became of them.

use lifecycle_core::agent::thing::Account;
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::Fate;

use crate::error::StoreError;
use crate::roles::HostStore;

impl HostStore<'_> {
    /// Reports that the agent's process ended without a clean release. Its lease ends now. `false` if that life is not
    /// there any more.
    pub async fn process_exited(
        &self,
        id: &str,
        incarnation: Incarnation,
        status: &str,
    ) -> Result<bool, StoreError> {
        self.store.process_exited(id, incarnation, status, self.by).await
    }

    /// Reports what was proven of the agent's processes, in an event and in the audit log.
    pub async fn acknowledge(
        &self,
        id: &str,
        incarnation: Incarnation,
        fate: &Fate,
    ) -> Result<(), StoreError> {
        self.acknowledge_all(id, incarnation, fate, &Account::default()).await
    }

    /// The same, with what became of the things that the life owned.
    pub async fn acknowledge_all(
        &self,
        id: &str,
        incarnation: Incarnation,
        fate: &Fate,
        things: &Account,
    ) -> Result<(), StoreError> {
        self.store.acknowledge(id, incarnation, (fate, things), self.by).await
    }
}
