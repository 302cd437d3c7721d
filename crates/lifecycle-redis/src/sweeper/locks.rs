//! Cleanup locks. They save other sweepers work; no decision depends on them.

use std::time::Duration;

use lifecycle_core::wire::time::millis;

use crate::error::StoreError;
use crate::reply::{argument, number};
use crate::roles::SweeperStore;
use crate::scripts::{Lock, Unlock};

/// How many cleanup locks one script call takes; it takes well under 1 ms.
const LOCKED_AT_ONCE: usize = 100;
impl SweeperStore {
    /// Takes the cleanup locks of these agents. One answer for each: whether its lock was taken.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Locks that were taken end after `sweep.lock_ttl`.
    pub async fn lock(
        &self,
        ids: &[&str],
        token: &str,
        steal_after: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        let ttl = argument(millis(self.store.settings().sweep.lock_ttl).max(1));
        let steal = argument(millis(steal_after));
        let mut taken = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LOCKED_AT_ONCE) {
            let locks = chunk.iter().map(|id| self.store.keys().cleanup_lock(id));
            let args = vec![token.into(), ttl.clone(), steal.clone()];
            let reply = self.store.run_on(Lock {}, locks, args).await?.into_array();
            if reply.len() != chunk.len() {
                return Err(StoreError::Unexpected(format!(
                    "{} answers for {} locks",
                    reply.len(),
                    chunk.len()
                )));
            }
            taken.extend(reply.iter().map(|answer| number(answer) == Some(1)));
        }
        Ok(taken)
    }

    /// Gives a cleanup lock back.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. The lock then ends by itself after `sweep.lock_ttl`.
    pub async fn unlock(&self, id: &str, token: &str) -> Result<(), StoreError> {
        self.store
            .run(Unlock { lock: self.store.keys().cleanup_lock(id) }, vec![token.into()])
            .await
            .map(drop)
    }
}
