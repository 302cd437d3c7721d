//! What becomes of children, as the loop is told.

use std::process::ExitStatus;

use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::Fate;

/// What a task of our own tells the loop. Agents are named by the position of their sprint and in it.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// A child's process has ended.
    Exited { sprint: usize, agent: usize, status: std::io::Result<ExitStatus> },
    /// Everything that follows an exit is done.
    EndedLife { sprint: usize, agent: usize, ended: Option<EndedLife> },
}

/// A life that is over, and what was proven of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedLife {
    pub(crate) life: Incarnation,
    pub(crate) fate: Fate,
}
