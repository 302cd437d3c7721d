//! What entries of the audit log (`agents:log`) are about.

use crate::wire::word_enum::word_enum;

word_enum! {
    /// The field `type` of an entry.
    AuditKind, "kind of audit entry" {
        /// A life was reaped.
        Cleanup = "cleanup",
        /// A life ended itself.
        Release = "release",
        /// Somebody on the host looked at a life's processes.
        Acknowledge = "acknowledge",
    }
}
