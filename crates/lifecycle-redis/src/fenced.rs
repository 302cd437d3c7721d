//! The writes of one life, and whether they were done.

use lifecycle_core::wire::ids::{AgentId, Incarnation};

use crate::error::StoreError;
use crate::reply::Reply;

/// One life of an agent: every write of the agent carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The agent's id.
    pub id: AgentId,
    /// The number of the life.
    pub incarnation: Incarnation,
    /// The generation marker that the store had when the life registered.
    pub generation: String,
}

/// Whether a fenced write was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced<T> {
    /// It was done.
    Ok(T),
    /// This life was reaped or replaced: stop at once. Nothing was written.
    Fenced,
    /// The store lost its memory: register again under the same incarnation. Nothing was written.
    Unknown,
}

impl<T> Fenced<T> {
    /// Reads the payload of a write that took place.
    pub(crate) fn try_map<U>(
        self,
        read: impl FnOnce() -> Result<U, StoreError>,
    ) -> Result<Fenced<U>, StoreError> {
        Ok(match self {
            Self::Ok(_) => Fenced::Ok(read()?),
            Self::Fenced => Fenced::Fenced,
            Self::Unknown => Fenced::Unknown,
        })
    }
}

/// Reads the three answers every fenced script gives.
pub(crate) fn fenced(reply: &Reply) -> Result<Fenced<()>, StoreError> {
    match reply.word() {
        "ok" => Ok(Fenced::Ok(())),
        "fenced" => Ok(Fenced::Fenced),
        "unknown" => Ok(Fenced::Unknown),
        _ => Err(reply.unexpected()),
    }
}
