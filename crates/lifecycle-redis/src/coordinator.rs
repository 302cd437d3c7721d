//! A coordinator, for its sprints.

mod agents;
pub(crate) mod sprints;
pub(crate) mod tasks;
