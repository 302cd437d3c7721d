//! The tasks that this life has begun and not ended, and the latest it has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use lifecycle_core::wire::ids::TaskId;
use lifecycle_core::wire::task::Assignment;
use lifecycle_core::wire::time::ServerTime;
use tokio::sync::{MutexGuard, Notify, watch};

use crate::lock::lock;

/// How many ended runs are kept: more than an agent ends in the time that a store can forget.
const ENDED_RUNS_KEPT: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct TasksInHand {
    begun: Mutex<BTreeMap<TaskId, Assignment>>,
    /// The latest runs that this life has ended. A store that went back in time hands them out again.
    ended: Mutex<VecDeque<EndedRun>>,
    /// Tasks in hand whose end is being recorded: the store needs not be told of them any more, and must not.
    ending: Mutex<BTreeSet<TaskId>>,
    /// Held while the store is told of the tasks in hand.
    telling: tokio::sync::Mutex<()>,
    /// Whether the store may not know of the tasks in hand.
    untold: AtomicBool,
    look: Notify,
    /// Counts what was heard of tasks that were cancelled.
    cancelled: watch::Sender<u64>,
}

/// A run that has ended. The same task and number at another time is another run: of an epic that began anew, or of a store
/// that lost what it knew.
#[derive(Debug, PartialEq, Eq)]
struct EndedRun {
    task: TaskId,
    run: u32,
    assigned_at: Option<ServerTime>,
}

impl EndedRun {
    fn of(task: &Assignment) -> Self {
        Self { task: task.task.clone(), run: task.run, assigned_at: task.assigned_at }
    }
}

impl TasksInHand {
    /// Notes that a task in hand may have been cancelled.
    pub(crate) fn note_cancellation(&self) {
        self.cancelled.send_modify(|count| *count += 1);
    }

    /// Changes with each of them.
    pub(crate) fn cancellations(&self) -> watch::Receiver<u64> {
        self.cancelled.subscribe()
    }

    pub(crate) fn begin(&self, task: &Assignment) {
        lock(&self.begun).insert(task.task.clone(), task.clone());
    }

    /// Ends a run. `for_good`: it is not done again, even if it is handed out once more.
    pub(crate) fn end(&self, task: &Assignment, for_good: bool) {
        if for_good {
            let mut ended = lock(&self.ended);
            ended.push_back(EndedRun::of(task));
            if ended.len() > ENDED_RUNS_KEPT {
                ended.pop_front();
            }
        }
        lock(&self.begun).remove(&task.task);
        lock(&self.ending).remove(&task.task);
    }

    /// From now on the store is not told that this task is in hand. What it was just told has arrived: after the end it would
    /// bring back a run that is over.
    pub(crate) async fn begin_to_end(&self, task: &Assignment) {
        lock(&self.ending).insert(task.task.clone());
        drop(self.telling.lock().await);
    }

    /// Its end could not be recorded.
    pub(crate) fn is_not_over(&self, task: &Assignment) {
        lock(&self.ending).remove(&task.task);
    }

    /// The tasks of which the store is to be told, and a lock to be held while it is.
    pub(crate) async fn to_tell(&self) -> (MutexGuard<'_, ()>, Vec<Assignment>) {
        let telling = self.telling.lock().await;
        let ending = lock(&self.ending).clone();
        (telling, self.all().into_iter().filter(|task| !ending.contains(&task.task)).collect())
    }

    /// Whether this run is neither in hand nor ended.
    pub(crate) fn is_new(&self, task: &Assignment) -> bool {
        !lock(&self.begun).contains_key(&task.task) && !lock(&self.ended).contains(&EndedRun::of(task))
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.begun).is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Assignment> {
        lock(&self.begun).values().cloned().collect()
    }

    /// Notes that the store may not know of the tasks in hand. The next answered beat tells it.
    pub(crate) fn mark_untold(&self) {
        self.untold.store(true, Ordering::SeqCst);
    }

    /// Whether the store has to be told. From then on it counts as told.
    pub(crate) fn take_untold(&self) -> bool {
        self.untold.swap(false, Ordering::SeqCst)
    }

    /// Makes the agent look for tasks now.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    pub(crate) async fn looked_for(&self) {
        self.look.notified().await;
    }
}
