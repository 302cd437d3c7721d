//! An operator: who is there, what they own, what was done to whom.

pub(crate) mod fleet;
pub(crate) mod inventory;
mod memory;
mod sprints;
