//! What a coordinator does next for a sprint. It is decided from the present state, not from what has happened.
//!
//! [`decide`] looks at the whole sprint each time: at the record of every task, and at each agent's process (which the
//! coordinator watches) and registration (which the store has). A lost event, a restart of the store or a step that
//! failed half-way therefore costs time only: the next look decides anew.
//!
//! ```text
//!   slot      NotStarted ──Start──▶ Running ──▶ Vacant ──Start──▶ Running …
//!                 └──────Adopt────▶ Elsewhere ──▶ │└───GiveUp──▶ GivenUp
//!   task      pending ──Assign──▶ assigned ──▶ completed
//!                 ◀── requeue, Recall ───┘
//!                 └──Fail──▶ failed
//! ```
//!
//! An agent's id may be held by something else than the process that runs here: an agent of an earlier run of this
//! epic, or one that a person started under that name. No agent is ended for having a name. Such an id is left alone
//! until it is free. A living agent of an earlier run is adopted, wherever it runs. An earlier life is removed only once
//! its end is proven or its lease is over, which the reap script checks itself.
//!
//! An agent that runs elsewhere is known by its lease alone. That is so for those of an earlier run on another host, and
//! for those that joined: somebody else has started them, so nobody here starts or ends them.
//!
//! Three rules here keep an attempt from running twice at once. A task is assigned only while its record says
//! `pending`. It comes back to `pending` only through the requeue, which a reap fills in the same script that ends the
//! life that held it. And where the store lost its memory, a task is taken back only once its life provably does not
//! hold it any more.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::sprint::plan::{SprintPlan, TaskPlan};
use crate::sprint::restart::{Restart, RestartPolicy, replace_at};
use crate::wire::ids::{AgentId, Incarnation, TaskId};
use crate::wire::task::{Cost, TaskRecord, TaskState};
use crate::wire::time::ServerTime;

/// How long a run must look lost before it is taken back: longer than any reap or registration takes.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// How long a dead agent's registration is left to the sweepers before the coordinator removes it itself.
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
    /// For runs in flight that look lost, what became of them. Tasks that are not listed are held by the life on
    /// record.
    pub grips: &'a BTreeMap<TaskId, Grip>,
    /// One slot for each agent of the plan, in its order.
    pub slots: &'a [SlotView],
    /// Tasks whose last attempt may have left processes running. They wait until these have ended.
    pub occupied: &'a HashSet<TaskId>,
    /// Whether the sprint is stopping: no work is handed out, and no agent is started.
    pub stopping: bool,
    /// Whether an operator has paused it: no work is handed out.
    pub paused: bool,
    /// Whether tasks may still be added, so that it is not complete when all that there are are settled.
    pub may_grow: bool,
    /// The store's time, by which tasks wait for another attempt.
    pub server_now: ServerTime,
    /// How often agents are started again.
    pub restart: RestartPolicy,
    /// How long a running agent may be unknown to a store that lost its memory before its process is ended.
    pub lease: Duration,
}

/// What is known of one agent of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotView {
    /// What its process does.
    pub process: Process,
    /// Its registration, if there is one: of this process or of an earlier one.
    pub life: Option<SlotLife>,
    /// How long the store has not known a running process that was registered before.
    pub missing_for: Option<Duration>,
    /// How many attempts it was given so far.
    pub given: u64,
    /// When it was started again, by the view's clock.
    pub restarts: Vec<Duration>,
    /// Whether an operator said not to replace it.
    pub is_retired: bool,
    /// Whether somebody else has started it, in a pool of the sprint.
    pub has_joined: bool,
}

/// What the process of a slot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It was not started yet.
    NotStarted {
        /// Since when it could have been.
        since: Duration,
    },
    /// It runs.
    Running,
    /// It runs where only its lease tells of it.
    Elsewhere,
    /// It has ended.
    Vacant {
        /// When it ended.
        since: Duration,
        /// How it ended.
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
    /// With exit code 0: it was told to leave.
    Left,
    /// It was over its soft memory limit and left cleanly (exit code 75), so that a fresh one takes over.
    Spent,
    /// Any other way.
    Crashed,
    /// It found no store, which is not its own fault.
    NoStore,
    /// Another agent holds its id (exit code 73).
    Held,
    /// Its life was reaped or replaced before the process ended.
    Fenced,
}

