//! A pass: observe → plan → announce → reap → report. Here is what is observed, and the plan.

pub mod brake;
pub mod observation;
pub mod plan;
pub mod residue;
pub mod store_watch;
pub mod triage;
