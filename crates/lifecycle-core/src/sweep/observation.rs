//! What a pass observes: the indexes, and every agent whose lease seems to be over.

use crate::agent::liveness::runs;
use crate::agent::plain_lease::PlainLease;
use crate::wire::ids::Incarnation;
use crate::wire::orphan::{Orphan, OrphanOutcome, Reason};
use crate::wire::record::{AgentRecord, Order};
use crate::wire::sweep_records::{Hold, Watermark};
use crate::wire::time::ServerTime;

/// What one look at the indexes showed.
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
    /// Leases that are over.
    pub expired: u64,
    /// The first of them, oldest first: id and end of lease.
    pub due: Vec<(String, ServerTime)>,
    /// The last pass of anybody.
    pub watermark: Option<Watermark>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// End of the next lease.
    pub next_expiry: Option<ServerTime>,
}

/// What a plan is made from, beside the suspects: built once, by [`crate::sweep::triage`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// When the store was looked at.
    pub now: ServerTime,
    /// Members of `agents:active`.
    pub active: u64,
    /// Members of `agents:leases`.
    pub leases: u64,
    /// Agents whose lease is over and who do not live.
    pub expired: u64,
    /// Those of them that were looked at, oldest first: id and end of lease.
    pub batch: Vec<(String, ServerTime)>,
    /// The last pass of anybody.
    pub watermark: Option<Watermark>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// Agents whose lease still runs but who have missed a beat: see [`crate::sweep::brake::is_overdue`].
    pub overdue: u64,
}

/// An agent whose lease seems to be over, with all that is needed to judge it and to clean it up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suspect {
    /// Its id, as found.
    pub id: String,
    /// End of its lease.
    pub lease_end: ServerTime,
    /// Its registration; `None` for an agent on the plain protocol.
    pub record: Option<AgentRecord>,
    /// When it was last heard of.
    pub last_seen: Option<ServerTime>,
    /// Whether `agent:heartbeat:<id>` is there.
    pub has_heartbeat: bool,
    /// The order it has not answered, and why it was given.
    pub order: Option<(Order, String)>,
    /// For an agent on the plain protocol: the lease its heartbeat amounts to.
    pub plain: Option<PlainLease>,
    /// Whether it is a member of `agents:active`.
    pub listed: bool,
    /// The heartbeat that a plain agent is judged by: the reap script compares it once more.
    pub beat: JudgedBeat,
}

/// The heartbeat that a plain agent was judged by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JudgedBeat {
    /// There was none.
    #[default]
    Missing,
    /// These bytes.
    Bytes {
        /// As they were read.
        bytes: Vec<u8>,
        /// When their key expires; `None` if it never does.
        expires_at: Option<ServerTime>,
    },
    /// Something too long to carry around, of this length.
    Length(u64),
}

impl Suspect {
    /// The life it is judged for.
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

    /// Whether this is a plain agent that took itself off the list, as the original design's shutdown does, and beats no
    /// more. It left; it did not fall silent.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.plain.is_some() && !self.listed && !self.has_heartbeat
    }

    /// Whether a plain agent's heartbeat says that it is alive although its lease is over.
    #[must_use]
    pub fn is_alive(&self, now: ServerTime) -> bool {
        self.plain.is_some_and(|lease| runs(lease.end, now))
    }

    /// Why it would be reaped.
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

    /// The orphan that it is, once it was decided what becomes of it.
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
