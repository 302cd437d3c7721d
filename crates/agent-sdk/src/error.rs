//! Why an agent could not do something.

use lifecycle_core::wire::ids::{Incarnation, InvalidName, SprintId};
use lifecycle_redis::StoreError;

/// What went wrong, and what it means.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentError {
    /// A name is outside the grammar. Nothing was tried.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The id is alive elsewhere. Nothing was written.
    #[error(
        "agent {id} is already registered{} by pid {pid} on {host} and its lease runs for another {lease_left_ms} ms: choose another id, stop that one (lifecyclectl stop {id}), or take over explicitly (agent run --takeover)",
        .incarnation.map(|i| format!(" (incarnation {i})")).unwrap_or_default()
    )]
    Held {
        /// The id.
        id: String,
        /// Its life; `None` for an agent on the plain protocol.
        incarnation: Option<Incarnation>,
        /// Where it runs.
        host: String,
        /// Its process there.
        pid: String,
        /// How long its lease still runs.
        lease_left_ms: u64,
    },
    /// The parent is not registered, so nobody would look after this agent. Nothing was written.
    #[error("parent {0} is not registered: start it first")]
    NoParent(String),
    /// The sprint has not started or is over. Nothing was written.
    #[error("sprint {0} is not running: start its coordinator first")]
    NoSprint(SprintId),
    /// This life was reaped or replaced. Stop at once; nothing was written.
    #[error("this life of the agent is over (it was reaped or replaced): nothing was written, stop at once")]
    Fenced,
    /// The store did not answer, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
