//! The handle of one life of an agent: beats, tasks, release. Each write is fenced by its incarnation.

pub(crate) mod life;
mod newcomer;
pub(crate) mod tasks;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::event::{Event, EventKind};
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::task::Assignment;

use crate::error::StoreError;
use crate::removal::Removed;
use crate::roles::AgentStore;

impl AgentStore {
    /// Every task in flight on the agent, sorted by task id.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn assignments(&self) -> Result<Vec<Assignment>, StoreError> {
        self.store.assignments(&self.life.id).await
    }

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
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn order_itself(&self, order: Order, why: StopCause) -> Result<bool, StoreError> {
        let life = &self.life;
        self.store.order(life.id.as_str(), Some(life.incarnation), order, why).await
    }

    /// Publishes an event about the agent; `fill` sets its fields. It is lost if nobody listens, which does no harm.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn announce(&self, kind: EventKind, fill: impl FnOnce(&mut Event)) -> Result<(), StoreError> {
        let about = |event: &mut Event| {
            event.agent_id = Some(self.life.id.to_string());
            event.incarnation = Some(self.life.incarnation);
            fill(event);
        };
        self.store.announce(kind, about).await
    }
}
