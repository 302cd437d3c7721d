//! What an agent says of itself: its registration, its states, its beats, its orders.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{AgentId, EpicId, Incarnation, SprintId};
use crate::word_enum::word_enum;

word_enum! {
    /// Where an agent is in its life. A long model or tool call is a state (`waiting`), not silence.
    AgentState, "agent state" {
        /// Registered, not yet at work.
        Starting = "starting",
        /// Ready for work.
        Running = "running",
        /// At work on a task.
        Busy = "busy",
        /// In a long call to something else.
        Waiting = "waiting",
        /// Finishing what it has; takes nothing new.
        Draining = "draining",
        /// Done.
        Stopped = "stopped",
    }
}

impl AgentState {
    /// Whether an agent in this state may be given a task.
    #[must_use]
    pub fn takes_work(self) -> bool {
        matches!(self, Self::Running | Self::Busy | Self::Waiting)
    }
}

word_enum! {
    /// What an agent is in the fleet.
    Role, "role" {
        /// Does tasks.
        Worker = "worker",
        /// Runs sprints; has children.
        Coordinator = "coordinator",
    }
}

word_enum! {
    /// What an agent can be told to do. Delivered in the reply to a beat.
    Order, "order" {
        /// Finish current tasks, take no more, release, exit 0.
        Drain = "drain",
        /// Stop now: hand tasks back, end the process tree, release.
        Terminate = "terminate",
    }
}

/// What an agent says when it registers: all of `agent:state:<id>` but what the server adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The agent.
    pub id: AgentId,
    /// What it is.
    pub role: Role,
    /// What it is alike to: agents of one kind share a memory prior.
    pub kind: String,
    /// The agent that spawned it.
    pub parent: Option<AgentId>,
    /// The sprint it works for.
    pub sprint: Option<SprintId>,
    /// The epic, for coordinators.
    pub epic: Option<EpicId>,
    /// Name of its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When the process started, in the kernel's own unit: with the pid it names one process for ever.
    pub pid_start: Option<u64>,
    /// Where that pid means something: the boot and the PID namespace. Two containers may share a host name.
    pub place: Option<String>,
    /// Length of its lease.
    pub lease: Duration,
}

/// A registration as read back from `agent:state:<id>`.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRecord {
    /// The life this record is of.
    pub incarnation: Incarnation,
    /// What it is, `worker` when the record does not say.
    pub role: Role,
    /// What it is alike to.
    pub kind: String,
    /// The agent that spawned it.
    pub parent: Option<String>,
    /// The sprint it works for.
    pub sprint: Option<SprintId>,
    /// The epic it coordinates.
    pub epic: Option<EpicId>,
    /// Name of its host.
    pub host: String,
    /// Its process.
    pub pid: Option<u32>,
    /// When that process started.
    pub pid_start: Option<u64>,
    /// Where that pid means something.
    pub place: Option<String>,
    /// Where it is in its life.
    pub state: AgentState,
    /// Length of its lease in ms.
    pub lease_ms: u64,
    /// When it registered, in ms of server time.
    pub registered_at: u64,
    /// What it last did, in its own words.
    pub progress: Option<String>,
    /// Why its life is over although its keys are still there: evidence of exit, or a cleanup under way.
    pub ended: Option<String>,
    /// The exit status that was seen, in words.
    pub exit: Option<String>,
}

impl AgentRecord {
    /// Reads the hash; `None` when it is no registration of ours (missing, or written by others).
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>) -> Option<Self> {
        let text = |name: &str| fields.get(name).filter(|value| !value.is_empty());
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        Some(Self {
            incarnation: text("incarnation")?.parse().ok()?,
            role: text("role").and_then(|word| word.parse().ok()).unwrap_or(Role::Worker),
            kind: text("kind").cloned().unwrap_or_default(),
            parent: text("parent").cloned(),
            sprint: text("sprint").and_then(|name| SprintId::new(name.as_str()).ok()),
            epic: text("epic").and_then(|name| EpicId::new(name.as_str()).ok()),
            host: text("host").cloned().unwrap_or_default(),
            pid: number("pid").and_then(|pid| u32::try_from(pid).ok()),
            pid_start: number("pidStart"),
            place: text("place").cloned(),
            state: text("state").and_then(|word| word.parse().ok()).unwrap_or(AgentState::Starting),
            lease_ms: number("leaseMs")?,
            registered_at: number("registeredAt").unwrap_or(0),
            progress: text("progress").cloned(),
            ended: text("ended").cloned(),
            exit: text("exit").cloned(),
        })
    }
}

