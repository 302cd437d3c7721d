//! The epic `shop`: its coordinator, its sprint `api`, and the task `login` for whoever works there.

use std::collections::BTreeMap;

use lifecycle_core::wire::ids::{EpicId, SprintId, TaskId};
use lifecycle_core::wire::task::{Assignment, TaskRecord};
use lifecycle_redis::{Assigned, EpicClaim, EpicTaken, Fenced, KnownSprint, Life, SprintStarted};

use super::{Site, child_of_the_boss, coordinator_of_the_epic};

/// The coordinator.
pub(crate) const BOSS: &str = "shop.coordinator";
/// How often the task may be tried, and how many crashes it may cost.
pub(crate) const ATTEMPTS: u32 = 3;

pub(crate) fn epic() -> EpicId {
    EpicId::new("shop").unwrap()
}

pub(crate) fn sprint() -> SprintId {
    SprintId::new("api").unwrap()
}

pub(crate) fn task() -> TaskId {
    TaskId::new("login").unwrap()
}

/// These tasks, and nothing else that is known of their sprint.
pub(crate) fn known_sprint(tasks: &BTreeMap<TaskId, TaskRecord>) -> KnownSprint<'_> {
    static NOTHING: BTreeMap<String, String> = BTreeMap::new();
    KnownSprint { begins: true, tasks, agents: &[], wishes: &NOTHING, added: &[] }
}

/// A run of the task.
pub(crate) fn assignment(run: u32, attempt: u32) -> Assignment {
    Assignment {
        run,
        task: task(),
        sprint: sprint(),
        attempt,
        max_attempts: ATTEMPTS,
        input: "write the login".into(),
        timeout: None,
        needs: Vec::new(),
        assigned_at: None,
    }
}

impl Site {
    /// A coordinator that runs the sprint.
    pub(crate) fn coordinator(&self) -> Life {
        let boss = self.register_as(&coordinator_of_the_epic());
        self.start_sprint(&boss);
        boss
    }

    pub(crate) fn start_sprint(&self, boss: &Life) {
        let known = self.done(self.store.epic(&epic())).map_or(0, |record| record.epoch);
        let claim =
            EpicClaim { epic: &epic(), plan: "", epoch: known, place: &BTreeMap::new(), again: false };
        let taken = self.done(self.store.coordinator(boss).take_epic(claim));
        assert_eq!(taken, Fenced::Ok(EpicTaken::Ok(known + 1)));
        let tasks = [(task(), TaskRecord::pending(ATTEMPTS, ATTEMPTS))].into();
        let started =
            self.done(self.store.coordinator(boss).start_sprint(&epic(), &sprint(), known_sprint(&tasks)));
        assert_eq!(started, Fenced::Ok(SprintStarted::Ok));
    }

    /// A worker of that sprint with the task in hand.
    pub(crate) fn worker(&self, id: &str, boss: &Life) -> Life {
        let worker = self.register_as(&child_of_the_boss(id));
        assert_eq!(self.hand_out(boss, &worker, &assignment(1, 1)), Fenced::Ok(Assigned::Ok));
        worker
    }

    /// What the coordinator is answered when it gives this run to a worker.
    pub(crate) fn hand_out(&self, boss: &Life, worker: &Life, run: &Assignment) -> Fenced<Assigned> {
        self.done(self.store.coordinator(boss).assign_task(&worker.id, worker.incarnation, run))
    }
}
