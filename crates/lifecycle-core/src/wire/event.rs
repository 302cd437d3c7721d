//! What is said on `agent:lifecycle` and `system:alerts`.
//!
//! An event is a *hint*: it makes a role look at the keys sooner. Nothing is decided from an event alone
//! and nothing is lost when one is dropped. That is why every field may be absent, and why a reader ignores what it does
//! not know.

use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::ids::Incarnation;
use crate::wire::memory_records::{Grown, MemoryStats};
use crate::wire::orphan::Orphan;
use crate::wire::process_fate::ProcessFate;
use crate::wire::word_enum::word_enum;

/// Version of the event format written by this build.
pub const EVENT_VERSION: u32 = 1;

/// Makes of one table the kinds of events, which scripts and metrics have their words from, and what each kind says.
///
/// Every field may be absent: writers of other versions, and of the plain protocol, say less.
macro_rules! events {
    ($(
        $(#[$doc:meta])+
        $kind:ident = $word:literal { $( $(#[$attribute:meta])+ $field:ident: $type:ty, )* }
    )+) => {
        word_enum! {
            /// What happened.
            EventKind, "kind of event" {
                $( $(#[$doc])+ $kind = $word, )+
                /// A type of a newer version, or of another writer. Never written.
                Unknown = "unknown",
            }
        }

        /// What an event says beside who it is about.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", rename_all_fields = "camelCase")]
        pub enum Payload {
            $(
                $(#[$doc])+
                #[serde(rename = $word)]
                $kind { $( $(#[$attribute])+ #[serde(default, skip_serializing_if = "Absent::is_absent")] $field: $type, )* },
            )+
            /// A type of a newer version, or of another writer. Never written.
            #[serde(rename = "unknown", other)]
            Unknown,
        }

        impl Payload {
            /// The kind that this is said in.
            #[must_use]
            pub fn kind(&self) -> EventKind {
                match self {
                    $( Self::$kind { .. } => EventKind::$kind, )+
                    Self::Unknown => EventKind::Unknown,
                }
            }
        }
    };
}

events! {
    /// An agent began a life.
    AgentRegistered = "agent_registered" {
        /// The state it begins in.
        state: Option<String>,
        /// The sprint it joined.
        sprint: Option<String>,
    }
    /// An agent beat.
    HeartbeatSent = "heartbeat_sent" {}
    /// An agent is in another state, or was given an order.
    AgentStateChanged = "agent_state_changed" {
        /// The state, or the order.
        state: Option<String>,
        /// Why, where it is an order.
        reason: Option<String>,
        /// The sprint whose coordinator is to see to it.
        sprint: Option<String>,
    }
    /// A process was seen to end without a clean release.
    ProcessExited = "process_exited" {
        /// Exit status in words, such as `exit 1` or `signal 9`.
        status: Option<String>,
        /// [`Reason`](crate::wire::orphan::Reason) for which the life is over.
        reason: Option<String>,
    }
    /// An agent is about to be cleaned up: the last call.
    CleanupStarted = "cleanup_started" {
        /// [`Reason`](crate::wire::orphan::Reason) for which it is to be reaped.
        reason: Option<String>,
    }
    /// The coordinator, or another process on the agent's host, looked for its processes.
    CleanupAcknowledged = "cleanup_acknowledged" {
        /// What was proven of the agent's processes. A word that this build does not know says nothing.
        #[serde(deserialize_with = "known_word")]
        process: Option<ProcessFate>,
        /// The processes that it concerns: those that would not go, or may be the agent's.
        pids: Vec<u32>,
    }
    /// The agent spoke up in time.
    CleanupAborted = "cleanup_aborted" {
        /// [`Reason`](crate::wire::orphan::Reason) for which it was to be reaped.
        reason: Option<String>,
    }
    /// The agent and all its keys are gone.
    CleanupCompleted = "cleanup_completed" {
        /// [`Reason`](crate::wire::orphan::Reason) for which it was reaped.
        reason: Option<String>,
        /// What was proven of the agent's processes. A word that this build does not know says nothing.
        #[serde(deserialize_with = "known_word")]
        process: Option<ProcessFate>,
        /// How many keys of it were removed, its record included.
        keys_deleted: Option<u64>,
        /// How many tasks in flight were handed back to their sprint.
        tasks_requeued: Option<u64>,
    }
    /// A pass found orphans.
    OrphansDetected = "orphans_detected" {
        /// How many orphans the pass saw.
        count: Option<u64>,
        /// The first hundred of them.
        orphans: Vec<Orphan>,
    }
    /// An agent released itself cleanly.
    AgentShutdown = "agent_shutdown" {
        /// [`StopCause`](crate::agent::shutdown::StopCause) for which it left.
        reason: Option<String>,
        /// What was proven of the processes that it had started. A word that this build does not know says nothing.
        #[serde(deserialize_with = "known_word")]
        process: Option<ProcessFate>,
        /// How many keys of it were removed, its record included.
        keys_deleted: Option<u64>,
        /// How many tasks in flight were handed back to their sprint.
        tasks_requeued: Option<u64>,
    }
    /// An agent learned that its incarnation is over.
    AgentFenced = "agent_fenced" {}
    /// A task was given to an agent.
    TaskAssigned = "task_assigned" {
        /// Id of the sprint that the task is of, with its epic.
        sprint: Option<String>,
        /// Id of the task within its sprint.
        task_id: Option<String>,
        /// Which attempt at the task, from 1.
        attempt: Option<u32>,
    }
    /// An agent finished an attempt at a task.
    TaskCompleted = "task_completed" {
        /// Id of the sprint that the task is of, with its epic.
        sprint: Option<String>,
        /// Id of the task within its sprint.
        task_id: Option<String>,
        /// Which attempt at the task, from 1.
        attempt: Option<u32>,
        /// How the attempt ended: `completed` or `failed`.
        outcome: Option<String>,
        /// The same in the worker's words, such as `exit 1`.
        status: Option<String>,
    }
    /// A task in flight was handed back.
    TaskRequeued = "task_requeued" {
        /// Id of the sprint that the task is of, with its epic.
        sprint: Option<String>,
        /// Id of the task within its sprint.
        task_id: Option<String>,
        /// Which attempt at the task it was, from 1.
        attempt: Option<u32>,
        /// Why the life that held it ended, or why the run was taken back.
        reason: Option<String>,
    }
    /// Tasks were added to a sprint that is under way.
    TaskAdded = "task_added" {
        /// Id of the sprint, with its epic.
        sprint: Option<String>,
        /// How many.
        count: Option<u64>,
    }
    /// An operator does not want a task any more. An agent that has it in hand ends it.
    TaskCancelled = "task_cancelled" {
        /// Id of the sprint that the task is of, with its epic.
        sprint: Option<String>,
        /// Id of the task within its sprint.
        task_id: Option<String>,
    }
    /// An operator wants tasks done again that were given up.
    TaskRetried = "task_retried" {
        /// Id of the sprint, with its epic.
        sprint: Option<String>,
        /// How many.
        count: Option<u64>,
    }
    /// An operator has paused, resumed or closed a sprint.
    SprintChanged = "sprint_changed" {
        /// Id of the sprint, with its epic.
        sprint: Option<String>,
        /// What is wanted: `paused`, `resumed` or `closed`.
        state: Option<String>,
    }
    /// A sprint began.
    SprintStarted = "sprint_started" {
        /// Id of the sprint, with its epic.
        sprint: Option<String>,
        /// Id of the epic that it is a part of.
        epic: Option<String>,
    }
    /// A sprint ended, and nothing of it is left.
    SprintCompleted = "sprint_completed" {
        /// Id of the sprint, with its epic.
        sprint: Option<String>,
        /// Id of the epic that it is a part of.
        epic: Option<String>,
        /// How it ended, as the coordinator's summary says.
        outcome: Option<String>,
        /// How many keys of the sprint were removed.
        keys_deleted: Option<u64>,
    }
    /// An agent that somebody else has started joined a sprint.
    AgentJoined = "agent_joined" {
        /// Id of the sprint, with its epic.
        sprint: Option<String>,
        /// The pool it joined.
        pool: Option<String>,
    }
    /// Another coordinator has taken over a living agent.
    AgentAdopted = "agent_adopted" {
        /// The coordinator's life.
        by: Option<Incarnation>,
    }
    /// The coordinator of an epic is gone; its records wait for the next one.
    EpicWaiting = "epic_waiting" {
        /// The epic.
        epic: Option<String>,
        /// Why the coordinator is gone.
        reason: Option<String>,
    }
    /// A coordinator goes on with an epic that waited.
    EpicResumed = "epic_resumed" {
        /// The epic.
        epic: Option<String>,
        /// How often the epic has been taken, this time included.
        epoch: Option<u64>,
    }
    /// An epic is over, and nothing of it is left but its entry in the history.
    EpicEnded = "epic_ended" {
        /// The epic.
        epic: Option<String>,
        /// How it ended: `completed`, `failed` or `cancelled`.
        outcome: Option<String>,
        /// Why, where it was cancelled.
        reason: Option<String>,
        /// Keys removed.
        keys_deleted: Option<u64>,
    }
    /// A coordinator was reaped; its children are told that it is gone.
    CoordinatorLost = "coordinator_lost" {
        /// How many children it had.
        count: Option<u64>,
    }
    /// Processes of lives that are over were found on a host, and ended.
    LeftoversFound = "leftovers_found" {
        /// How many there were.
        count: Option<u64>,
        /// The host.
        host: Option<String>,
        /// Those that could not be ended.
        pids: Vec<u32>,
    }
    /// Reaping is held.
    SweepHeld = "sweep_held" {
        /// Why, in a sentence for people.
        reason: Option<String>,
        /// How many agents it spares.
        count: Option<u64>,
        /// [`HoldKind`](crate::wire::sweep_records::HoldKind).
        state: Option<String>,
    }
    /// Reaping goes on.
    SweepReleased = "sweep_released" {
        /// Why it was held, in a sentence for people.
        reason: Option<String>,
    }
    /// Memory grew as a leak does (`system:alerts`): that of the whole fleet, or of the agent it is about.
    MemoryLeakDetected = "memory_leak_detected" {
        /// By how many bytes the fleet's memory grew.
        growth: Option<i64>,
        /// The same in per cent of what it was.
        growth_pct: Option<f64>,
        /// What the fleet's memory is compared with.
        baseline: Option<MemoryStats>,
        /// The fleet's memory now, of the same agents.
        current: Option<MemoryStats>,
        /// The agents that grew most.
        agents: Vec<Grown>,
        /// Which finding it is, of an agent.
        reason: Option<String>,
        /// How fast an agent's memory grows.
        slope_bytes_per_hour: Option<f64>,
        /// How sure the finding is, 0 to 1.
        confidence: Option<f64>,
        /// How far back was looked, in ms.
        window_ms: Option<u64>,
        /// When the agent's limit is reached at that pace, in ms of server time.
        limit_reached_ms: Option<u64>,
    }
    /// A budget was exceeded (`system:alerts`).
    MemoryLimitExceeded = "memory_limit_exceeded" {
        /// Which limit: `soft` or `hard`.
        reason: Option<String>,
        /// Bytes that the agent's tree uses.
        bytes: Option<u64>,
        /// The limit in bytes.
        limit: Option<u64>,
    }
}

/// What is not written when there is nothing to say.
trait Absent {
    fn is_absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl EventKind {
    /// Whether it is said *to* the agent that it is about, who then looks at the keys at once: it goes to that agent's own
    /// channel as well. What agents say of themselves is for observers alone.
    #[must_use]
    pub fn is_addressed(self) -> bool {
        // A changed state is an order when others say it.
        matches!(
            self,
            Self::CleanupStarted
                | Self::AgentStateChanged
                | Self::TaskAssigned
                | Self::TaskCancelled
                | Self::AgentAdopted
        )
    }

    /// Every kind that is written.
    pub fn written() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kind| *kind != Self::Unknown)
    }
}

/// One message of the event bus: who, when, and what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Format version, [`EVENT_VERSION`]; 0 where the writer does not say.
    #[serde(rename = "v", default)]
    pub version: u32,
    /// When, in ms of server time (of the writer's clock for events that no script wrote).
    #[serde(default)]
    pub timestamp: u64,
    /// The agent it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The life of that agent that it is about; absent for agents on the plain protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// What happened, and what there is to say of it.
    #[serde(flatten)]
    pub payload: Payload,
}

impl Event {
    /// An event about no agent; [`Self::about`] names one.
    #[must_use]
    pub fn new(payload: Payload, timestamp: u64) -> Self {
        Self { version: EVENT_VERSION, timestamp, agent_id: None, incarnation: None, payload }
    }

    /// The same about this agent, and this life of it where one is known.
    #[must_use]
    pub fn about(mut self, agent: &str, incarnation: Option<Incarnation>) -> Self {
        self.agent_id = Some(agent.to_owned());
        self.incarnation = incarnation;
        self
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.payload.kind()
    }

    /// Whether it is about this agent.
    #[must_use]
    pub fn is_about(&self, agent: &str) -> bool {
        self.agent_id.as_deref() == Some(agent)
    }

    /// Whether it is about a life of an agent that has come to its end.
    #[must_use]
    pub fn is_end_of_life(&self) -> bool {
        matches!(self.payload, Payload::AgentShutdown { .. } | Payload::CleanupCompleted { .. })
    }

    /// The sprint it is about.
    #[must_use]
    pub fn sprint(&self) -> Option<&str> {
        match &self.payload {
            Payload::AgentRegistered { sprint, .. }
            | Payload::AgentStateChanged { sprint, .. }
            | Payload::TaskAssigned { sprint, .. }
            | Payload::TaskCompleted { sprint, .. }
            | Payload::TaskRequeued { sprint, .. }
            | Payload::TaskAdded { sprint, .. }
            | Payload::TaskCancelled { sprint, .. }
            | Payload::TaskRetried { sprint, .. }
            | Payload::SprintChanged { sprint, .. }
            | Payload::AgentJoined { sprint, .. }
            | Payload::SprintStarted { sprint, .. }
            | Payload::SprintCompleted { sprint, .. } => sprint.as_deref(),
            _ => None,
        }
    }
}

/// Writers of other versions may have further words; an event is not lost for one of them.
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
             task_assigned task_completed task_requeued task_added task_cancelled task_retried sprint_changed sprint_started \
             sprint_completed agent_joined agent_adopted epic_waiting epic_resumed \
             epic_ended coordinator_lost leftovers_found sweep_held sweep_released memory_leak_detected memory_limit_exceeded"
        );
    }

    fn cleaned() -> Payload {
        Payload::CleanupCompleted {
            reason: None,
            process: Some(ProcessFate::Dead),
            keys_deleted: Some(6),
            tasks_requeued: None,
        }
    }

    #[test]
    fn an_event_reads_back_in_both_formats_and_absent_fields_are_not_written() {
        let event = Event::new(cleaned(), 1_764_000_000_000)
            .about("coder-1", Some(Incarnation(1_764_000_000_000_001)));
        for wire in [Wire::MsgPack, Wire::Json] {
            assert_eq!(decode::<Event>(&wire.encode(&event).unwrap()).unwrap(), event);
        }
        assert_eq!(
            String::from_utf8(Wire::Json.encode(&event).unwrap()).unwrap(),
            r#"{"v":1,"timestamp":1764000000000,"agentId":"coder-1","incarnation":"1764000000000001","type":"cleanup_completed","process":"dead","keysDeleted":6}"#
        );
        let words = EventKind::written().map(EventKind::as_str);
        for word in words {
            let event: Event = decode(format!(r#"{{"type":"{word}"}}"#).as_bytes()).unwrap();
            assert_eq!(event.kind().as_str(), word, "every kind may say nothing");
        }
    }

    #[test]
    fn the_original_designs_events_and_unknown_types_are_understood() {
        let original = br#"{"type":"heartbeat_sent","agentId":"a","timestamp":1764000000000}"#;
        assert_eq!(decode::<Event>(original).unwrap().kind(), EventKind::HeartbeatSent);
        let newer = br#"{"v":9,"type":"agent_promoted","agentId":"a","timestamp":1,"novel":{"x":[1]}}"#;
        assert_eq!(decode::<Event>(newer).unwrap().payload, Payload::Unknown);
        assert!(decode::<Event>(br#"{"agentId":"a"}"#).is_err(), "says nothing at all");
        let said = |word: &str| {
            let text = format!(
                r#"{{"type":"cleanup_acknowledged","agentId":"a","process":{word},"pids":[7],"new":1}}"#
            );
            decode::<Event>(text.as_bytes()).unwrap().payload
        };
        let acknowledged = |process| Payload::CleanupAcknowledged { process, pids: vec![7] };
        assert_eq!(said("\"left\""), acknowledged(Some(ProcessFate::Left)));
        assert_eq!([said("\"ended\""), said("null")], [acknowledged(None), acknowledged(None)]);
    }
}
