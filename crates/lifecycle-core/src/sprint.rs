//! What a coordinator does next for a sprint, decided from what is there and not from what has happened.
//!
//! [`decide`] looks at the whole sprint each time: the record of every task, and for every agent its process (which
//! the coordinator watches) and its registration (which the store has). So a lost event, a restart of the store or a
//! step that failed half-way changes nothing but the time it takes: the next look decides anew.
//!
//! ```text
//!   seat      NotStarted ──Start──▶ Running ──▶ Vacant ──Start──▶ Running …
//!                                                  └───GiveUp──▶ GivenUp
//!   task      pending ──Assign──▶ assigned ──▶ completed
//!                 ◀── requeue, Requeue ──┘
//!                 └──Fail──▶ failed
//! ```
//!
//! That an attempt is never in two hands rests on three rules here: a task is assigned only while its record says
//! `pending`; it comes back to `pending` only through the requeue, which a reap fills in the same stroke as it ends
//! the life that held it; and where the store lost its memory, only once that life provably does not hold it any more.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::ids::{AgentId, Incarnation, TaskId};
use crate::plan::{SprintPlan, TaskPlan};
use crate::restart::{Restart, RestartPolicy};
use crate::task::{TaskRecord, TaskState};

/// How long a task may look lost before it is: longer than any reap or registration takes.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// How long a dead agent's registration waits for a sweeper before the coordinator removes it itself.
pub const REAP_AFTER: Duration = Duration::from_secs(2);
/// How long the agents of an earlier run may take to leave before their ids are taken anyway (which is refused, with
/// a reason, while they live).
pub const LEAVE_AFTER: Duration = Duration::from_secs(10);

/// Everything a decision is made from. Times are of one monotonic clock of the coordinator.
#[derive(Debug, Clone)]
pub struct SprintView<'a> {
    /// What is to be done.
    pub plan: &'a SprintPlan,
    /// The records of all its tasks.
    pub records: &'a BTreeMap<TaskId, TaskRecord>,
    /// For tasks in flight, whether somebody holds them. Tasks that are not listed are held.
    pub grips: &'a BTreeMap<TaskId, Grip>,
    /// One seat for each agent of the plan, in its order.
    pub seats: &'a [Seat],
    /// Tasks whose last attempt may have left processes running. They wait until these have ended.
    pub occupied: &'a HashSet<TaskId>,
    /// No more work is handed out and nobody is started.
    pub stopping: bool,
    /// How often agents are started again.
    pub restart: RestartPolicy,
    /// How long an agent may be unknown to a store that lost its memory.
    pub lease: Duration,
}

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Seat {
    /// Its process.
    pub process: Process,
    /// Its registration, if there is one: of this process or of an earlier one.
    pub life: Option<SeenLife>,
    /// How long a running process that was registered has been unknown to the store.
    pub missing_for: Option<Duration>,
    /// Attempts it was given so far.
    pub given: u64,
    /// When it was started again.
    pub restarts: Vec<Duration>,
}

/// Where the process of a seat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Not started yet.
    NotStarted {
        /// Since when it could be.
        since: Duration,
    },
    /// It runs.
    Running,
    /// It has ended.
    Vacant {
        /// When.
        since: Duration,
        /// How.
        how: Exit,
    },
    /// It will not be started again.
    GivenUp {
        /// When it last ended.
        since: Duration,
    },
}

/// How an agent's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With 0: somebody told it to leave.
    Left,
    /// It has used much memory and left cleanly, so that a fresh one takes over.
    Spent,
    /// Any other way.
    Crashed,
    /// It found no store. That is no fault of its own.
    NoStore,
}

/// A registration as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenLife {
    /// Which life.
    pub incarnation: Incarnation,
    /// Whether it is of the process that runs now.
    pub own: bool,
    /// Whether it takes work: it is not over, not draining, not starting.
    pub takes_work: bool,
}

/// Whether the life that a task's record names holds the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grip {
    /// It is registered and does not hold it, for so long.
    Dropped(Duration),
    /// It is not registered and its process is not there, for so long.
    Gone(Duration),
}