/// A registration as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLife {
    /// The life that is registered.
    pub incarnation: Incarnation,
    /// Whose life it is.
    pub holder: IdHolder,
    /// Whether it takes work: the life is not over, and neither starting nor draining.
    pub takes_work: bool,
    /// Whether it runs elsewhere and was silent for so long that it is to be taken for dead.
    pub is_overdue: bool,
}

/// Who holds an agent's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdHolder {
    /// The process that runs now.
    Own,
    /// A life whose end is proven. Only its registration is still there.
    Dead,
    /// An agent of this epic that this coordinator has not adopted yet: of an earlier coordinator, or one that has joined.
    /// Unless its lease is over, it lives.
    Adoptable,
    /// Another agent, which is not this coordinator's to end.
    Stranger,
}

/// Why a run on record looks lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grip {
    /// Its life is registered and has not had the task in hand for this long.
    Dropped(Duration),
    /// Its life is not registered and its process is not there, for this long.
    Gone(Duration),
}

/// One thing to do. Agents are named by their position in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Give the task to the agent, if the agent's life is still this one.
    Assign {
        /// The task, which is pending.
        task: TaskId,
        /// Position of the agent that gets it.
        agent: usize,
        /// The life that took work when this was decided.
        incarnation: Incarnation,
    },
    /// Start the agent's process.
    Start {
        /// Position of the agent; its slot has no process.
        agent: usize,
    },
    /// Remove the registration of an agent whose process has ended, because no sweeper has.
    Reap {
        /// Position of the agent.
        agent: usize,
        /// The life to remove; a later one stays.
        incarnation: Incarnation,
    },
    /// Take over a living agent of an earlier coordinator, with the task it has in hand.
    Adopt {
        /// The agent, by its position.
        agent: usize,
        /// The life to take over.
        incarnation: Incarnation,
    },
    /// End the process: its life was over long ago, and it did not notice.
    End {
        /// Position of the agent; its process runs.
        agent: usize,
    },
    /// Do not start the agent again.
    GiveUp {
        /// Position of the agent, which has used up its restarts.
        agent: usize,
    },
    /// Write this record for a waiting task that cannot run any more.
    Fail {
        /// The task, of which a need has failed or for which no agent is left.
        task: TaskId,
        /// What its record is to be: in the state `failed`, with the cause.
        record: TaskRecord,
        /// The task that it needs and that is lost, if that is the cause.
        lost: Option<TaskId>,
    },
    /// Take back a run in flight that was lost with the store's memory.
    Recall {
        /// The task on record as in flight.
        task: TaskId,
        /// The number of the run that is lost; a later one stays.
        run: u32,
        /// What the loss costs the task: a crash if its agent is gone, nothing if the agent lives and never began it.
        cost: Cost,
    },
    /// Every task is settled.
    Complete,
}

/// What is to be done at `now`, by the clock of the view.
#[must_use]
pub fn decide(view: &SprintView<'_>, now: Duration) -> Vec<Action> {
    if !view.may_grow && view.plan.tasks.iter().all(|task| view.state(&task.id).is_settled()) {
        return vec![Action::Complete];
    }
    let mut actions = Vec::new();
    recall_lost(view, &mut actions);
    for (agent, slot) in view.slots.iter().enumerate() {
        actions.extend(slot_action(view, agent, slot, now));
    }
    if !view.stopping {
        let hopeless = fail_hopeless(view, &mut actions);
        if !view.paused {
            assign(view, &hopeless, &mut actions);
        }
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

    /// Whether its pause after a failed run is over.
    fn is_due(&self, task: &TaskId) -> bool {
        let not_before = self.records.get(task).and_then(|record| record.not_before);
        not_before.is_none_or(|time| time <= self.server_now)
    }

    /// Whether every agent was given up, so that no agent works now or later.
    fn is_deserted(&self) -> bool {
        self.plan.pools.is_empty()
            && self.slots.iter().all(|slot| matches!(slot.process, Process::GivenUp { .. }))
    }
}

/// Takes back tasks that the life on record does not hold. If the life lives and does not have the task in hand, it
/// never began it, and the run costs nothing. If it went, the run is a crash.
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
        Process::Elsewhere => {
            let overdue = slot.life.filter(|life| life.is_overdue);
            return overdue.map(|life| Action::Reap { agent, incarnation: life.incarnation });
        }
        Process::NotStarted { since } | Process::Vacant { since, .. } | Process::GivenUp { since } => since,
    };
    if let Some(life) = slot.life {
        if life.holder == IdHolder::Adoptable && !life.is_overdue {
            return Some(Action::Adopt { agent, incarnation: life.incarnation });
        }
        let may_be_over = matches!(life.holder, IdHolder::Dead | IdHolder::Adoptable);
        // Nobody else knows of one that died before this coordinator began.
        let is_ours = life.holder == IdHolder::Dead && matches!(slot.process, Process::NotStarted { .. });
        let is_due = is_ours || now.saturating_sub(since) >= REAP_AFTER;
        return (may_be_over && is_due).then_some(Action::Reap { agent, incarnation: life.incarnation });
    }
    if view.stopping || slot.is_retired || slot.has_joined {
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
        Process::GivenUp { .. } | Process::Running | Process::Elsewhere => return None,
    };
    (now >= start_at).then_some(Action::Start { agent })
}

