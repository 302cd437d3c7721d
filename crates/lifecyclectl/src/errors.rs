//! The exit codes of store errors, and the error for an agent that is not there.

use anyhow::anyhow;
use lifecycle_cli::exit::{self, ExitWith as _};
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_redis::{LogEntry, OperatorStore, StoreError};

use crate::wording;

/// Gives an error of the store its exit code. Others keep theirs.
pub(crate) fn with_code(error: anyhow::Error) -> anyhow::Error {
    let Some(cause) = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>()) else {
        return error;
    };
    let code = exit::of_store(cause);
    Err::<(), _>(error).exit_with(code).err().unwrap_or_else(|| anyhow!("the store did not answer"))
}

/// The error for an id that no agent has now; with what became of the last one, if the log still knows.
pub(crate) async fn no_such_agent(store: &OperatorStore, id: &str) -> anyhow::Error {
    match last_word(store, id).await {
        Ok(Some(word)) => anyhow!("there is no agent {id:?} any more: {word}"),
        Ok(None) => anyhow!("there is no agent {id:?}; `lifecyclectl ps` lists those there are"),
        Err(error) => error.into(),
    }
}

async fn last_word(store: &OperatorStore, id: &str) -> Result<Option<String>, StoreError> {
    let now = store.server_time().await?;
    let log = store.log(wording::LOG_DEPTH).await?;
    // An acknowledgement is written after the removal, and does not tell how the agent was removed.
    let is_removal = |entry: &LogEntry| wording::kind_of(entry) != Some(AuditKind::Acknowledge);
    let entry = log.into_iter().find(|entry| wording::is_about(entry, id) && is_removal(entry));
    Ok(entry.map(|entry| wording::farewell(&entry, now)))
}