/// One thing to do. Agents are named by their position in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Give the task to this life of the agent.
    Assign {
        /// The task.
        task: TaskId,
        /// The agent.
        agent: usize,
        /// Its life.
        incarnation: Incarnation,
    },
    /// Start the agent's process.
    Start {
        /// The agent.
        agent: usize,
    },
    /// Remove the registration of an agent whose process has ended; no sweeper did.
    Reap {
        /// The agent.
        agent: usize,
        /// The life.
        incarnation: Incarnation,
    },
    /// End the process: its life was over long ago and it did not notice.
    End {
        /// The agent.
        agent: usize,
    },
    /// Do not start the agent again.
    GiveUp {
        /// The agent.
        agent: usize,
    },
    /// A waiting task cannot run any more: write this record.
    Fail {
        /// The task.
        task: TaskId,
        /// Its record.
        record: TaskRecord,
    },
    /// A task in flight was lost with the store's memory: write this record.
    Requeue {
        /// The task.
        task: TaskId,
        /// Its record.
        record: TaskRecord,
    },
    /// Every task is settled.
    Complete,
}

/// What to do now, `now` by the clock of the view.
#[must_use]
pub fn decide(view: &SprintView<'_>, now: Duration) -> Vec<Action> {
    if view.plan.tasks.iter().all(|task| view.state(&task.id).is_settled()) {
        return vec![Action::Complete];
    }
    let mut actions = Vec::new();
    requeue_lost(view, &mut actions);
    for (agent, seat) in view.seats.iter().enumerate() {
        actions.extend(seat_action(view, agent, seat, now));
    }
    if !view.stopping {
        let doomed = fail_hopeless(view, &mut actions);
        assign(view, &doomed, &mut actions);
    }
    actions
}

impl SprintView<'_> {
    fn record(&self, task: &TaskId) -> TaskRecord {
        let attempts =
            || self.plan.tasks.iter().find(|plan| plan.id == *task).map_or(1, |plan| plan.attempts);
        self.records.get(task).cloned().unwrap_or_else(|| TaskRecord::pending(attempts()))
    }

    fn state(&self, task: &TaskId) -> TaskState {
        self.records.get(task).map_or(TaskState::Pending, |record| record.state)
    }

    /// Nobody is at work and nobody will be.
    fn is_deserted(&self) -> bool {
        self.seats.iter().all(|seat| match seat.process {
            Process::GivenUp { .. } | Process::Vacant { how: Exit::Left, .. } => true,
            Process::NotStarted { .. } | Process::Running | Process::Vacant { .. } => false,
        })
    }
}

/// Tasks whose record names a life that does not hold them. An attempt that its agent never began (the agent lives and
/// does not know of it) is not counted; one that died with its agent is.
fn requeue_lost(view: &SprintView<'_>, actions: &mut Vec<Action>) {
    for task in &view.plan.tasks {
        let (lost_for, begun) = match view.grips.get(&task.id) {
            Some(Grip::Dropped(time)) => (*time, false),
            Some(Grip::Gone(time)) => (*time, true),
            None => continue,
        };
        let record = view.record(&task.id);
        if record.state != TaskState::Assigned || lost_for < LOST_AFTER {
            continue;
        }
        let attempt = if begun { record.attempt } else { record.attempt.saturating_sub(1) };
        let given_up = attempt >= record.max_attempts;
        let record = TaskRecord {
            state: if given_up { TaskState::Failed } else { TaskState::Pending },
            attempt,
            max_attempts: record.max_attempts,
            agent_id: record.agent_id.filter(|_| given_up),
            incarnation: None,
            detail: Some("lost with the store's memory".into()),
        };
        actions.push(Action::Requeue { task: task.id.clone(), record });
    }
}

