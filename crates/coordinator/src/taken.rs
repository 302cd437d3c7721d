//! What a coordinator has taken: its epic, and what an earlier coordinator has done of it.

use std::collections::BTreeMap;
use std::time::Duration;

use lifecycle_core::wire::ids::EpicId;
use lifecycle_core::wire::sprint_record::SprintRecord;
use lifecycle_core::wire::task::{AddedTask, TaskRecord};

/// The epic that this coordinator has.
#[derive(Debug, Clone)]
pub(crate) struct Epic {
    pub(crate) id: EpicId,
    /// The text of the plan by which it runs.
    pub(crate) plan: String,
    /// Where it runs, as fields of its record.
    pub(crate) place: BTreeMap<&'static str, String>,
    /// In which epoch it was taken.
    pub(crate) epoch: u64,
    /// How long ago it began then, by an earlier coordinator.
    pub(crate) before: Duration,
}

/// A sprint of an earlier coordinator, as the store has it.
#[derive(Debug)]
pub(crate) struct EarlierSprint {
    pub(crate) record: SprintRecord,
    /// The tasks that were added while the epic ran.
    pub(crate) added: Vec<AddedTask>,
    pub(crate) records: BTreeMap<String, TaskRecord>,
}
