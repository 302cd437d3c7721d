//! A coordinator and its epic: taken, and ended.

use std::collections::BTreeMap;

use fred::types::Value;
use lifecycle_core::wire::epic_record::EpicOutcome;
use lifecycle_core::wire::ids::{EpicId, SprintId, TaskId};
use lifecycle_core::wire::task::TaskRecord;
use lifecycle_core::wire::time::millis;
use serde::Serialize;

use crate::epics::HISTORY_LENGTH;
use crate::error::StoreError;
use crate::fenced::{Fenced, fenced};
use crate::reply::argument;
use crate::roles::CoordinatorStore;
use crate::scripts::{EpicEnd, EpicTake, TaskReplace};
use crate::store::arguments;

/// The answer to taking an epic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpicTaken {
    /// It is this coordinator's, in this epoch.
    Ok(u64),
    /// Refused: the epic is not what the caller has decided by. Look again.
    Changed,
}

/// What a coordinator decides to take.
#[derive(Debug, Clone, Copy)]
pub struct EpicClaim<'a> {
    /// The epic.
    pub epic: &'a EpicId,
    /// The text of the plan by which it is to run.
    pub plan: &'a str,
    /// The epoch that was read: 0 for an epic that is not there.
    pub epoch: u64,
    /// Where it runs, as further fields of its record.
    pub place: &'a BTreeMap<&'static str, String>,
    /// Whether this life has taken it before, in this epoch, and the store may have lost that.
    pub again: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TakeArguments<'a> {
    epic: &'a str,
    coordinator: &'a str,
    plan: &'a str,
    epoch: u64,
    again: bool,
    keep_ms: u64,
    format: &'static str,
    place: &'a BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct EndArguments<'a> {
    epic: &'a str,
    outcome: EpicOutcome,
    reason: &'a str,
    format: &'static str,
    length: u32,
    entry: &'a BTreeMap<&'static str, String>,
}

impl CoordinatorStore {
    /// Takes an epic: one that begins, or one that waits. Its epoch goes up.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn take_epic(&self, claim: EpicClaim<'_>) -> Result<Fenced<EpicTaken>, StoreError> {
        let keys = self.store.keys();
        let names = EpicTake { epic_state: keys.epic_state(claim.epic), waiting: keys.epics_waiting() };
        let args = arguments(&TakeArguments {
            epic: claim.epic.as_str(),
            coordinator: self.life.id.as_str(),
            plan: claim.plan,
            epoch: claim.epoch,
            again: claim.again,
            keep_ms: millis(self.store.settings().coordinator.resume_for),
            format: self.store.wire.as_str(),
            place: claim.place,
        })?;
        let mut reply = self.store.run_fenced(&self.life, names, vec![args]).await?;
        if reply.word() == "changed" {
            return Ok(Fenced::Ok(EpicTaken::Changed));
        }
        fenced(&reply)?.try_map(|| Ok(EpicTaken::Ok(reply.number()?)))
    }

    /// Ends the epic: nothing of it and of these sprints stays but an entry in the history, with `entry` as further
    /// fields. Returns how many keys were removed; `None` if this life has not taken the epic, or the
    /// store lost that.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. It may have ended; calling it again is harmless.
    pub async fn end_epic(
        &self,
        epic: &EpicId,
        sprints: &[&SprintId],
        outcome: EpicOutcome,
        reason: &str,
        entry: &BTreeMap<&'static str, String>,
    ) -> Result<Fenced<Option<u64>>, StoreError> {
        let keys = self.store.keys();
        let names = EpicEnd {
            epic_state: keys.epic_state(epic),
            waiting: keys.epics_waiting(),
            history: keys.epics_history(),
            epic_sprints: keys.epic_sprints(epic),
        };
        let further = sprints.iter().flat_map(|sprint| keys.of_sprint(sprint));
        let (format, length) = (self.store.wire.as_str(), HISTORY_LENGTH);
        let args = EndArguments { epic: epic.as_str(), outcome, reason, format, length, entry };
        let mut reply = self.store.run_fenced_on(&self.life, names, further, vec![arguments(&args)?]).await?;
        if reply.word() == "no_epic" {
            return Ok(Fenced::Ok(None));
        }
        fenced(&reply)?.try_map(|| Ok(Some(reply.number()?)))
    }

    /// Puts records in the place of those that were read with this run, or removes them (`None`). The sprint is open again,
    /// if it was over. Returns how many it were; `None` if this coordinator does not have the epic.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn replace_tasks(
        &self,
        epic: &EpicId,
        sprint: &SprintId,
        tasks: &[(TaskId, u32, Option<TaskRecord>)],
    ) -> Result<Fenced<Option<u64>>, StoreError> {
        let keys = self.store.keys();
        let names = TaskReplace {
            epic_state: keys.epic_state(epic),
            sprint_state: keys.sprint_state(sprint),
            sprint_tasks: keys.sprint_tasks(sprint),
        };
        let mut args = Vec::with_capacity(tasks.len() * 3);
        for (task, run, record) in tasks {
            let record = match record {
                Some(record) => Value::Bytes(self.store.wire.encode(record)?.into()),
                None => "".into(),
            };
            args.extend([task.as_str().into(), argument(u64::from(*run)), record]);
        }
        let mut reply = self.store.run_fenced(&self.life, names, args).await?;
        if reply.word() == "no_epic" {
            return Ok(Fenced::Ok(None));
        }
        fenced(&reply)?.try_map(|| Ok(Some(reply.number()?)))
    }
}
