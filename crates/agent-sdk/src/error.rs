//! The errors of an agent.

use lifecycle_core::wire::ids::{Incarnation, InvalidName, SprintId};
use lifecycle_redis::StoreError;

/// What went wrong, and what was done by then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentError {
    /// A name breaks the grammar. Nothing was tried.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A living agent has the id. Nothing was written.
    #[error(
        "agent {id} is already registered{} by pid {pid} on {host} and its lease runs for another {lease_left_ms} ms: choose another id, stop that one (lifecyclectl stop {id}), or take over explicitly (agent run --takeover)",
        .incarnation.map(|i| format!(" (incarnation {i})")).unwrap_or_default()
    )]
    Held {
        /// The id that was asked for.
        id: String,
        /// The life that has it; `None` for an agent on the plain protocol.
        incarnation: Option<Incarnation>,
        /// The host on which that agent runs.
        host: String,
        /// Its pid there, or `unknown`.
        pid: String,
        /// How long its lease still runs, in ms.
        lease_left_ms: u64,
    },
    /// The parent is not registered, so no coordinator would look after this agent. Nothing was written.
    #[error("parent {0} is not registered: start it first")]
    NoParent(String),
    /// The sprint has not started or is over. Nothing was written.
    #[error("sprint {0} is not running: start its coordinator first")]
    NoSprint(SprintId),
    /// This life was reaped or replaced. Stop at once; nothing was written.
    #[error("this life of the agent is over (it was reaped or replaced): nothing was written, stop at once")]
    Fenced,
    /// A thing cannot be owned or given up. Nothing was noted.
    #[error("{0}")]
    Thing(String),
    /// The store did not answer, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
