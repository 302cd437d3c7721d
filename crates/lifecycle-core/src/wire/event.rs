//! What is said on `agent:lifecycle` and `system:alerts`.
//!
//! An event is a *hint*: it makes somebody look at the keys sooner. Nothing is decided from an event alone
//! and nothing is lost when one is dropped. That is why one flat record with optional fields is enough, and
//! why a reader ignores what it does not know.

use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::ids::Incarnation;
use crate::wire::memory::{Grown, MemoryStats};
use crate::wire::process_fate::ProcessFate;
use crate::wire::word_enum::word_enum;

/// Version of the event format written by this build.
pub const EVENT_VERSION: u32 = 1;

word_enum! {
    /// What happened.
    EventKind, "kind of event" {
        /// An agent began a life.
        AgentRegistered = "agent_registered",
        /// An agent beat.
        HeartbeatSent = "heartbeat_sent",
        /// An agent is in another state, or was given an order.
        AgentStateChanged = "agent_state_changed",
        /// A process was seen to end without a clean release.
        ProcessExited = "process_exited",
        /// An agent is about to be cleaned up: the last call.
        CleanupStarted = "cleanup_started",
        /// Somebody on the agent's host looked at its process.
        CleanupAcknowledged = "cleanup_acknowledged",
        /// The agent spoke up in time.
        CleanupAborted = "cleanup_aborted",
        /// The agent and all its keys are gone.
        CleanupCompleted = "cleanup_completed",
        /// A pass found orphans.
        OrphansDetected = "orphans_detected",
        /// An agent released itself cleanly.
        AgentShutdown = "agent_shutdown",
        /// An agent learned that its incarnation is over.
        AgentFenced = "agent_fenced",
        /// A task was given to an agent.
        TaskAssigned = "task_assigned",
        /// An agent finished an attempt at a task.
        TaskCompleted = "task_completed",
        /// A task in flight was handed back.
        TaskRequeued = "task_requeued",
        /// A sprint began.
        SprintStarted = "sprint_started",
        /// A sprint ended, and nothing of it is left.
        SprintCompleted = "sprint_completed",
        /// A coordinator was reaped; its children are told to stop.
        CoordinatorLost = "coordinator_lost",
        /// Reaping is held.
        SweepHeld = "sweep_held",
        /// Reaping goes on.
        SweepReleased = "sweep_released",
        /// Memory grew as a leak does (`system:alerts`).
        MemoryLeakDetected = "memory_leak_detected",
        /// A budget was exceeded (`system:alerts`).
        MemoryLimitExceeded = "memory_limit_exceeded",
        /// A type of a newer version, or of another writer. Never written.
        Unknown = "unknown",
    }
}

impl EventKind {
    /// Whether it is said *to* the agent that it is about, who then looks at the keys at once: it goes to that agent's own
    /// channel as well. What agents say of themselves is for observers alone.
    #[must_use]
    pub fn is_addressed(self) -> bool {
        // A changed state is an order when others say it.
        matches!(self, Self::CleanupStarted | Self::AgentStateChanged | Self::TaskAssigned)
    }

    /// Every kind that is written.
    pub fn written() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kind| *kind != Self::Unknown)
    }
}

#[allow(clippy::derivable_impls)] // The macro knows of no default.
impl Default for EventKind {
    fn default() -> Self {
        Self::Unknown
    }
}

