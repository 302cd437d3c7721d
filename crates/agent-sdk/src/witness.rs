//! Bearing witness: saying of an earlier life on this very machine that its process is gone, where that can be proven.

use std::time::Duration;

use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::{Fate, ProcessFate};
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_redis::{Store, StoreError};

use crate::process::{Descent, Ender, Subreaper, Tree, is_proven_gone, token};

/// A life whose process is proven gone need not be waited for: what its command left running is ended, and its lease ends
/// now. `false` when its end cannot be proven from here, and nothing was done; or when that life is not there any more.
///
/// # Errors
/// As the store says. What was left running is ended all the same.
pub async fn bear(store: &Store, record: &AgentRecord, id: &str, by: &str) -> Result<bool, StoreError> {
    if !is_proven_gone(record) {
        return Ok(false);
    }
    let life = record.incarnation;
    let fate = end_stragglers(id, life, store.settings().shutdown.kill_timeout).await;
    if fate.process == ProcessFate::Left {
        tracing::error!(agent = id, pids = ?fate.pids, "processes of the earlier life of this id could not be ended");
        store.host(by).acknowledge(id, life, &fate).await?;
    }
    store.host(by).process_exited(id, life, "gone").await
}

/// Ends whoever carries the token of a life. Nobody can tell that there was no other, so it never counts as proof.
async fn end_stragglers(id: &str, incarnation: Incarnation, kill_after: Duration) -> Fate {
    let stragglers = Tree { descent: Descent::Unknown, token: Some(token(id, incarnation)) };
    match Ender::start(Subreaper::absent()) {
        Ok(ender) => ender.end(stragglers, kill_after).await.fate(false),
        Err(error) => {
            tracing::warn!(agent = id, %error, "could not look for what the earlier life of this id left running");
            Fate::UNKNOWN
        }
    }
}
