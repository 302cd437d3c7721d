//! Events about children, as the loop receives them.

use std::process::ExitStatus;

use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::Fate;

/// An event from one of our own tasks. An agent is named by its sprint's position in the plan and its own in the
/// sprint.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// A child's process has ended.
    Exited { sprint: usize, agent: usize, status: std::io::Result<ExitStatus> },
    /// Everything that follows an exit is done.
    EndedLife { sprint: usize, agent: usize, ended: Option<EndedLife> },
}

/// A life that is over, with what was proven of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedLife {
    pub(crate) life: Incarnation,
    pub(crate) fate: Fate,
}
