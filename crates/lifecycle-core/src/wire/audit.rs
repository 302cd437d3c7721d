//! The kinds of entries in the audit log (`agents:log`).

use crate::wire::word_enum::word_enum;

word_enum! {
    /// The field `type` of an entry.
    AuditKind, "kind of audit entry" {
        /// A sweeper, a coordinator or an operator reaped a life.
        Cleanup = "cleanup",
        /// An agent released itself.
        Release = "release",
        /// Somebody on the agent's host looked at what became of its processes.
        Acknowledge = "acknowledge",
        /// A sweeper removed an epic that waited for longer than it is kept.
        EpicExpired = "epic_expired",
        /// An operator cancelled an epic that waited.
        EpicCancelled = "epic_cancelled",
    }
}
