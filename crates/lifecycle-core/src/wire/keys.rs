//! The key schema: every Redis key of the product, named once.
//!
//! No other module spells a key. Names are built from validated ids, so an id cannot reach into another id's keys.
//! [`KeySchema::parse`] reads a name back and tells its owner; `verify` asks it of every key in a store.
//!
//! The layout is a property of the connection, not of the callers. [`Layout::Standalone`] uses the names as
//! they are. [`Layout::Tagged`] puts a hash tag in front (`{lc:7}agent:state:coder-1`), so that an agent, its
//! sprint and the indexes they are on share one Redis Cluster slot and every script stays atomic.

use std::fmt;

use crate::wire::ids::{AgentId, EpicId, SprintId, TaskId};
use crate::wire::word_enum::word_enum;

/// The channel that carries [`crate::wire::event::Event`]s: hints, never the truth.
pub const LIFECYCLE_CHANNEL: &str = "agent:lifecycle";
/// What the name of an agent's own channel begins with; see [`agent_channel`].
pub const AGENT_CHANNEL_PREFIX: &str = "agent:lifecycle:";
/// The channel that carries alerts for people.
pub const ALERT_CHANNEL: &str = "system:alerts";

word_enum! {
    /// What a key holds, in the server's own words (`TYPE`).
    KeyType, "type of a key" {
        /// Bytes.
        String = "string",
        /// Values in order.
        List = "list",
        /// Members, each once.
        Set = "set",
        /// Members with a score each.
        SortedSet = "zset",
        /// Fields with a value each.
        Hash = "hash",
        /// Entries that are only appended.
        Stream = "stream",
    }
}

impl KeyType {
    /// With its article, for people: `a list`.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::List => "a list",
            Self::Set => "a set",
            Self::SortedSet => "a sorted set",
            Self::Hash => "a hash",
            Self::Stream => "a stream",
        }
    }
}

/// The channel of one agent, the only one it subscribes to. What is said to this agent is published there as well as on
/// [`LIFECYCLE_CHANNEL`]. An agent that listened to the whole fleet would pay for the beats of all others.
#[must_use]
pub fn agent_channel(agent: &str) -> String {
    format!("{AGENT_CHANNEL_PREFIX}{agent}")
}

/// How key names map to Redis Cluster slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Plain names, for one server (or one with replicas).
    #[default]
    Standalone,
    /// Names behind the hash tag `{lc:<partition>}`.
    Tagged {
        /// Number of the partition, fixed for the life of an agent and its sprint.
        partition: u16,
    },
}

/// Builds and reads key names in one layout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySchema {
    tag: String,
}

// Each macro takes every key of one owner with its type. So the functions that have to know all keys (`parse`, `holds`,
// `every`) cannot miss one that is added.
macro_rules! global_keys {
    ($($(#[$doc:meta])* $name:ident = $key:literal: $type:ident;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(&self) -> String { self.name($key) })*
        const GLOBAL: &'static [(&'static str, KeyType)] = &[$(($key, KeyType::$type)),*];
    };
}

macro_rules! owned_keys {
    ($prefixes:ident of $owner:ident: $id:ty;
     $($(#[$doc:meta])* $name:ident = $prefix:literal: $type:ident;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(&self, $owner: &$id) -> String { self.name(&format!(concat!($prefix, "{}"), $owner)) })*
        const $prefixes: &'static [(&'static str, KeyType)] = &[$(($prefix, KeyType::$type)),*];
    };
}

/// What the names of tasks in flight begin with; `<agent>:<task>` follows.
const TASK: &str = "agent:task:";

