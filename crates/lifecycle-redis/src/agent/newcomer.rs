//! Whoever is about to be an agent: registering, and removing what is left of an earlier life of the id.

use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::{AgentRecord, AgentState};
use lifecycle_core::wire::time::ServerTime;

use crate::agent::life::Registered;
use crate::error::StoreError;
use crate::fenced::Life;
use crate::removal::{Reap, ReapOutcome};
use crate::roles::Newcomer;

impl Newcomer<'_> {
    /// Begins a life, or takes `again` up in a store that lost its memory.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot answer; whether the life began is then not known.
    pub async fn register(&self, state: AgentState, again: Option<&Life>) -> Result<Registered, StoreError> {
        self.store.register(self.registration, state, again).await
    }

    /// The earlier life of the id, as it would be judged at `now`; `None` only where the store says nothing.
    ///
    /// # Errors
    /// As the store says.
    pub async fn earlier_life(&self, now: ServerTime) -> Result<Option<Suspect>, StoreError> {
        Ok(self.store.suspects(&[(self.registration.id.to_string(), now)], now).await?.pop())
    }

    /// Removes the earlier life, if it is still what it was judged to be; with `force` also if its lease runs.
    ///
    /// # Errors
    /// As the store says.
    pub async fn reap_earlier(
        &self,
        earlier: &Suspect,
        reason: Reason,
        force: bool,
    ) -> Result<ReapOutcome, StoreError> {
        let id = self.registration.id.as_str();
        let left_behind = match earlier.record {
            Some(_) => Vec::new(),
            None => self.store.left_behind(&[id]).await?.remove(id).unwrap_or_default(),
        };
        let reap = Reap { left_behind: &left_behind, force, ..Reap::of(earlier, reason, id) };
        self.store.reap(&reap).await
    }

    /// Removes a life that a later one of the id has replaced, and that a store which lost its memory still has.
    ///
    /// # Errors
    /// As the store says.
    pub async fn reap_replaced(&self, earlier: &AgentRecord) -> Result<ReapOutcome, StoreError> {
        self.store.reap_replaced(self.registration.id.as_str(), earlier).await
    }
}