/// One message. Fields that do not apply to a kind are absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Format version, [`EVENT_VERSION`].
    #[serde(rename = "v")]
    pub version: u32,
    /// What happened.
    #[serde(rename = "type", deserialize_with = "known_kind")]
    pub kind: EventKind,
    /// When, in ms of server time (of the writer's clock for events that no script wrote).
    pub timestamp: u64,
    /// The agent it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// Its state, or the order it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was proven of the agent's processes. A word that this build does not know says nothing.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "known_word")]
    pub process: Option<ProcessFate>,
    /// The processes that it concerns: those that would not go, or may be the agent's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// Exit status in words, such as `exit 1` or `signal 9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The epic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epic: Option<String>,
    /// The sprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sprint: Option<String>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Which attempt at the task, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How an attempt ended: `completed` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Keys removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_deleted: Option<u64>,
    /// Tasks handed back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_requeued: Option<u64>,
    /// How many agents it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Bytes in use, for alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The limit in bytes, for alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// By how many bytes the fleet's memory grew, for alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<i64>,
    /// The same in per cent of what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth_pct: Option<f64>,
    /// What the fleet's memory is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<MemoryStats>,
    /// The fleet's memory now, of the same agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<MemoryStats>,
    /// The agents that grew most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Grown>,
    /// How fast an agent's memory grows, for alerts about one agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slope_bytes_per_hour: Option<f64>,
    /// How sure a finding is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// How far back was looked, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u64>,
    /// When the limit is reached at that pace, in ms of server time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_reached_ms: Option<u64>,
    /// The orphans of a pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<crate::wire::orphan::Orphan>,
}

impl Event {
    /// An event of this kind with nothing else said.
    #[must_use]
    pub fn new(kind: EventKind, timestamp: u64) -> Self {
        Self { version: EVENT_VERSION, kind, timestamp, ..Self::default() }
    }

    /// Whether it is about this agent.
    #[must_use]
    pub fn is_about(&self, agent: &str) -> bool {
        self.agent_id.as_deref() == Some(agent)
    }
}

/// Writers of other versions may have further words; an event is not lost for one of them.
fn known_kind<'de, D: Deserializer<'de>>(reader: D) -> Result<EventKind, D::Error> {
    Ok(String::deserialize(reader)?.parse().unwrap_or(EventKind::Unknown))
}

/// As [`known_kind`].
fn known_word<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<ProcessFate>, D::Error> {
    Ok(Option::<String>::deserialize(reader)?.and_then(|word| word.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{Wire, decode};

    #[test]
    fn names_are_literally_those_of_the_contract() {
        let names: Vec<_> = EventKind::written().map(EventKind::as_str).collect();
        assert_eq!(
            names.join(" "),
            "agent_registered heartbeat_sent agent_state_changed process_exited cleanup_started \
             cleanup_acknowledged cleanup_aborted cleanup_completed orphans_detected agent_shutdown agent_fenced \
             task_assigned task_completed task_requeued sprint_started sprint_completed coordinator_lost sweep_held \
             sweep_released memory_leak_detected memory_limit_exceeded"
        );
    }

    #[test]
    fn an_event_reads_back_in_both_formats_and_absent_fields_are_not_written() {
        let mut event = Event::new(EventKind::CleanupCompleted, 1_764_000_000_000);
        event.agent_id = Some("coder-1".into());
        event.incarnation = Some(Incarnation(1_764_000_000_000_001));
        for wire in [Wire::MsgPack, Wire::Json] {
            assert_eq!(decode::<Event>(&wire.encode(&event).unwrap()).unwrap(), event);
        }
        assert_eq!(
            String::from_utf8(Wire::Json.encode(&event).unwrap()).unwrap(),
            r#"{"v":1,"type":"cleanup_completed","timestamp":1764000000000,"agentId":"coder-1","incarnation":"1764000000000001"}"#
        );
    }

    #[test]
    fn the_original_designs_events_and_unknown_types_are_understood() {
        let original = br#"{"type":"heartbeat_sent","agentId":"a","timestamp":1764000000000}"#;
        assert_eq!(decode::<Event>(original).unwrap().kind, EventKind::HeartbeatSent);
        let newer = br#"{"v":9,"type":"agent_promoted","agentId":"a","timestamp":1,"novel":{"x":[1]}}"#;
        assert_eq!(decode::<Event>(newer).unwrap().kind, EventKind::Unknown);
        let fate = |word: &str| {
            let text =
                format!(r#"{{"type":"cleanup_acknowledged","agentId":"a","process":{word},"pids":[7]}}"#);
            decode::<Event>(text.as_bytes()).unwrap().process
        };
        assert_eq!(fate("\"left\""), Some(ProcessFate::Left));
        assert_eq!([fate("\"ended\""), fate("null")], [None, None]);
    }
}
