//! The handle of an operator: reads everything, and acts on a person's word.

pub(crate) mod fleet;
pub(crate) mod inventory;
mod memory_reads;
pub(crate) mod sprints;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::removal::{Reap, ReapOutcome};
use crate::roles::OperatorStore;

impl OperatorStore {
    /// Gives an order. The agent learns of it in the reply to its next beat, which the event makes come at once.
    /// `false` if that life is not there.
    pub async fn order(&self, id: &str, incarnation: Incarnation, order: Order) -> Result<bool, StoreError> {
        self.store.order(id, Some(incarnation), order, StopCause::Operator).await
    }

    /// Publishes an event about an agent, and a life of it where one is known. It is lost if nobody listens, which does no
    /// harm.
    pub async fn announce(
        &self,
        id: &str,
        life: Option<Incarnation>,
        payload: Payload,
    ) -> Result<(), StoreError> {
        self.store.announce(id, life, payload).await
    }

    /// Reads all that is needed to judge one agent.
    pub async fn suspect(
        &self,
        due: (String, ServerTime),
        now: ServerTime,
    ) -> Result<Option<Suspect>, StoreError> {
        Ok(self.store.suspects(&[due], now).await?.pop())
    }

    /// Removes an agent on a person's word, if the script still finds what was judged. With `force`, also if its lease
    /// runs. `by` is named in the audit log.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; doing it again goes on from
    /// there.
    pub async fn reap(&self, suspect: &Suspect, force: bool, by: &str) -> Result<ReapOutcome, StoreError> {
        let left_behind = self.store.left_behind_by([suspect]).await?.remove(&suspect.id).unwrap_or_default();
        let reap = Reap { left_behind: &left_behind, force, ..Reap::of(suspect, Reason::Operator, by) };
        self.store.reap(&reap).await
    }
}
