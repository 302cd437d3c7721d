//! Bearing witness: saying of an earlier life on this very machine that its process is gone, where that can be proven.

use lifecycle_core::record::AgentRecord;
use lifecycle_redis::{Store, StoreError};

use crate::process::{Tree, end_tree, is_proven_gone, token};

/// A life whose process is proven gone need not be waited for: what its command left running is ended, and its lease ends
/// now. `false` when its end cannot be proven from here, and nothing was done; or when that life is not there any more.
///
/// # Errors
/// As the store says. What was left running is ended all the same.
pub async fn bear(store: &Store, record: &AgentRecord, id: &str, by: &str) -> Result<bool, StoreError> {
    if !is_proven_gone(record) {
        return Ok(false);
    }
    let stragglers = Tree { supervisor: None, token: Some(token(id, record.incarnation)) };
    end_tree(&stragglers, store.settings().shutdown.kill_timeout).await;
    store.process_exited(id, record.incarnation, "gone", by).await
}
