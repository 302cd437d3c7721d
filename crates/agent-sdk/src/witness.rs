//! Bearing witness: reports that the process of an earlier life on this machine is gone, where that can be proven.

use std::time::Duration;

use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::{Fate, ProcessFate};
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_redis::{Store, StoreError};

use crate::process::{Descent, Ender, Subreaper, Tree, is_proven_gone, token};

/// If a life's process is proven gone, ends the processes that its command left running, and ends its lease now.
/// `false` when its end cannot be proven from here, and then nothing was done; or when that life is not there any more.
///
/// # Errors
/// [`StoreError`] when the store does not answer or refuses. The processes were ended all the same.
pub async fn bear(store: &Store, record: &AgentRecord, id: &str, by: &str) -> Result<bool, StoreError> {
    if !is_proven_gone(record) {
        return Ok(false);
    }
    let life = record.incarnation;
    let fate = end_stragglers(id, life, store.settings().shutdown.kill_timeout).await;
    let host = store.host(by);
    let exited = host.process_exited(id, life, "gone");
    if fate.process != ProcessFate::Left {
        return exited.await;
    }
    tracing::error!(agent = id, pids = ?fate.pids, "left: processes of the earlier life of this id could not be ended");
    report(id, host.acknowledge(id, life, &fate), exited).await
}

/// Puts on record what was left, and then reports the exit, which the fleet waits for: it is proven, whether or not the
/// record could be written.
async fn report(
    id: &str,
    on_record: impl Future<Output = Result<(), StoreError>>,
    exited: impl Future<Output = Result<bool, StoreError>>,
) -> Result<bool, StoreError> {
    if let Err(error) = on_record.await {
        tracing::warn!(agent = id, %error, "left: the audit log does not say so");
    }
    exited.await
}

/// Ends every process that carries the token of a life. There may be others without it, so this never counts as proof.
async fn end_stragglers(id: &str, incarnation: Incarnation, kill_after: Duration) -> Fate {
    let stragglers = Tree { descent: Descent::Unknown, token: Some(token(id, incarnation)) };
    match Ender::start(Subreaper::absent()) {
        Ok(ender) => ender.end(stragglers, kill_after).await.fate(false),
        Err(error) => {
            tracing::warn!(agent = id, %error, "unknown: could not look for what the earlier life of this id left running");
            Fate::UNKNOWN
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_exit_is_reported_even_if_what_was_left_cannot_be_put_on_record() {
        let refused = async { Err(StoreError::Unavailable("refused".into())) };
        assert!(report("a", refused, async { Ok(true) }).await.unwrap());
    }
}
