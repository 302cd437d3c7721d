//! The records that agents write of themselves: registration, state, beats; and the orders they are given.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::containment::Layers;
use crate::wire::ids::{AgentId, AgentName, EpicId, Incarnation, SprintId};
use crate::wire::memory_records::{MemoryUsage, lenient_memory, lenient_number, lenient_time};
use crate::wire::time::{HostTime, ServerTime};
use crate::wire::word_enum::word_enum;

word_enum! {
    /// Where an agent is in its life. An agent in a long model or tool call reports `waiting`, and goes on beating.
    AgentState, "agent state" {
        /// Registered, not yet at work.
        Starting = "starting",
        /// Ready for work, and has none.
        Running = "running",
        /// At work on a task.
        Busy = "busy",
        /// Waits in a long call to a model or a tool.
        Waiting = "waiting",
        /// Finishes the tasks it has, and takes no new ones.
        Draining = "draining",
        /// Has released itself.
        Stopped = "stopped",
    }
}

impl AgentState {
    /// Whether an agent in this state may be given a task. Scripts get the same list from their prelude.
    #[must_use]
    pub fn takes_work(self) -> bool {
        matches!(self, Self::Running | Self::Busy | Self::Waiting)
    }
}

word_enum! {
    /// What an agent does in the fleet.
    Role, "role" {
        /// Does tasks.
        Worker = "worker",
        /// Runs sprints; has children.
        Coordinator = "coordinator",
    }
}

word_enum! {
    /// What an agent can be told to do. It learns of an order from the reply to a beat.
    Order, "order" {
        /// Finish current tasks, take no more, release, exit 0.
        Drain = "drain",
        /// Stop now: hand tasks back, end the process tree, release.
        Terminate = "terminate",
    }
}

/// What an agent tells when it registers: all of `agent:state:<id>` but what the server adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The agent's id.
    pub id: AgentId,
    /// What it does in the fleet.
    pub role: Role,
    /// What the agent is alike to, such as `coder`. Agents of one kind share a memory history.
    pub kind: String,
    /// The coordinator that spawned it; absent for an agent started by hand.
    pub parent: Option<AgentId>,
    /// The sprint it works for.
    pub sprint: Option<SprintId>,
    /// The pool of the sprint that it has joined; only for agents that no coordinator started.
    pub pool: Option<AgentName>,
    /// The epic that it runs; only for coordinators.
    pub epic: Option<EpicId>,
    /// Name of the host that its process runs on.
    pub host: String,
    /// Pid of its process, in the PID namespace that `place` names.
    pub pid: u32,
    /// When the process started, in the kernel's clock ticks since boot. Pid and start time together name one process
    /// for ever.
    pub pid_start: Option<u64>,
    /// The boot and the PID namespace in which the pid means something. The host's name is not enough: two containers
    /// may share it.
    pub place: Option<String>,
    /// What holds the processes of its command; absent for an agent that runs none.
    pub containment: Option<Layers>,
    /// Length of its lease, in whole ms on the wire. Each beat renews it for that long, by the store's clock.
    pub lease: Duration,
}

/// A registration as read back from `agent:state:<id>`.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRecord {
    /// The life this record is of.
    pub incarnation: Incarnation,
    /// What it does, `worker` when the record does not say.
    pub role: Role,
    /// What it is alike to; empty when the record does not say.
    pub kind: String,
    /// The agent that spawned it.
    pub parent: Option<String>,
    /// The life of that agent which adopted it last; absent while the one that spawned it lives.
    pub adopted_by: Option<Incarnation>,
    /// The sprint it works for.
    pub sprint: Option<SprintId>,
    /// The pool of the sprint that it has joined.
    pub pool: Option<AgentName>,
    /// The epic that it runs; only for coordinators.
    pub epic: Option<EpicId>,
    /// Name of the host that its process runs on; empty when the record does not say.
    pub host: String,
    /// Pid of its process, as it said; absent when the record does not say.
    pub pid: Option<u32>,
    /// When that process started, in clock ticks since boot.
    pub pid_start: Option<u64>,
    /// The boot and the PID namespace in which that pid means something.
    pub place: Option<String>,
    /// What holds the processes of its command.
    pub containment: Option<Layers>,
    /// Where it is in its life; `starting` when the record does not say.
    pub state: AgentState,
    /// Length of its lease in ms.
    pub lease_ms: u64,
    /// When it registered; written by the store, and the epoch when the record does not say.
    pub registered_at: ServerTime,
    /// What it last reported to be doing, in its own words.
    pub progress: Option<String>,
    /// The reason for which its life is over although its keys are still there: its exit was seen, or a cleanup is
    /// under way.
    pub ended: Option<String>,
    /// The exit status that was seen, in words.
    pub exit: Option<String>,
}

