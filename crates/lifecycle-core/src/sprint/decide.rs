//! What a coordinator does next for a sprint, decided from what is there and not from what has happened.
//!
//! [`decide`] looks at the whole sprint each time: the record of every task, and for every agent its process (which
//! the coordinator watches) and its registration (which the store has). So a lost event, a restart of the store or a
//! step that failed half-way changes nothing but the time it takes: the next look decides anew.
//!
//! ```text
//!   slot      NotStarted ──Start──▶ Running ──▶ Vacant ──Start──▶ Running …
//!                                                  └───GiveUp──▶ GivenUp
//!   task      pending ──Assign──▶ assigned ──▶ completed
//!                 ◀── requeue, Recall ───┘
//!                 └──Fail──▶ failed
//! ```
//!
//! An agent's id may be held by somebody who is not the process that runs here: an agent of an earlier run of this
//! epic, or one that a person started under that name. Nobody is ended for having a name: such an id is left alone until
//! it is free, and an earlier life is removed only once its end is proven or its lease is over, which the reap script
//! checks for itself.
//!
//! That an attempt is never in two hands rests on three rules here: a task is assigned only while its record says
//! `pending`; it comes back to `pending` only through the requeue, which a reap fills in the same stroke as it ends
//! the life that held it; and where the store lost its memory, only once that life provably does not hold it any more.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::sprint::plan::{SprintPlan, TaskPlan};
use crate::sprint::restart::{Restart, RestartPolicy, replace_at};
use crate::wire::ids::{AgentId, Incarnation, TaskId};
use crate::wire::task::{Cost, TaskRecord, TaskState};

/// How long a task may look lost before it is: longer than any reap or registration takes.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// How long a dead agent's registration waits for a sweeper before the coordinator removes it itself.
pub const REAP_AFTER: Duration = Duration::from_secs(2);

/// Pause before an agent that found no store is started again.
const NO_STORE_PAUSE: Duration = Duration::from_secs(1);

/// Everything a decision is made from. Times are of one monotonic clock of the coordinator.
#[derive(Debug, Clone)]
pub struct SprintView<'a> {
    /// What is to be done.
    pub plan: &'a SprintPlan,
    /// The records of all its tasks.
    pub records: &'a BTreeMap<TaskId, TaskRecord>,
    /// For tasks in flight, whether somebody holds them. Tasks that are not listed are held.
    pub grips: &'a BTreeMap<TaskId, Grip>,
    /// One slot for each agent of the plan, in its order.
    pub slots: &'a [SlotView],
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
pub struct SlotView {
    /// Its process.
    pub process: Process,
    /// Its registration, if there is one: of this process or of an earlier one.
    pub life: Option<SlotLife>,
    /// How long a running process that was registered has been unknown to the store.
    pub missing_for: Option<Duration>,
    /// Attempts it was given so far.
    pub given: u64,
    /// When it was started again.
    pub restarts: Vec<Duration>,
    /// An operator said not to replace it.
    pub is_retired: bool,
}

/// Where the process of a slot is.
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
    /// Its id is held by somebody else.
    Held,
    /// Its life was over before it ended: somebody reaped or replaced it.
    Fenced,
}

/// A registration as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLife {
    /// Which life.
    pub incarnation: Incarnation,
    /// Whose it is.
    pub holder: IdHolder,
    /// Whether it takes work: it is not over, not draining, not starting.
    pub takes_work: bool,
}

/// Who holds an agent's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdHolder {
    /// The process that runs now.
    Own,
    /// A life whose end is proven. Only its registration is still there.
    Dead,
    /// An agent of an earlier run of this epic. It may live.
    Earlier,
    /// Somebody else. Not ours to end.
    Stranger,
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
    /// A run in flight was lost with the store's memory: take it back.
    Recall {
        /// The task.
        task: TaskId,
        /// The run.
        run: u32,
        /// What it costs.
        cost: Cost,
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
    recall_lost(view, &mut actions);
    for (agent, slot) in view.slots.iter().enumerate() {
        actions.extend(slot_action(view, agent, slot, now));
    }
    if !view.stopping {
        let doomed = fail_hopeless(view, &mut actions);
        assign(view, &doomed, &mut actions);
    }
    actions
}

impl SprintView<'_> {
    fn record(&self, task: &TaskId) -> TaskRecord {
        let written = self.records.get(task).cloned();
        let planned = || self.plan.tasks.iter().find(|plan| plan.id == *task).map(TaskPlan::record);
        written.or_else(planned).unwrap_or_else(|| TaskRecord::pending(1, 1))
    }

    fn state(&self, task: &TaskId) -> TaskState {
        self.records.get(task).map_or(TaskState::Pending, |record| record.state)
    }

    /// Nobody is at work and nobody will be: every agent crashed as often as it may.
    fn is_deserted(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.process, Process::GivenUp { .. }))
    }
}