/// `agent:heartbeat:<id>`: one beat. Agents on the plain protocol write the same fields but no
/// incarnation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// The agent.
    pub agent_id: String,
    /// Its life; absent from plain agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// When, in ms of the agent's own clock. Only used for agents that have no lease.
    #[serde(deserialize_with = "lenient_millis")]
    pub timestamp: Option<u64>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient_number")]
    pub pid: Option<u64>,
    /// Its memory.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient_memory")]
    pub memory_usage: Option<MemoryUsage>,
    /// Where it is in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it last did, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// Memory figures in bytes, named as in the original design, and what else is known of the agent's process tree.
///
/// What a heap is depends on who measures. A Node client writes `process.memoryUsage()`; our own agents, which may run
/// any command, write what the kernel knows: `heapUsed` is resident memory that belongs to one process alone,
/// `heapTotal` the address space reserved for data and stacks, `external` resident files and shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryUsage {
    /// Resident memory of the agent's process tree.
    pub rss: u64,
    /// Heap in use, where the platform tells.
    pub heap_used: u64,
    /// Heap reserved, where the platform tells.
    pub heap_total: u64,
    /// Memory outside the heap, where the platform tells.
    pub external: u64,
    /// Processes in the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Proportional share of the tree: shared pages counted once. Only where resident memory gave cause for suspicion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss: Option<u64>,
    /// What the agent's control group holds (cgroup v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<u64>,
    /// What the tree may use: the agent's own limit, or that of its control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl MemoryUsage {
    /// The names of the figures, in `agent:memory:<id>` as in a beat.
    pub const FIELDS: [&'static str; 8] =
        ["heapUsed", "heapTotal", "rss", "external", "processes", "pss", "cgroup", "limit"];

    /// The figures, in the order of [`Self::FIELDS`].
    #[must_use]
    pub fn figures(&self) -> [Option<u64>; 8] {
        let always = [self.heap_used, self.heap_total, self.rss, self.external].map(Some);
        let [heap_used, heap_total, rss, external] = always;
        [heap_used, heap_total, rss, external, self.processes, self.pss, self.cgroup, self.limit]
    }

    /// Puts the figures together, in the order of [`Self::FIELDS`].
    #[must_use]
    pub fn from_figures(figures: [Option<u64>; 8]) -> Self {
        let [heap_used, heap_total, rss, external, processes, pss, cgroup, limit] = figures;
        Self {
            rss: rss.unwrap_or(0),
            heap_used: heap_used.unwrap_or(0),
            heap_total: heap_total.unwrap_or(0),
            external: external.unwrap_or(0),
            processes,
            pss,
            cgroup,
            limit,
        }
    }
}

/// A plain client may write anything where a number belongs; that costs the figure, not the beat.
fn lenient_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(number(&Loose::deserialize(deserializer)?))
}

fn lenient_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    lenient_number(deserializer)
}

fn lenient_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MemoryUsage>, D::Error> {
    let Loose::Map(fields) = Loose::deserialize(deserializer)? else { return Ok(None) };
    Ok(Some(MemoryUsage::from_figures(MemoryUsage::FIELDS.map(|name| fields.get(name).and_then(number)))))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Natural(u64),
    Real(f64),
    Map(HashMap<String, Loose>),
    Other(serde::de::IgnoredAny),
}

fn number(value: &Loose) -> Option<u64> {
    match value {
        Loose::Natural(number) => Some(*number),
        // Clients without whole numbers write 1764000000000.0. What does not fit is no figure.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Loose::Real(real) if (0.0..9e15).contains(real) => Some(*real as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::decode;

    #[test]
    fn the_original_designs_heartbeat_is_read() {
        let beat: Heartbeat = decode(
            br#"{"agentId":"stale-agent","timestamp":1764000000000,"pid":42,
                 "memoryUsage":{"rss":1048576,"heapTotal":10,"heapUsed":5,"external":1,"arrayBuffers":7},"state":"busy"}"#,
        )
        .unwrap();
        assert_eq!(beat.timestamp, Some(1_764_000_000_000));
        assert_eq!(beat.memory_usage.unwrap().rss, 1_048_576);
        assert_eq!(beat.incarnation, None);
    }

    #[test]
    fn absurd_figures_of_a_plain_client_cost_the_figure_and_not_the_beat() {
        let beat: Heartbeat = decode(
            br#"{"agentId":"a","timestamp":1764000000000.5,"pid":"many","memoryUsage":{"rss":-4,"heapUsed":"x","external":1e99}}"#,
        )
        .unwrap();
        assert_eq!((beat.timestamp, beat.pid), (Some(1_764_000_000_000), None));
        assert_eq!(beat.memory_usage, Some(MemoryUsage::default()));
    }

    #[test]
    fn a_hash_without_incarnation_is_no_registration() {
        let fields = HashMap::from([("state".to_string(), "busy".to_string())]);
        assert_eq!(AgentRecord::from_fields(&fields), None);
    }
}