impl AgentRecord {
    /// Reads the hash. `None` when it is missing or is no registration of ours.
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>) -> Option<Self> {
        let text = |name: &str| fields.get(name).filter(|value| !value.is_empty());
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        Some(Self {
            incarnation: text("incarnation")?.parse().ok()?,
            role: text("role").and_then(|word| word.parse().ok()).unwrap_or(Role::Worker),
            kind: text("kind").cloned().unwrap_or_default(),
            parent: text("parent").cloned(),
            adopted_by: number("adoptedBy").map(Incarnation),
            sprint: text("sprint").and_then(|name| SprintId::new(name.as_str()).ok()),
            pool: text("pool").and_then(|name| AgentName::new(name.as_str()).ok()),
            epic: text("epic").and_then(|name| EpicId::new(name.as_str()).ok()),
            host: text("host").cloned().unwrap_or_default(),
            pid: number("pid").and_then(|pid| u32::try_from(pid).ok()),
            pid_start: number("pidStart"),
            place: text("place").cloned(),
            containment: text("containment").and_then(|layers| layers.parse().ok()),
            state: text("state").and_then(|word| word.parse().ok()).unwrap_or(AgentState::Starting),
            lease_ms: number("leaseMs")?,
            registered_at: number("registeredAt").map(ServerTime::from_store_ms).unwrap_or_default(),
            progress: text("progress").cloned(),
            ended: text("ended").cloned(),
            exit: text("exit").cloned(),
        })
    }
}

/// `agent:heartbeat:<id>`: one beat. Agents on the plain protocol write the same fields without an incarnation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// The agent's id.
    pub agent_id: String,
    /// The life it is of; absent from beats of plain agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// When, in ms of the agent's own clock. Only used for agents that have no lease.
    #[serde(deserialize_with = "lenient_time")]
    pub timestamp: Option<HostTime>,
    /// Pid of its process on its own host; for people. Plain agents may leave it out.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient_number")]
    pub pid: Option<u64>,
    /// Its memory.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient_memory")]
    pub memory_usage: Option<MemoryUsage>,
    /// Its state, as a word. Plain agents may write any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it is doing, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::decode;

    #[test]
    fn the_original_designs_heartbeat_is_read() {
        let beat: Heartbeat = decode(
            br#"{"agentId":"stale-agent","timestamp":1764000000000,"pid":42,
                 "memoryUsage":{"rss":1048576,"heapTotal":10,"heapUsed":5,"external":1,"arrayBuffers":7},"state":"busy"}"#,
        )
        .unwrap();
        assert_eq!(beat.timestamp, Some(HostTime::from_host_ms(1_764_000_000_000)));
        assert_eq!(beat.memory_usage.unwrap().rss, 1_048_576);
        assert_eq!(beat.incarnation, None);
    }

    #[test]
    fn absurd_figures_of_a_plain_client_cost_the_figure_and_not_the_beat() {
        let beat: Heartbeat = decode(
            br#"{"agentId":"a","timestamp":1764000000000.5,"pid":"many","memoryUsage":{"rss":-4,"heapUsed":"x","external":1e99}}"#,
        )
        .unwrap();
        assert_eq!((beat.timestamp, beat.pid), (Some(HostTime::from_host_ms(1_764_000_000_000)), None));
        assert_eq!(beat.memory_usage, Some(MemoryUsage::default()));
    }

    #[test]
    fn a_hash_without_incarnation_is_no_registration() {
        let fields = HashMap::from([("state".to_string(), "busy".to_string())]);
        assert_eq!(AgentRecord::from_fields(&fields), None);
    }
}