fn seat_action(view: &SprintView<'_>, agent: usize, seat: &Seat, now: Duration) -> Option<Action> {
    let waited = |since: Duration| now.saturating_sub(since);
    let (since, how) = match seat.process {
        Process::Running => {
            let unnoticed = seat.missing_for.is_some_and(|time| time >= view.lease);
            return unnoticed.then_some(Action::End { agent });
        }
        Process::NotStarted { since } => {
            let free = seat.life.is_none() || waited(since) >= LEAVE_AFTER;
            return (free && !view.stopping).then_some(Action::Start { agent });
        }
        Process::GivenUp { since } => (since, None),
        Process::Vacant { since, how } => (since, Some(how)),
    };
    if let Some(life) = seat.life {
        let incarnation = life.incarnation;
        return (waited(since) >= REAP_AFTER).then_some(Action::Reap { agent, incarnation });
    }
    match how.filter(|_| !view.stopping)? {
        Exit::Left => None,
        Exit::Spent => Some(Action::Start { agent }),
        Exit::NoStore => (waited(since) >= Duration::from_secs(1)).then_some(Action::Start { agent }),
        Exit::Crashed => match view.restart.judge(&seat.restarts, since) {
            Restart::At(time) => (now >= time).then_some(Action::Start { agent }),
            Restart::GiveUp => Some(Action::GiveUp { agent }),
        },
    }
}

/// Waiting tasks that need a failed one, over any number of steps; all of them once no agent is left. Returns them.
fn fail_hopeless(view: &SprintView<'_>, actions: &mut Vec<Action>) -> HashSet<TaskId> {
    let mut doomed: HashSet<TaskId> = HashSet::new();
    let deserted = view.is_deserted();
    let any_failed = view.records.values().any(|record| record.state == TaskState::Failed);
    if !deserted && !any_failed {
        return doomed;
    }
    for task in view.plan.order() {
        if view.state(&task.id) != TaskState::Pending {
            continue;
        }
        let failed =
            task.needs.iter().find(|need| view.state(need) == TaskState::Failed || doomed.contains(*need));
        let why = match failed {
            Some(need) => format!("needs {need}, which failed"),
            None if deserted => "no agent left to run it".into(),
            None => continue,
        };
        doomed.insert(task.id.clone());
        let record = TaskRecord { state: TaskState::Failed, detail: Some(why), ..view.record(&task.id) };
        actions.push(Action::Fail { task: task.id.clone(), record });
    }
    doomed
}

/// Ready tasks in the order of the plan, to idle agents: the one given least so far first, then in the order of the plan.
fn assign(view: &SprintView<'_>, doomed: &HashSet<TaskId>, actions: &mut Vec<Action>) {
    let at_work: HashSet<&str> = view
        .records
        .values()
        .filter(|record| record.state == TaskState::Assigned)
        .filter_map(|record| record.agent_id.as_deref())
        .collect();
    let mut idle: Vec<(u64, usize, Incarnation)> = view
        .seats
        .iter()
        .zip(&view.plan.agents)
        .enumerate()
        .filter(|(_, (_, plan))| !at_work.contains(plan.id.as_str()))
        .filter_map(|(agent, (seat, _))| Some((seat.given, agent, idle_life(seat)?)))
        .collect();
    idle.sort_unstable();
    let completed = |need: &TaskId| view.state(need) == TaskState::Completed;
    let is_ready = |task: &&TaskPlan| {
        view.state(&task.id) == TaskState::Pending
            && !doomed.contains(&task.id)
            && !view.occupied.contains(&task.id)
            && task.needs.iter().all(completed)
    };
    let ready = view.plan.tasks.iter().filter(is_ready);
    actions.extend(ready.zip(idle).map(|(task, (_, agent, incarnation))| Action::Assign {
        task: task.id.clone(),
        agent,
        incarnation,
    }));
}

fn idle_life(seat: &Seat) -> Option<Incarnation> {
    let life = seat.life.filter(|life| life.own && life.takes_work)?;
    (seat.process == Process::Running).then_some(life.incarnation)
}

/// The agent's position in the plan.
#[must_use]
pub fn seat_of(plan: &SprintPlan, agent: &str) -> Option<usize> {
    plan.agents.iter().position(|plan| AgentId::as_str(&plan.id) == agent)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
