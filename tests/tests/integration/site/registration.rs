//! Who an agent says it is.

use std::time::Duration;

use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::record::{Registration, Role};

use super::{BOSS, epic, sprint};

/// Longer than any test takes.
pub(crate) const LEASE: Duration = Duration::from_secs(600);

/// A worker by itself. Tests write what they change of it: `Registration { lease, ..registration("short") }`.
pub(crate) fn registration(id: &str) -> Registration {
    Registration {
        pool: None,
        id: AgentId::new(id).unwrap(),
        role: Role::Worker,
        kind: "coder".into(),
        parent: None,
        sprint: None,
        epic: None,
        host: "builder".into(),
        pid: 4242,
        pid_start: None,
        place: None,
        containment: None,
        lease: LEASE,
    }
}

pub(crate) fn coordinator_of_the_epic() -> Registration {
    Registration { role: Role::Coordinator, epic: Some(epic()), ..registration(BOSS) }
}

/// A worker of the coordinator's sprint.
pub(crate) fn child_of_the_boss(id: &str) -> Registration {
    let parent = Some(AgentId::new(BOSS).unwrap());
    Registration { parent, sprint: Some(sprint()), ..registration(id) }
}
