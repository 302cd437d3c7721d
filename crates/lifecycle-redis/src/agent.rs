//! An agent, for itself: its life and its tasks. Each write is fenced by its incarnation.

pub(crate) mod life;
mod newcomer;
pub(crate) mod tasks;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::task::Assignment;

use crate::error::StoreError;
use crate::removal::Removed;
use crate::roles::AgentStore;

impl AgentStore {
    /// Every task in flight on the agent, in the order of their names.
    ///
    /// # Errors
    /// As the store says.
    pub async fn assignments(&self) -> Result<Vec<Assignment>, StoreError> {
        self.store.assignments(&self.life.id).await
    }

    /// A clean end: removes the life with everything it owns and hands its tasks back, at the cost of
    /// [`StopCause::cost`]; `process` is what was proven of what it had started. `None` if somebody else has removed it
    /// or is at it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot answer. Calling it again goes on where it stopped.
    pub async fn release(
        &self,
        cause: StopCause,
        process: ProcessFate,
    ) -> Result<Option<Removed>, StoreError> {
        self.store.release(&self.life, cause, process).await
    }

    /// Gives itself an order, where everybody sees it.
    ///
    /// # Errors
    /// As the store says.
    pub async fn order_itself(&self, order: Order, why: StopCause) -> Result<bool, StoreError> {
        let life = &self.life;
        self.store.order(life.id.as_str(), Some(life.incarnation), order, why).await
    }

    /// Says something about itself. Nobody may be listening, which is fine.
    ///
    /// # Errors
    /// As the store says.
    pub async fn announce(&self, payload: Payload) -> Result<(), StoreError> {
        self.store.announce(self.life.id.as_str(), Some(self.life.incarnation), payload).await
    }
}
