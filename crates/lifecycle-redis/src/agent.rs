//! The handle of one life of an agent: beats, tasks, release. Each write is fenced by its incarnation.

pub(crate) mod life;
mod newcomer;
pub(crate) mod tasks;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::Order;

use crate::error::StoreError;
use crate::removal::Removed;
use crate::roles::AgentStore;

impl AgentStore {
    /// A clean end: removes the life with everything it owns, and hands its tasks back at the cost of
    /// [`StopCause::cost`]. `process` is what was proven of the processes it had started. `None` if another process has
    /// removed the life or is removing it.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; calling it again goes on from
    /// there.
    pub async fn release(
        &self,
        cause: StopCause,
        process: ProcessFate,
    ) -> Result<Option<Removed>, StoreError> {
        self.store.release(&self.life, cause, process).await
    }

    /// Gives the agent an order itself, where everybody sees it. `false` if its life is not there any more.
    pub async fn order_itself(&self, order: Order, why: StopCause) -> Result<bool, StoreError> {
        let life = &self.life;
        self.store.order(life.id.as_str(), Some(life.incarnation), order, why).await
    }

    /// Publishes an event about the agent. It is lost if nobody listens, which does no harm.
    pub async fn announce(&self, payload: Payload) -> Result<(), StoreError> {
        self.store.announce(self.life.id.as_str(), Some(self.life.incarnation), payload).await
    }
}
