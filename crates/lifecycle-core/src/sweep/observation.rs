//! What a pass observes: the indexes, and every agent whose lease seems to be over.

use crate::agent::liveness::runs;
use crate::agent::plain_lease::PlainLease;
use crate::wire::ids::Incarnation;
use crate::wire::orphan::{Orphan, OrphanOutcome, Reason};
use crate::wire::record::{AgentRecord, Order};
use crate::wire::sweep_records::{Hold, Watermark};
use crate::wire::time::ServerTime;

/// One reading of the indexes, by a script in one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IndexReading {
    /// When the store was looked at.
    pub now: ServerTime,
    /// The store's generation marker, if it has one.
    pub generation: Option<String>,
    /// Members of `agents:active`.
    pub active: u64,
    /// Members of `agents:leases`.
    pub leases: u64,
    /// How many leases are over.
    pub expired: u64,
    /// The leases that have been over longest: id and end, oldest first.
    pub due: Vec<(String, ServerTime)>,
    /// When sweepers made their last passes; absent before the first one.
    pub watermark: Option<Watermark>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// End of the next lease.
    pub next_expiry: Option<ServerTime>,
}

/// What a plan is made from, beside the suspects. [`crate::sweep::triage`] builds it once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// When the store was looked at.
    pub now: ServerTime,
    /// Members of `agents:active`.
    pub active: u64,
    /// Members of `agents:leases`.
    pub leases: u64,
    /// How many agents have a lease that is over and do not live.
    pub expired: u64,
    /// The agents among them that were looked at, oldest lease first: id and end of lease.
    pub batch: Vec<(String, ServerTime)>,
    /// When sweepers made their last passes; absent before the first one.
    pub watermark: Option<Watermark>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// Agents whose lease still runs but who have missed a beat: see [`crate::sweep::brake::is_overdue`].
    pub overdue: u64,
}

/// An agent whose lease seems to be over, with all that is needed to judge it and to clean up after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suspect {
    /// The agent's id, as found in the index.
    pub id: String,
    /// End of its lease.
    pub lease_end: ServerTime,
    /// Its registration; `None` for an agent on the plain protocol.
    pub record: Option<AgentRecord>,
    /// When it was last heard of; `None` if that is not known.
    pub last_seen: Option<ServerTime>,
    /// Whether `agent:heartbeat:<id>` is there.
    pub has_heartbeat: bool,
    /// The order that it was given and has not followed, and the order's reason.
    pub order: Option<(Order, String)>,
    /// The lease that its heartbeat stands for; only for an agent on the plain protocol.
    pub plain: Option<PlainLease>,
    /// Whether it is a member of `agents:active`.
    pub listed: bool,
    /// The heartbeat by which a plain agent is judged. The reap script compares it once more.
    pub beat: JudgedBeat,
}

/// The heartbeat that a plain agent was judged by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JudgedBeat {
    /// There was no heartbeat.
    #[default]
    Missing,
    /// The key held these bytes.
    Bytes {
        /// The value as it was read.
        bytes: Vec<u8>,
        /// When their key expires; `None` if it never does.
        expires_at: Option<ServerTime>,
    },
    /// The value was too long to keep; only its length in bytes is compared.
    Length(u64),
}

impl Suspect {
    /// The life that is judged; `None` for an agent on the plain protocol.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.record.as_ref().map(|record| record.incarnation)
    }

    /// Length of its lease in ms.
    #[must_use]
    pub fn lease_ms(&self, default: u64) -> u64 {
        self.record.as_ref().map_or(default, |record| record.lease_ms)
    }

    /// Whether its end is proven rather than inferred from silence.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.ended.is_some())
    }

    /// Whether this is a plain agent that left: it removed itself from `agents:active`, as the original design's
    /// shutdown does, and has no heartbeat. Such an agent did not fall silent.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.plain.is_some() && !self.listed && !self.has_heartbeat
    }

    /// Whether this is a plain agent whose heartbeat tells that it lives although its lease is over. Never true for a
    /// registered agent: its beat would have renewed its lease.
    #[must_use]
    pub fn beats_after_all(&self, now: ServerTime) -> bool {
        self.plain.is_some_and(|lease| runs(lease.end, now))
    }

    /// The reason that a reap of this agent would have.
    #[must_use]
    pub fn reason(&self) -> Reason {
        if let Some(ended) = self.record.as_ref().and_then(|record| record.ended.as_deref()) {
            return ended.parse().unwrap_or(Reason::ProcessExited);
        }
        match &self.order {
            Some((Order::Terminate, why)) => why.parse().unwrap_or(Reason::StaleHeartbeat),
            _ if self.has_heartbeat => Reason::StaleHeartbeat,
            _ => Reason::MissingHeartbeat,
        }
    }

    /// The orphan that is reported, with its outcome.
    #[must_use]
    pub fn as_orphan(&self, reason: Reason, now: ServerTime, outcome: OrphanOutcome) -> Orphan {
        Orphan {
            agent_id: self.id.clone(),
            reason,
            last_seen: self.last_seen,
            idle_time: self.last_seen.map(|seen| now.ms_since(seen)),
            outcome,
        }
    }
}
