//! The settings of an agent that is about to register.

use std::time::Duration;

use lifecycle_core::agent::containment::Layers;
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::{AgentId, AgentName, EpicId, InvalidName, SprintId};
use lifecycle_core::wire::record::{Registration, Role};

use crate::process::{ProcessId, place};

/// Who the agent is and how it behaves; see [`crate::Agent::register`].
#[derive(Debug, Clone)]
pub struct AgentSettings {
    pub(crate) id: AgentId,
    pub(crate) role: Role,
    pub(crate) kind: Option<String>,
    pub(crate) parent: Option<AgentId>,
    pub(crate) sprint: Option<SprintId>,
    pub(crate) pool: Option<AgentName>,
    pub(crate) epic: Option<EpicId>,
    pub(crate) lease: Option<Duration>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) containment: Option<Layers>,
    pub(crate) takeover: bool,
    pub(crate) handle_signals: bool,
    pub(crate) settings: Settings,
}

impl AgentSettings {
    /// An agent with this id, and the default settings.
    ///
    /// # Errors
    /// [`InvalidName`] when the id is outside the grammar.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidName> {
        Ok(Self {
            id: AgentId::new(id)?,
            role: Role::Worker,
            kind: None,
            parent: None,
            sprint: None,
            pool: None,
            epic: None,
            lease: None,
            memory_limit: None,
            containment: None,
            takeover: false,
            handle_signals: true,
            settings: Settings::default(),
        })
    }

    /// Where the store is: `redis://[:password@]host[:port][/db]`.
    #[must_use]
    pub fn redis_url(mut self, url: impl Into<String>) -> Self {
        self.settings.redis.url = url.into();
        self
    }

    /// All settings at once; the caller has loaded them.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// What the agent does in the fleet. Default: worker.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// What it is alike to. Agents of one kind share a memory history. Default: the id without a trailing `-<number>`.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// The agent that spawned it. When the parent is lost, this agent finishes what it has in hand, and leaves unless it is adopted.
    #[must_use]
    pub fn parent(mut self, parent: AgentId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// The sprint whose tasks it does. Default: none.
    #[must_use]
    pub fn sprint(mut self, sprint: SprintId) -> Self {
        self.sprint = Some(sprint);
        self
    }

    /// The pool of its sprint that it joins, if no coordinator has started it. Default: none.
    #[must_use]
    pub fn pool(mut self, pool: AgentName) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The epic that it coordinates; only for coordinators.
    #[must_use]
    pub fn epic(mut self, epic: EpicId) -> Self {
        self.epic = Some(epic);
        self
    }

    /// Length of its lease, if not `sweep.orphan_threshold`. At least twice the beat interval.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How much memory the process tree may use, in bytes. It is recorded with each sample, so that a leak's forecast
    /// can say when the limit is reached. Enforcing it is up to the caller.
    #[must_use]
    pub fn memory_limit(mut self, limit: Option<u64>) -> Self {
        self.memory_limit = limit;
        self
    }

    /// What holds the processes that it starts, for its record. Default: nothing is said.
    #[must_use]
    pub fn containment(mut self, layers: Layers) -> Self {
        self.containment = Some(layers);
        self
    }

    /// Whether a living agent of the same id is fenced, instead of this one being refused. Default: no.
    #[must_use]
    pub fn takeover(mut self, takeover: bool) -> Self {
        self.takeover = takeover;
        self
    }

    /// Whether SIGTERM, SIGINT and SIGHUP ask the agent to stop. Default: yes.
    #[must_use]
    pub fn handle_signals(mut self, handle: bool) -> Self {
        self.handle_signals = handle;
        self
    }

    pub(crate) fn registration(&self) -> Registration {
        Registration {
            id: self.id.clone(),
            role: self.role,
            kind: self.kind.clone().unwrap_or_else(|| kind_of(self.id.as_str())),
            parent: self.parent.clone(),
            sprint: self.sprint.clone(),
            pool: self.pool.clone(),
            epic: self.epic.clone(),
            host: host(),
            pid: std::process::id(),
            pid_start: ProcessId::own().map(|process| process.start),
            place: place(),
            containment: self.containment,
            lease: self
                .lease
                .unwrap_or(self.settings.sweep.orphan_threshold)
                .max(self.settings.heartbeat.interval * 2),
        }
    }
}

/// The name of this host.
#[must_use]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn kind_of(id: &str) -> String {
    match id.rsplit_once('-') {
        Some((kind, number)) if !kind.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            kind.into()
        }
        _ => id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_differ_by_a_number_are_of_one_kind() {
        assert_eq!(kind_of("coder-12"), "coder");
        assert_eq!(kind_of("coder-x1"), "coder-x1");
        assert_eq!(kind_of("coder"), "coder");
    }
}
