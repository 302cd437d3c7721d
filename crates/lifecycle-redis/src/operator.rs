//! The handle of an operator: reads everything, and acts on a person's word.

pub(crate) mod fleet;
pub(crate) mod inventory;
mod memory;
mod sprints;

use std::collections::HashMap;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::sweep::residue::Inventory;
use lifecycle_core::wire::event::{Event, EventKind};
use lifecycle_core::wire::ids::{AgentId, Incarnation, SprintId};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::task::Assignment;

use crate::error::StoreError;
use crate::operator::fleet::{AgentView, LogEntry};
use crate::removal::{Reap, ReapOutcome};
use crate::roles::OperatorStore;

impl OperatorStore {
    /// Every agent in either index, by id.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn fleet(&self) -> Result<Vec<AgentView>, StoreError> {
        self.store.fleet().await
    }

    /// One agent; `None` if it is in no index and has no record.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn view(&self, id: &str) -> Result<Option<AgentView>, StoreError> {
        self.store.view(id).await
    }

    /// The keys outside the schema that an agent declared as its own, and its tasks in flight.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn owned_keys(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.store.owned_keys(id).await
    }

    /// The ids of the agents that this agent spawned.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn children(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.store.children(id).await
    }

    /// Every task in flight on an agent, sorted by task id.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn assignments(&self, id: &AgentId) -> Result<Vec<Assignment>, StoreError> {
        self.store.assignments(id).await
    }

    /// The sprint's own record; empty when it has not started, is over, or was lost.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn sprint_state(&self, sprint: &SprintId) -> Result<HashMap<String, String>, StoreError> {
        self.store.sprint_state(sprint).await
    }

    /// The latest entries of the audit log, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn log(&self, count: u64) -> Result<Vec<LogEntry>, StoreError> {
        self.store.log(count).await
    }

    /// Reads who lives, and of those of `keys` that exist, all that tells whose they are.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn inventory(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        self.store.inventory(keys).await
    }

    /// Gives an order. The agent learns of it in the reply to its next beat, which the event makes come at once.
    /// `false` if that life is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn order(&self, id: &str, incarnation: Incarnation, order: Order) -> Result<bool, StoreError> {
        self.store.order(id, Some(incarnation), order, StopCause::Operator).await
    }

    /// Publishes an event; `fill` sets its fields. It is lost if nobody listens, which does no harm.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn announce(&self, kind: EventKind, fill: impl FnOnce(&mut Event)) -> Result<(), StoreError> {
        self.store.announce(kind, fill).await
    }

    /// Reads all that is needed to judge one agent.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn suspect(&self, due: (String, u64), now: u64) -> Result<Option<Suspect>, StoreError> {
        Ok(self.store.suspects(&[due], now).await?.pop())
    }

    /// Removes an agent on a person's word, if the script still finds what was judged. With `force`, also if its lease
    /// runs. `by` is named in the audit log.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; doing it again goes on from
    /// there.
    pub async fn reap(&self, suspect: &Suspect, force: bool, by: &str) -> Result<ReapOutcome, StoreError> {
        let id = suspect.id.as_str();
        let left_behind = match suspect.record {
            // A registered agent keeps a list of its keys.
            Some(_) => Vec::new(),
            None => self.store.left_behind(&[id]).await?.remove(id).unwrap_or_default(),
        };
        let reap = Reap { left_behind: &left_behind, force, ..Reap::of(suspect, Reason::Operator, by) };
        self.store.reap(&reap).await
    }

    /// Removes an id that cannot stand in a key name from both indexes, and touches nothing else: keys that seem to be
    /// its own may be another agent's. Returns how many entries were removed; none for a usable id.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; doing it again is harmless.
    pub async fn unlist(&self, id: &str) -> Result<u64, StoreError> {
        self.store.unlist(id).await
    }

    /// Allows reaping to go on for `period` although it is held. Returns why it was held; `None` if it was not.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn release_hold(&self, period: std::time::Duration) -> Result<Option<String>, StoreError> {
        self.store.release_hold(period).await
    }
}
