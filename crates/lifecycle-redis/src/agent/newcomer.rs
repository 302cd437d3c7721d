//! The handle of a process that is about to be an agent: registers it, and removes what is left of an earlier life of
//! the id.

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
    /// [`StoreError`] when the store does not answer; then it is not known whether the life began.
    pub async fn register(&self, state: AgentState, again: Option<&Life>) -> Result<Registered, StoreError> {
        self.store.register(self.registration, state, again).await
    }

    /// The earlier life of the id, as judged at `now`. `None` only if the store did not tell.
    pub async fn earlier_life(&self, now: ServerTime) -> Result<Option<Suspect>, StoreError> {
        Ok(self.store.suspects(&[(self.registration.id.to_string(), now)], now).await?.pop())
    }

    /// Removes the earlier life, if the script still finds what was judged. With `force`, also if its lease runs.
    pub async fn reap_earlier(
        &self,
        earlier: &Suspect,
        reason: Reason,
        force: bool,
    ) -> Result<ReapOutcome, StoreError> {
        let id = self.registration.id.as_str();
        let left_behind = self.store.left_behind_by([earlier]).await?.remove(id).unwrap_or_default();
        let reap = Reap { left_behind: &left_behind, force, ..Reap::of(earlier, reason, id) };
        self.store.reap(&reap).await
    }

    /// Removes an earlier life that this one has replaced, and that a store which lost its memory still has.
    pub async fn reap_replaced(&self, earlier: &AgentRecord) -> Result<ReapOutcome, StoreError> {
        self.store.reap_replaced(self.registration.id.as_str(), earlier).await
    }
}