/// The agents that a sprint's waiting tasks wait for, if no agent works and none will by itself. `None` otherwise.
#[must_use]
pub fn waited_for(view: &SprintView<'_>) -> Option<Vec<(usize, WhyAbsent)>> {
    let absent = view.slots.iter().enumerate().map(|(agent, slot)| Some((agent, absence(slot)?)));
    let absent: Vec<_> = absent.collect::<Option<_>>()?;
    let is_pending = |task: &TaskPlan| view.state(&task.id) == TaskState::Pending;
    let waits = !view.stopping && !view.paused && view.plan.tasks.iter().any(is_pending);
    waits.then_some(absent)
}

/// Why an agent is not at work and will not be by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyAbsent {
    /// An operator said not to replace it.
    Retired,
    /// Another agent holds its id.
    Held,
    /// It crashed as often as it may.
    GivenUp,
}

fn absence(slot: &SlotView) -> Option<WhyAbsent> {
    match (slot.process, slot.life.map(|life| life.holder)) {
        (Process::Running | Process::Elsewhere, _) => None,
        (Process::GivenUp { .. }, _) => Some(WhyAbsent::GivenUp),
        (_, Some(IdHolder::Stranger)) => Some(WhyAbsent::Held),
        _ => slot.is_retired.then_some(WhyAbsent::Retired),
    }
}

/// Fails waiting tasks that need a failed or cancelled one, directly or through others, or all of them once every agent
/// was given up. Returns them.
fn fail_hopeless(view: &SprintView<'_>, actions: &mut Vec<Action>) -> HashSet<TaskId> {
    let mut hopeless: HashSet<TaskId> = HashSet::new();
    let deserted = view.is_deserted();
    let any_failed = view.records.values().any(|record| record.state.is_lost());
    if !deserted && !any_failed {
        return hopeless;
    }
    for task in view.plan.order() {
        if view.state(&task.id) != TaskState::Pending {
            continue;
        }
        let lost = task.needs.iter().find(|need| view.state(need).is_lost() || hopeless.contains(*need));
        let why = match lost {
            Some(need) if view.state(need) == TaskState::Cancelled => {
                format!("needs {need}, which was cancelled")
            }
            Some(need) => format!("needs {need}, which failed"),
            None if deserted => "no agent left to run it".into(),
            None => continue,
        };
        hopeless.insert(task.id.clone());
        let record = TaskRecord { state: TaskState::Failed, detail: Some(why), ..view.record(&task.id) };
        actions.push(Action::Fail { task: task.id.clone(), record, lost: lost.cloned() });
    }
    hopeless
}

/// Gives ready tasks, in the order of the plan, to idle agents. The agent that was given least so far comes first.
fn assign(view: &SprintView<'_>, hopeless: &HashSet<TaskId>, actions: &mut Vec<Action>) {
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
            && !hopeless.contains(&task.id)
            && !view.occupied.contains(&task.id)
            && view.is_due(&task.id)
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
    matches!(slot.process, Process::Running | Process::Elsewhere).then_some(life.incarnation)
}

/// The position of this agent in the plan.
#[must_use]
pub fn slot_of(plan: &SprintPlan, agent: &str) -> Option<usize> {
    plan.agents.iter().position(|plan| AgentId::as_str(&plan.id) == agent)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