/// Tasks whose record names a life that does not hold them. A run that its agent never began (the agent lives and
/// does not know of it) costs nothing; one that went with its agent is a crash.
fn recall_lost(view: &SprintView<'_>, actions: &mut Vec<Action>) {
    for task in &view.plan.tasks {
        let (lost_for, cost) = match view.grips.get(&task.id) {
            Some(Grip::Dropped(time)) => (*time, Cost::Nothing),
            Some(Grip::Gone(time)) => (*time, Cost::Crash),
            None => continue,
        };
        let record = view.record(&task.id);
        if record.state == TaskState::Assigned && lost_for >= LOST_AFTER {
            actions.push(Action::Recall { task: task.id.clone(), run: record.run, cost });
        }
    }
}

fn slot_action(view: &SprintView<'_>, agent: usize, slot: &SlotView, now: Duration) -> Option<Action> {
    let since = match slot.process {
        Process::Running => {
            let unnoticed = slot.missing_for.is_some_and(|time| time >= view.lease);
            return unnoticed.then_some(Action::End { agent });
        }
        Process::NotStarted { since } | Process::Vacant { since, .. } | Process::GivenUp { since } => since,
    };
    if let Some(life) = slot.life {
        let may_be_over = matches!(life.holder, IdHolder::Dead | IdHolder::Earlier);
        let is_due = now.saturating_sub(since) >= REAP_AFTER;
        return (may_be_over && is_due).then_some(Action::Reap { agent, incarnation: life.incarnation });
    }
    if view.stopping || slot.is_retired {
        return None;
    }
    let start_at = match slot.process {
        Process::NotStarted { since } => since,
        Process::Vacant { since, how: Exit::Left | Exit::Spent | Exit::Held | Exit::Fenced } => {
            replace_at(since)
        }
        Process::Vacant { since, how: Exit::NoStore } => since + NO_STORE_PAUSE,
        Process::Vacant { since, how: Exit::Crashed } => match view.restart.judge(&slot.restarts, since) {
            Restart::At(time) => time,
            Restart::GiveUp => return Some(Action::GiveUp { agent }),
        },
        Process::GivenUp { .. } | Process::Running => return None,
    };
    (now >= start_at).then_some(Action::Start { agent })
}

/// The agents that the waiting tasks of a sprint wait for, when there is nobody at work and nobody is about to be. Empty
/// while somebody is, or nothing waits.
#[must_use]
pub fn waited_for(view: &SprintView<'_>) -> Vec<(usize, WhyAbsent)> {
    let absent = view.slots.iter().enumerate().map(|(agent, slot)| Some((agent, absence(slot)?)));
    let absent: Option<Vec<_>> = absent.collect();
    let is_pending = |task: &TaskPlan| view.state(&task.id) == TaskState::Pending;
    absent.filter(|_| view.plan.tasks.iter().any(is_pending) && !view.stopping).unwrap_or_default()
}

/// Why an agent is not at work and will not be by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyAbsent {
    /// An operator said not to replace it.
    Retired,
    /// Its id is held by somebody else.
    Held,
    /// It crashed as often as it may.
    GivenUp,
}

fn absence(slot: &SlotView) -> Option<WhyAbsent> {
    match (slot.process, slot.life.map(|life| life.holder)) {
        (Process::Running, _) => None,
        (Process::GivenUp { .. }, _) => Some(WhyAbsent::GivenUp),
        (_, Some(IdHolder::Stranger | IdHolder::Earlier)) => Some(WhyAbsent::Held),
        _ => slot.is_retired.then_some(WhyAbsent::Retired),
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
        .slots
        .iter()
        .zip(&view.plan.agents)
        .enumerate()
        .filter(|(_, (_, plan))| !at_work.contains(plan.id.as_str()))
        .filter_map(|(agent, (slot, _))| Some((slot.given, agent, idle_life(slot)?)))
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

fn idle_life(slot: &SlotView) -> Option<Incarnation> {
    let life = slot.life.filter(|life| life.holder == IdHolder::Own && life.takes_work)?;
    (slot.process == Process::Running).then_some(life.incarnation)
}

/// The agent's position in the plan.
#[must_use]
pub fn slot_of(plan: &SprintPlan, agent: &str) -> Option<usize> {
    plan.agents.iter().position(|plan| AgentId::as_str(&plan.id) == agent)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
