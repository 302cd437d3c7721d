//! An operator: who is there, what they own, what was done to whom.

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
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::operator::fleet::{AgentView, LogEntry};
use crate::removal::{Reap, ReapOutcome};
use crate::roles::OperatorStore;

impl OperatorStore {
    /// Every agent in either index, by id.
    ///
    /// # Errors
    /// As the store says.
    pub async fn fleet(&self) -> Result<Vec<AgentView>, StoreError> {
        self.store.fleet().await
    }

    /// One agent; `None` if it is in no index and has no record.
    ///
    /// # Errors
    /// As the store says.
    pub async fn view(&self, id: &str) -> Result<Option<AgentView>, StoreError> {
        self.store.view(id).await
    }

    /// The further keys an agent declared as its own, tasks in flight among them.
    ///
    /// # Errors
    /// As the store says.
    pub async fn owned_keys(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.store.owned_keys(id).await
    }

    /// The agents an agent spawned.
    ///
    /// # Errors
    /// As the store says.
    pub async fn children(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.store.children(id).await
    }

    /// Every task in flight on an agent, in the order of their names.
    ///
    /// # Errors
    /// As the store says.
    pub async fn assignments(&self, id: &AgentId) -> Result<Vec<Assignment>, StoreError> {
        self.store.assignments(id).await
    }

    /// The sprint's own record; empty when it has not started, is over, or was lost.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprint_state(&self, sprint: &SprintId) -> Result<HashMap<String, String>, StoreError> {
        self.store.sprint_state(sprint).await
    }

    /// The latest entries of the audit log, newest first.
    ///
    /// # Errors
    /// As the store says.
    pub async fn log(&self, count: u64) -> Result<Vec<LogEntry>, StoreError> {
        self.store.log(count).await
    }

    /// Reads all that says who lives, and of these keys (those of them that exist) all that says whose they are.
    ///
    /// # Errors
    /// As the store says.
    pub async fn inventory(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        self.store.inventory(keys).await
    }

    /// Gives an order, delivered in the reply to the agent's next beat (which the event makes come at once).
    /// `false` if that life is not there.
    ///
    /// # Errors
    /// As the store says.
    pub async fn order(&self, id: &str, incarnation: Incarnation, order: Order) -> Result<bool, StoreError> {
        self.store.order(id, Some(incarnation), order, StopCause::Operator).await
    }

    /// Publishes an event; `fill` says what it is about. Nobody may be listening, which is fine.
    ///
    /// # Errors
    /// As the store says.
    pub async fn announce(&self, kind: EventKind, fill: impl FnOnce(&mut Event)) -> Result<(), StoreError> {
        self.store.announce(kind, fill).await
    }

    /// All that is needed to judge one agent.
    ///
    /// # Errors
    /// As the store says.
    pub async fn suspect(
        &self,
        due: (String, ServerTime),
        now: ServerTime,
    ) -> Result<Option<Suspect>, StoreError> {
        Ok(self.store.suspects(&[due], now).await?.pop())
    }

    /// Removes an agent on a person's word, if it is still what it was judged to be; with `force` also if its lease runs.
    /// `by` is who reaps, for the audit log.
    ///
    /// # Errors
    /// As the store says.
    pub async fn reap(&self, suspect: &Suspect, force: bool, by: &str) -> Result<ReapOutcome, StoreError> {
        let id = suspect.id.as_str();
        let left_behind = match suspect.record {
            // It kept a list.
            Some(_) => Vec::new(),
            None => self.store.left_behind(&[id]).await?.remove(id).unwrap_or_default(),
        };
        let reap = Reap { left_behind: &left_behind, force, ..Reap::of(suspect, Reason::Operator, by) };
        self.store.reap(&reap).await
    }

    /// Takes an id that cannot stand in a key name off both indexes, and touches nothing else: the keys that seem to
    /// be its own may be another's. Returns how many entries went; none for an id that is usable.
    ///
    /// # Errors
    /// As the store says. Half of it may be done then; doing it again is harmless.
    pub async fn unlist(&self, id: &str) -> Result<u64, StoreError> {
        self.store.unlist(id).await
    }

    /// The word to go on reaping for `period`. Returns why it was held, `None` if it was not.
    ///
    /// # Errors
    /// As the store says.
    pub async fn release_hold(&self, period: std::time::Duration) -> Result<Option<String>, StoreError> {
        self.store.release_hold(period).await
    }
}
