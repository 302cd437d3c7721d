//! The handle of one life of a coordinator: its sprints and their agents.

mod agents;
pub(crate) mod epics;
pub(crate) mod sprints;
pub(crate) mod tasks;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::{AgentRecord, Order};

use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::removal::{Reap, ReapOutcome};
use crate::roles::CoordinatorStore;
use crate::scripts::AgentAdopt;

impl CoordinatorStore {
    /// Gives an order to this life of an agent. `false` if that life is not there.
    pub async fn order(
        &self,
        id: &str,
        life: Incarnation,
        order: Order,
        why: StopCause,
    ) -> Result<bool, StoreError> {
        self.store.order(id, Some(life), order, why).await
    }

    /// Adopts a living agent of an earlier coordinator of the epic. `false` if that life is not there, or not of ours.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn adopt_agent(&self, id: &AgentId, life: Incarnation) -> Result<Fenced<bool>, StoreError> {
        let keys = self.store.keys();
        let names = AgentAdopt {
            agent_state: keys.state(id.as_str()),
            command: keys.command(id.as_str()),
            children: keys.children(self.life.id.as_str()),
        };
        let args = vec![
            id.as_str().into(),
            life.to_string().into(),
            self.life.id.as_str().into(),
            StopCause::CoordinatorLost.as_str().into(),
            self.store.wire.as_str().into(),
        ];
        let reply = self.store.run_fenced(&self.life, names, args).await?;
        if reply.word() == "gone" {
            return Ok(Fenced::Ok(false));
        }
        fenced(&reply)?.try_map(|| Ok(true))
    }

    /// Removes a life whose end is proven or whose lease is over, which the script checks itself. A living agent stays.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; the next call goes on from
    /// there.
    pub async fn reap_over(
        &self,
        id: &str,
        record: &AgentRecord,
        reason: Reason,
        process: ProcessFate,
    ) -> Result<ReapOutcome, StoreError> {
        let reap = Reap { process, ..Reap::of_life(id, record, reason, self.life.id.as_str()) };
        self.store.reap(&reap).await
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
}