impl KeySchema {
    /// The schema for a layout.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        match layout {
            Layout::Standalone => Self::default(),
            Layout::Tagged { partition } => Self { tag: format!("{{lc:{partition}}}") },
        }
    }

    fn name(&self, plain: &str) -> String {
        format!("{}{plain}", self.tag)
    }

    global_keys! {
        /// Set: ids of active agents. No TTL; written by registration and cleanup.
        active = "agents:active": Set;
        /// Sorted set: agent id → end of its lease in ms of server time. No TTL.
        leases = "agents:leases": SortedSet;
        /// Stream, capped: one entry per cleanup. No TTL.
        log = "agents:log": Stream;
        /// String with TTL of two `memory.leak_window`: what the fleet's memory is compared with. Written by sweepers.
        memory_baseline = "memory:baseline": String;
        /// Hash: fleet counters. Written by registration and cleanup, and by sweepers while a leak lasts (`leakSeen`).
        memory_stats = "memory:stats": Hash;
        /// Sorted set: epic → until when it is kept, in ms of server time. The epics that wait for a coordinator.
        epics_waiting = "epics:waiting": SortedSet;
        /// Stream, capped: one entry for each epic that ended. No TTL.
        epics_history = "epics:history": Stream;
        /// Hash: the last pass. Written by sweepers.
        watermark = "sweep:watermark": Hash;
        /// Hash: why reaping is held. Written by sweepers and operators.
        hold = "sweep:hold": Hash;
        /// String: random marker of the store's memory. Another marker means that the store forgot; see
        /// ARCHITECTURE.md, "A life".
        generation = "lifecycle:generation": String;
    }

    // These take `&str`, because an id found in a store may break the grammar. It is only ever used as an exact name.
    owned_keys! {
        AGENT of agent: str;
        /// String with TTL `heartbeat.ttl`: the last beat. Owner: the agent.
        heartbeat = "agent:heartbeat:": String;
        /// Hash with TTL `memory.ttl`: memory figures. Owner: the agent.
        memory = "agent:memory:": Hash;
        /// Hash: the registration. Owner: the agent.
        state = "agent:state:": Hash;
        /// Set: what the agent depends on. Owner: the agent.
        deps = "agent:deps:": Set;
        /// Set: agents it spawned. Owner: the agent.
        children = "agent:children:": Set;
        /// Set: every further key the agent owns. Owner: the agent.
        keys = "agent:keys:": Set;
        /// Hash: name of a thing that is no key (a worktree, a container) → the thing. Owner: the agent; undone by whoever
        /// ends its life on its host.
        things = "agent:things:": Hash;
        /// String: pending order. Owner: the agent; written by its coordinator or an operator.
        command = "agent:command:": String;
        /// String with TTL `sweep.lock_ttl`: token of the sweeper that cleans the agent up.
        cleanup_lock = "cleanup:lock:": String;
        /// String that expires with the heartbeat: when a sweeper first saw this beat of a plain agent, if the beat's
        /// two clocks do not agree. Written by sweepers.
        first_look = "sweep:look:": String;
    }

    /// Hash: a task in flight. Owner: the agent that holds it.
    #[must_use]
    pub fn task(&self, agent: &AgentId, task: &TaskId) -> String {
        format!("{}{task}", self.task_prefix(agent.as_str()))
    }

    /// What the names of an agent's tasks begin with, for exact comparison (an id cannot contain `:`).
    #[must_use]
    pub fn task_prefix(&self, agent: &str) -> String {
        self.name(&format!("{TASK}{agent}:"))
    }

    owned_keys! {
        SPRINT of sprint: SprintId;
        /// Hash: the sprint. Owner: its epic, like all records of sprints.
        sprint_state = "sprint:state:": Hash;
        /// Set: ids of the agents registered for the sprint.
        sprint_agents = "sprint:agents:": Set;
        /// Hash: task id → record. Stays until the epic ends.
        sprint_tasks = "sprint:tasks:": Hash;
        /// List: tasks handed back, oldest first.
        sprint_requeue = "sprint:requeue:": List;
        /// List: what operators and agents left for the coordinator, oldest first.
        sprint_inbox = "sprint:inbox:": List;
        /// Hash: task id → what to do, of the tasks that were added while the epic runs. Stays until the epic ends.
        sprint_added = "sprint:added:": Hash;
        /// Hash: task id → the result that its command left. Stays until the epic ends.
        sprint_results = "sprint:results:": Hash;
    }

    /// All keys of a sprint.
    #[must_use]
    pub fn of_sprint(&self, sprint: &SprintId) -> Vec<String> {
        Self::SPRINT.iter().map(|(prefix, _)| self.name(&format!("{prefix}{sprint}"))).collect()
    }

    owned_keys! {
        EPIC of epic: EpicId;
        /// Hash: the epic: its plan as it runs, status, epoch, coordinator. Owner: the epic itself, not a coordinator's life.
        epic_state = "epic:state:": Hash;
        /// Set: sprints of the epic that have records in the store. Owner: the epic.
        epic_sprints = "epic:sprints:": Set;
    }

    /// Every key of the product for the given ids, with the type it holds.
    #[must_use]
    pub fn every(
        &self,
        agent: &AgentId,
        task: &TaskId,
        sprint: &SprintId,
        epic: &EpicId,
    ) -> Vec<(String, KeyType)> {
        let of = |keys: &[(&str, KeyType)], id: &str| -> Vec<(String, KeyType)> {
            keys.iter().map(|(prefix, holds)| (self.name(&format!("{prefix}{id}")), *holds)).collect()
        };
        [
            of(Self::GLOBAL, ""),
            of(Self::AGENT, agent.as_str()),
            vec![(self.task(agent, task), KeyType::Hash)],
            of(Self::SPRINT, sprint.as_str()),
            of(Self::EPIC, epic.as_str()),
        ]
        .concat()
    }

    /// What a key of the product holds. `None` for a key of others, and for those names of the plain protocol that
    /// may hold anything (`agent:task:<id>`, `agent:deps:<id>:…`).
    #[must_use]
    pub fn holds(&self, key: &str) -> Option<KeyType> {
        let plain = key.strip_prefix(self.tag.as_str())?;
        if let Some((_, holds)) = Self::GLOBAL.iter().find(|(name, _)| *name == plain) {
            return Some(*holds);
        }
        if let Some(rest) = plain.strip_prefix(TASK) {
            return rest.contains(':').then_some(KeyType::Hash);
        }
        let owned = [Self::AGENT, Self::SPRINT, Self::EPIC].concat();
        let (prefix, holds) = owned.into_iter().find(|(prefix, _)| plain.starts_with(prefix))?;
        (!plain[prefix.len()..].contains(':')).then_some(holds)
    }

    /// Whether this is some agent's cleanup lock.
    #[must_use]
    pub fn is_lock(&self, key: &str) -> bool {
        matches!(self.parse(key), Some(KeyOwner::Agent(id)) if key == self.cleanup_lock(id))
    }

    /// Whose key this is, or `None` for a key that is not of this product (or of another layout).
    #[must_use]
    pub fn parse<'k>(&self, key: &'k str) -> Option<KeyOwner<'k>> {
        let plain = key.strip_prefix(self.tag.as_str())?;
        if Self::GLOBAL.iter().any(|(name, _)| *name == plain) {
            return Some(KeyOwner::Fleet);
        }
        if let Some(rest) = plain.strip_prefix(TASK) {
            // The plain protocol has `agent:task:<id>` too.
            return Some(KeyOwner::Agent(rest.split(':').next().unwrap_or(rest)));
        }
        if let Some(rest) = plain.strip_prefix("agent:deps:") {
            return Some(KeyOwner::Agent(rest.split(':').next().unwrap_or(rest)));
        }
        let of = |keys: &[(&str, KeyType)]| keys.iter().find_map(|(prefix, _)| plain.strip_prefix(prefix));
        of(Self::AGENT)
            .map(KeyOwner::Agent)
            .or_else(|| of(Self::SPRINT).map(KeyOwner::Sprint))
            .or_else(|| of(Self::EPIC).map(KeyOwner::Epic))
    }

    /// Whether an agent may declare this key as one of its own: the name must not be one of the product's.
    #[must_use]
    pub fn may_own(&self, key: &str) -> bool {
        !key.is_empty() && self.parse(key).is_none()
    }

    /// The plain agent whose key this is: `agent:task:<id>`, `agent:task:<id>:…`, `agent:deps:<id>`,
    /// `agent:deps:<id>:…`, `agent:state:<id>`, or a sweeper's note of it, `sweep:look:<id>`. `None` for every other
    /// key. Ids are compared exactly.
    #[must_use]
    pub fn plain_owner<'k>(&self, key: &'k str) -> Option<&'k str> {
        let plain = key.strip_prefix(self.tag.as_str())?;
        let is_left_behind =
            [TASK, "agent:deps:", "agent:state:", "sweep:look:"].iter().any(|p| plain.starts_with(p));
        match self.parse(key) {
            Some(KeyOwner::Agent(agent)) if is_left_behind => Some(agent),
            _ => None,
        }
    }

    /// Whether key names may be built from an id that was found in a store. Such names are used exactly, never as
    /// patterns, so every character but the separator `:` is harmless.
    #[must_use]
    pub fn is_exact(agent: &str) -> bool {
        !agent.is_empty() && !agent.contains(':')
    }
}

