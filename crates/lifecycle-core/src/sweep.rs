//! The pure part of a pass (observe → triage → plan → announce → reap → report): what is observed, and what is decided.

pub mod brake;
pub mod observation;
pub mod plan;
pub mod residue;
pub mod store_watch;
pub mod triage;
