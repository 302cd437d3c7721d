//! What a coordinator has taken: its epic, and what an earlier coordinator has done of it.

use std::collections::BTreeMap;

use lifecycle_core::sprint::epic::SprintOutcome;
use lifecycle_core::wire::ids::EpicId;
use lifecycle_core::wire::task::TaskRecord;

/// The epic that this coordinator has.
#[derive(Debug, Clone)]
pub(crate) struct Epic {
    pub(crate) id: EpicId,
    /// The text of the plan by which it runs.
    pub(crate) plan: String,
    /// In which epoch it was taken.
    pub(crate) epoch: u64,
}

/// A sprint of an earlier coordinator, as the store has it.
#[derive(Debug)]
pub(crate) struct EarlierSprint {
    /// How it ended, if it did.
    pub(crate) outcome: Option<SprintOutcome>,
    pub(crate) records: BTreeMap<String, TaskRecord>,
}