/// The owner that a key's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOwner<'k> {
    /// The whole fleet: indexes, counters, the sweepers' records.
    Fleet,
    /// An agent, by id (as found: it may not fit [`AgentId`]).
    Agent(&'k str),
    /// A sprint.
    Sprint(&'k str),
    /// An epic.
    Epic(&'k str),
}

impl fmt::Display for KeyOwner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Agent(id) => write!(f, "agent {id}"),
            Self::Sprint(id) => write!(f, "sprint {id}"),
            Self::Epic(id) => write!(f, "epic {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> AgentId {
        AgentId::new("coder-1").unwrap()
    }

    #[test]
    fn names_are_literally_those_of_the_contract() {
        let keys = KeySchema::default();
        let (task, sprint, epic) =
            (TaskId::new("login").unwrap(), SprintId::new("api").unwrap(), EpicId::new("checkout").unwrap());
        let names = [
            keys.active(),
            keys.leases(),
            keys.heartbeat("coder-1"),
            keys.memory("coder-1"),
            keys.state("coder-1"),
            keys.task(&agent(), &task),
            keys.deps("coder-1"),
            keys.children("coder-1"),
            keys.keys("coder-1"),
            keys.things("coder-1"),
            keys.command("coder-1"),
            keys.cleanup_lock("coder-1"),
            keys.first_look("coder-1"),
            keys.sprint_state(&sprint),
            keys.sprint_agents(&sprint),
            keys.sprint_tasks(&sprint),
            keys.sprint_requeue(&sprint),
            keys.sprint_inbox(&sprint),
            keys.sprint_added(&sprint),
            keys.sprint_results(&sprint),
            keys.epic_state(&epic),
            keys.epic_sprints(&epic),
            keys.epics_waiting(),
            keys.epics_history(),
            keys.memory_baseline(),
            keys.memory_stats(),
            keys.watermark(),
            keys.hold(),
            keys.generation(),
            keys.log(),
        ];
        assert_eq!(
            names,
            [
                "agents:active",
                "agents:leases",
                "agent:heartbeat:coder-1",
                "agent:memory:coder-1",
                "agent:state:coder-1",
                "agent:task:coder-1:login",
                "agent:deps:coder-1",
                "agent:children:coder-1",
                "agent:keys:coder-1",
                "agent:things:coder-1",
                "agent:command:coder-1",
                "cleanup:lock:coder-1",
                "sweep:look:coder-1",
                "sprint:state:api",
                "sprint:agents:api",
                "sprint:tasks:api",
                "sprint:requeue:api",
                "sprint:inbox:api",
                "sprint:added:api",
                "sprint:results:api",
                "epic:state:checkout",
                "epic:sprints:checkout",
                "epics:waiting",
                "epics:history",
                "memory:baseline",
                "memory:stats",
                "sweep:watermark",
                "sweep:hold",
                "lifecycle:generation",
                "agents:log",
            ]
        );
        let every = keys.every(&agent(), &task, &sprint, &epic);
        let mut listed: Vec<&str> = every.iter().map(|(name, _)| name.as_str()).collect();
        let mut literal = names.clone();
        listed.sort_unstable();
        literal.sort_unstable();
        assert_eq!(listed, literal, "a key that is named is one of all, and the other way round");
        assert_eq!((LIFECYCLE_CHANNEL, ALERT_CHANNEL), ("agent:lifecycle", "system:alerts"));
        assert_eq!(agent_channel("coder-1"), "agent:lifecycle:coder-1");
        for name in names {
            assert!(keys.parse(&name).is_some(), "{name} is recognised as ours");
            assert!(!keys.may_own(&name), "{name} cannot be claimed as a further key");
        }
    }

    #[test]
    fn what_a_key_holds_is_known_for_every_key_and_for_none_that_the_plain_protocol_leaves_open() {
        let (task, sprint, epic) =
            (TaskId::new("login").unwrap(), SprintId::new("api").unwrap(), EpicId::new("checkout").unwrap());
        for keys in [KeySchema::default(), KeySchema::new(Layout::Tagged { partition: 7 })] {
            for (name, holds) in keys.every(&agent(), &task, &sprint, &epic) {
                assert_eq!(keys.holds(&name), Some(holds), "{name}");
            }
        }
        let keys = KeySchema::default();
        for open in ["agent:task:coder-1", "agent:deps:coder-1:x", "cache:coder-1", "agents:active:x"] {
            assert_eq!(keys.holds(open), None, "{open}");
        }
        assert_eq!(keys.holds(&keys.leases()), Some(KeyType::SortedSet));
        assert_eq!(KeyType::SortedSet.in_words(), "a sorted set");
    }

    #[test]
    fn a_tagged_layout_puts_every_key_of_a_partition_into_one_slot() {
        let keys = KeySchema::new(Layout::Tagged { partition: 7 });
        assert_eq!(keys.state("coder-1"), "{lc:7}agent:state:coder-1");
        assert_eq!(keys.leases(), "{lc:7}agents:leases");
        assert_eq!(keys.parse("{lc:7}agent:state:coder-1"), Some(KeyOwner::Agent("coder-1")));
        assert_eq!(keys.parse("agent:state:coder-1"), None);
    }

    #[test]
    fn the_owner_of_a_key_is_read_exactly_and_never_by_prefix() {
        let keys = KeySchema::default();
        assert_eq!(keys.parse("agent:task:agent-1:t"), Some(KeyOwner::Agent("agent-1")));
        assert_eq!(keys.parse("agent:task:agent-10:t"), Some(KeyOwner::Agent("agent-10")));
        assert_eq!(keys.plain_owner("agent:task:agent-1"), Some("agent-1"));
        assert_eq!(keys.plain_owner("agent:deps:agent-1:x:y"), Some("agent-1"));
        assert_eq!(keys.plain_owner("sweep:look:agent-1"), Some("agent-1"));
        assert_eq!(keys.plain_owner("agent:heartbeat:agent-1"), None);
        assert_eq!(keys.parse("session:agent:state:x"), None);
        assert!(keys.may_own("cache:coder-1"));
    }
}
