//! What the coordinator knows of one sprint.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::sprint::decide::{Exit, Process, slot_of};
use lifecycle_core::sprint::epic::Phase;
use lifecycle_core::sprint::plan::{SprintPlan, TaskPlan};
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::ids::{Incarnation, TaskId};
use lifecycle_core::wire::record::{AgentRecord, Order};
use lifecycle_core::wire::sprint_record::{SprintOutcome, SprintRecord};
use lifecycle_core::wire::task::{AddedTask, TaskRecord, TaskState};
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{KnownSprint, SprintEnded, SprintStarted, StoreError};

use crate::child_events::EndedLife;
use crate::child_exit::{ChildExit, acknowledge};
use crate::children::{Child, exit_text};
use crate::context::{Context, Trouble, written};
use crate::taken::EarlierSprint;

/// A sprint, from before its start until after its end.
#[derive(Debug)]
pub(crate) struct Sprint {
    /// Its position in the plan.
    pub(crate) number: usize,
    pub(crate) plan: SprintPlan,
    pub(crate) stage: Stage,
    /// The sprint's own record as last read: what operators want of it.
    pub(crate) record: SprintRecord,
    /// The tasks' records as last read from the store. Before the start and after the end, as they would be.
    pub(crate) records: BTreeMap<TaskId, TaskRecord>,
    /// The tasks that were added while the epic runs. They are in the plan, too.
    pub(crate) added: Vec<AddedTask>,
    /// Whether an earlier coordinator has put all records into the store.
    pub(crate) is_on_record: bool,
    /// When all records were last read; `None` if they have to be.
    pub(crate) read_at: Option<Duration>,
    /// The same, as it was before the step under way.
    pub(crate) read_before_step: Option<Duration>,
    /// Whether more has come for it than was taken in by the last look.
    pub(crate) has_more: bool,
    /// The store's time at the last look.
    pub(crate) server_now: ServerTime,
    /// One slot for each agent of the plan; behind them, one for each that has joined.
    pub(crate) slots: Vec<Slot>,
    /// Where each task stands in the plan.
    pub(crate) places: HashMap<TaskId, usize>,
    /// Tasks whose run in flight looks lost, and since when.
    pub(crate) loose: BTreeMap<TaskId, Duration>,
    /// Since when agents that are not ours keep the sprint from ending.
    pub(crate) guests_since: Option<Duration>,
    /// The last order that these agents were given.
    pub(crate) guests_told: Option<Order>,
    /// Whether a key of its own holds another type, so that its records cannot be used any more.
    pub(crate) is_broken: bool,
    /// Tasks whose records were replaced, so that each is reported once.
    pub(crate) mended: BTreeSet<TaskId>,
    /// Whether it was reported that the host has no room for another agent.
    pub(crate) told_full: bool,
    /// What its tasks wait for, as it was last reported.
    pub(crate) told_waiting: Option<String>,
    /// When its records were last found missing from the store.
    pub(crate) restored_at: Option<Duration>,
}

/// Where the sprint is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits for other sprints to end.
    Waiting,
    /// Its records have to be put into the store.
    Starting,
    Running,
    /// Its agents are asked to end, at this level.
    Finishing(StopLevel),
    Over(SprintOutcome),
}

/// The slot of one agent: its process and its registration.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) process: Process,
    pub(crate) child: Option<Child>,
    /// The registration as last read.
    pub(crate) record: Option<AgentRecord>,
    pub(crate) missing_since: Option<Duration>,
    /// The last life that was seen to be reaped.
    pub(crate) reaped: Option<Incarnation>,
    /// The last life whose process has ended.
    pub(crate) ended: Option<EndedLife>,
    /// Whether an exit is still being dealt with.
    pub(crate) settling_exit: bool,
    /// Tasks that it had in flight when it ended: processes that it left running may still work on them.
    pub(crate) occupied: Vec<TaskId>,
    pub(crate) given: u64,
    pub(crate) restarts: Vec<Duration>,
    /// Whether somebody else has started it, in a pool of the sprint.
    pub(crate) has_joined: bool,
    /// Its life, if only its lease tells of it.
    pub(crate) elsewhere: Option<Incarnation>,
    /// Since when the store, which answered all the time, has had its lease as over.
    pub(crate) overdue_since: Option<Duration>,
    /// The life that holds its id, as it was last reported.
    pub(crate) told_held: Option<Incarnation>,
    /// When the removal of an earlier life was last tried.
    pub(crate) reap_tried: Option<Duration>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            process: Process::NotStarted { since: Duration::ZERO },
            child: None,
            record: None,
            missing_since: None,
            reaped: None,
            ended: None,
            settling_exit: false,
            occupied: Vec::new(),
            given: 0,
            restarts: Vec::new(),
            has_joined: false,
            elsewhere: None,
            overdue_since: None,
            told_held: None,
            reap_tried: None,
        }
    }

    /// Whether this life is the last one of ours whose process has ended.
    pub(crate) fn has_ended(&self, life: Incarnation) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.life == life)
    }

    /// Whether the registration that holds its id is of a life whose end is proven.
    pub(crate) fn is_over(&self, record: &AgentRecord) -> bool {
        record.ended.is_some() || self.has_ended(record.incarnation)
    }

    /// The life that is at work for this coordinator, once its registration was read.
    pub(crate) fn life(&self) -> Option<Incarnation> {
        self.elsewhere.or_else(|| self.child.as_ref()?.incarnation)
    }
}

impl Sprint {
    pub(crate) fn new(number: usize, plan: SprintPlan) -> Self {
        let records = plan.tasks.iter().map(|task| (task.id.clone(), task.record())).collect();
        let slots = plan.agents.iter().map(|_| Slot::new()).collect();
        let places = plan.tasks.iter().enumerate().map(|(at, task)| (task.id.clone(), at)).collect();
        Self {
            number,
            plan,
            stage: Stage::Waiting,
            record: SprintRecord::default(),
            records,
            added: Vec::new(),
            is_on_record: false,
            read_at: None,
            read_before_step: None,
            has_more: false,
            server_now: ServerTime::default(),
            slots,
            places,
            loose: BTreeMap::new(),
            guests_since: None,
            guests_told: None,
            is_broken: false,
            mended: BTreeSet::new(),
            told_full: false,
            told_waiting: None,
            restored_at: None,
        }
    }

    /// One step at any stage. `true` if it changed something, so that there may be more to do at once.
    ///
    /// If a key of the sprint's own holds another type, waiting does not help, and other sprints must not wait for it:
    /// this sprint ends as failed.
    pub(crate) async fn step(&mut self, context: &Context) -> Result<bool, Trouble> {
        self.read_before_step = self.read_at.take();
        let stepped = match self.stage {
            Stage::Over(_) => Ok(false),
            Stage::Waiting => self.look_while_waiting(context).await.map(|()| false),
            Stage::Starting => self.start(context).await.map(|()| true),
            Stage::Running => self.work(context).await,
            Stage::Finishing(level) => self.finish(context, level).await,
        };
        if stepped.is_ok() {
            // After a step that failed, it is not known what has been taken in.
            self.read_at = self.read_at.or(self.read_before_step);
        } else {
            // Silence while the store was away tells nothing.
            self.slots.iter_mut().for_each(|slot| slot.overdue_since = None);
        }
        match stepped {
            Err(Trouble::Store(error)) if error.is_wrong_type() && !self.is_broken => {
                self.break_off(context, &error);
                Ok(true)
            }
            other => other,
        }
    }

    fn break_off(&mut self, context: &Context, error: &StoreError) {
        self.warn(context, &format!("{error}: ending this sprint, the others go on"));
        self.is_broken = true;
        self.fail_unsettled(&error.to_string());
        self.stage = match self.stage {
            Stage::Waiting | Stage::Starting | Stage::Over(_) => Stage::Over(SprintOutcome::Failed),
            Stage::Running => Stage::Finishing(StopLevel::Terminate),
            Stage::Finishing(level) => Stage::Finishing(level.max(StopLevel::Terminate)),
        };
        self.show(context);
    }

    fn fail_unsettled(&mut self, why: &str) {
        for record in self.records.values_mut().filter(|record| !record.state.is_settled()) {
            (record.state, record.detail) = (TaskState::Failed, Some(why.to_string()));
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Waiting => Phase::Waiting,
            Stage::Starting | Stage::Running | Stage::Finishing(_) => Phase::Running,
            Stage::Over(outcome) => Phase::Over(outcome),
        }
    }

    /// Puts its records into the store.
    pub(crate) async fn start(&mut self, context: &Context) -> Result<(), Trouble> {
        if self.is_on_record {
            // They have just been read; what has changed since is told.
            self.put_tasks(context, &BTreeMap::new()).await?;
            self.read_at = Some(context.now());
        } else {
            self.put_tasks(context, &self.records).await?;
        }
        let since = context.now();
        self.slots.iter_mut().for_each(|slot| slot.process = Process::NotStarted { since });
        self.stage = Stage::Running;
        self.say(context, "started");
        Ok(())
    }

    /// Writes the records as last known. What the store has already stays.
    pub(crate) async fn put_records(&self, context: &Context) -> Result<(), Trouble> {
        self.restore(context, &self.records).await
    }

    /// Puts these records into a store that lost them, with what was added to the sprint and asked of it.
    pub(crate) async fn restore(
        &self,
        context: &Context,
        tasks: &BTreeMap<TaskId, TaskRecord>,
    ) -> Result<(), Trouble> {
        self.put(context, tasks, &self.added, self.record.wishes()).await
    }

    /// Writes these records where there are none. What operators want stands in the store: it is written only where it was
    /// lost, or a wish that was just taken back would be there again.
    pub(crate) async fn put_tasks(
        &self,
        context: &Context,
        tasks: &BTreeMap<TaskId, TaskRecord>,
    ) -> Result<(), Trouble> {
        self.put(context, tasks, &[], BTreeMap::new()).await
    }

    async fn put(
        &self,
        context: &Context,
        tasks: &BTreeMap<TaskId, TaskRecord>,
        added: &[AddedTask],
        wishes: BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        let agents: Vec<_> = self.plan.agents.iter().map(|agent| agent.id.clone()).collect();
        let store = context.store();
        let begins = self.stage != Stage::Waiting;
        let known = KnownSprint { begins, tasks, agents: &agents, wishes: &wishes, added };
        let started = store.start_sprint(&context.epic.id, &self.plan.id, known);
        match written(started.await?)? {
            SprintStarted::Ok => Ok(()),
            SprintStarted::NoEpic => Err(Trouble::NoEpic),
        }
    }

    /// Puts a sprint that is over back into a store that lost it, or that went back to before its end.
    pub(crate) async fn put_back(&self, context: &Context) -> Result<(), Trouble> {
        let Stage::Over(outcome @ (SprintOutcome::Completed | SprintOutcome::Failed | SprintOutcome::NotRun)) =
            self.stage
        else {
            return Ok(());
        };
        if context.store().sprint_record(&self.plan.id).await?.outcome == Some(outcome) {
            return Ok(());
        }
        self.put_records(context).await?;
        let seen = context.store().task_records(&self.plan.id).await?.readable;
        self.put_forward(context, &seen).await?;
        // Such a store has the registrations of that time, too, and nobody else looks at the agents of a sprint that is over.
        self.reap_the_dead(context).await?;
        self.complete(context, outcome, (true, true)).await.map(drop)
    }

    /// Says in the store how it ended; `leave_agents` and `for_good` as in `complete_sprint`.
    pub(crate) async fn complete(
        &self,
        context: &Context,
        outcome: SprintOutcome,
        (leave_agents, for_good): (bool, bool),
    ) -> Result<SprintEnded, Trouble> {
        let store = context.store();
        let (epic, sprint) = (&context.epic.id, &self.plan.id);
        let how = (leave_agents, for_good);
        let ended = store.complete_sprint(epic, sprint, outcome.as_str(), how).await?;
        match written(ended)? {
            SprintEnded::NoEpic => Err(Trouble::NoEpic),
            ended => Ok(ended),
        }
    }

    /// Goes on where an earlier coordinator stopped.
    pub(crate) fn resume(&mut self, earlier: EarlierSprint) {
        self.record = earlier.record;
        self.take_in_added(earlier.added);
        self.is_on_record = self.record.started_at.is_some();
        for (task, record) in &mut self.records {
            match earlier.records.get(task.as_str()) {
                Some(seen) => record.clone_from(seen),
                None => self.is_on_record = false,
            }
        }
        if let Some(outcome @ (SprintOutcome::Completed | SprintOutcome::Failed)) = self.record.outcome {
            self.stage = Stage::Over(outcome);
        }
    }

    /// Takes tasks into the plan that were added while the epic runs. Returns those that are new.
    pub(crate) fn take_in_added(&mut self, added: Vec<AddedTask>) -> BTreeMap<TaskId, TaskRecord> {
        let mut new = BTreeMap::new();
        for task in added {
            if self.records.contains_key(&task.id) {
                continue;
            }
            self.added.push(task.clone());
            let task = TaskPlan::from(task);
            self.records.insert(task.id.clone(), task.record());
            new.insert(task.id.clone(), task.record());
            self.places.insert(task.id.clone(), self.plan.tasks.len());
            self.plan.tasks.push(task);
        }
        new
    }

    /// Whether tasks may still be added, so that it is not complete when all are settled.
    pub(crate) fn may_grow(&self) -> bool {
        self.plan.is_open && self.record.closed.is_none()
    }

    /// The sprint will not run: all its tasks fail.
    pub(crate) fn skip(&mut self, context: &Context, why: &str) {
        self.fail_unsettled(why);
        self.stage = Stage::Over(SprintOutcome::NotRun);
        self.say(context, why);
        self.show(context);
    }

    /// This coordinator's life is over: its agents live on, without it. What a dead one left behind is ended all the same,
    /// because it has come to this process and nobody else can find it for certain.
    pub(crate) fn let_go(&mut self) {
        for slot in &mut self.slots {
            slot.child.take_if(|child| child.process.is_alive());
        }
        if !matches!(self.stage, Stage::Over(_)) {
            self.stage = Stage::Over(SprintOutcome::Interrupted);
        }
    }

    /// The coordinator stops.
    pub(crate) fn interrupt(&mut self, level: StopLevel) {
        match self.stage {
            Stage::Waiting | Stage::Starting => self.stage = Stage::Over(SprintOutcome::Interrupted),
            Stage::Running => self.stage = Stage::Finishing(level),
            Stage::Finishing(before) => self.stage = Stage::Finishing(before.max(level)),
            Stage::Over(_) => {}
        }
    }

    /// Sends signals that are due, even if the store is away.
    pub(crate) fn press(&mut self, context: &Context) {
        let now = context.now();
        for child in self.slots.iter_mut().filter_map(|slot| slot.child.as_mut()) {
            if let Stage::Finishing(level) = self.stage {
                child.ask(level, now);
            }
            child.press(now, context.shutdown());
        }
    }

    /// A child's process has ended. This is noted and reported at once.
    pub(crate) fn note_exited(
        &mut self,
        context: &Context,
        agent: usize,
        status: &std::io::Result<std::process::ExitStatus>,
    ) {
        let Some(child) = self.slots[agent].child.take() else { return };
        let how = match status.as_ref().ok().and_then(std::process::ExitStatus::code) {
            Some(0) => Exit::Left,
            Some(code) if code == i32::from(lifecycle_cli::exit::UNAVAILABLE) => Exit::NoStore,
            Some(code) if code == i32::from(lifecycle_cli::exit::SPENT) => Exit::Spent,
            Some(code) if code == i32::from(lifecycle_cli::exit::HELD) => Exit::Held,
            Some(code) if code == i32::from(lifecycle_cli::exit::FENCED) => Exit::Fenced,
            _ => Exit::Crashed,
        };
        let id = &self.plan.agents[agent].id;
        match how {
            _ if matches!(self.stage, Stage::Finishing(_)) => {}
            Exit::Left => self.say(context, &format!("{id} left")),
            Exit::Spent => self.say(context, &format!("{id} left, it had used up its soft memory limit")),
            // The step that sees which agent holds the id reports it.
            Exit::Held => {}
            Exit::Fenced => {
                self.warn(context, &format!("{id} fenced: it was reaped or replaced, and has ended"))
            }
            Exit::NoStore => self.say(context, &format!("{id} found no store")),
            Exit::Crashed => self.warn(context, &format!("{id} crashed ({})", exit_text(status))),
        }
        let exit = ChildExit {
            sprint: self.number,
            agent,
            id: id.clone(),
            process: child.process,
            incarnation: child.incarnation,
            status: exit_text(status),
            how,
            forced: child.was_forced(),
            is_adopted: child.is_adopted(),
        };
        // One that was cancelled in its hands may be wanted again at once.
        let mine = |record: &TaskRecord| {
            matches!(record.state, TaskState::Assigned | TaskState::Cancelled)
                && record.agent_id.as_deref() == Some(id.as_str())
        };
        let occupied =
            self.records.iter().filter(|(_, record)| mine(record)).map(|(task, _)| task.clone()).collect();
        let slot = &mut self.slots[agent];
        slot.occupied = occupied;
        slot.process = Process::Vacant { since: context.now(), how };
        slot.missing_since = None;
        slot.settling_exit = true;
        tokio::spawn(exit.perform(context.clone()));
    }

    pub(crate) fn note_ended(&mut self, agent: usize, ended: Option<EndedLife>) {
        let slot = &mut self.slots[agent];
        slot.settling_exit = false;
        slot.occupied.clear();
        slot.ended = ended.or(slot.ended.take());
    }

    /// Whether an event is a reason to look at the keys now.
    pub(crate) fn hear(&mut self, context: &Context, event: &Event) -> bool {
        if self.stage == Stage::Waiting && event.sprint() == Some(self.plan.id.as_str()) {
            self.read_at = None;
        }
        let agent = event.agent_id.as_deref().and_then(|id| slot_of(&self.plan, id));
        let Some(agent) = agent else { return event.sprint() == Some(self.plan.id.as_str()) };
        let slot = &mut self.slots[agent];
        match (&event.payload, event.incarnation) {
            (Payload::HeartbeatSent {} | Payload::CleanupAcknowledged { .. }, _) => return false,
            (Payload::CleanupStarted { .. }, Some(life)) if slot.child.is_none() => {
                if let Some(ended) = slot.ended.clone().filter(|ended| ended.life == life) {
                    tokio::spawn(acknowledge(context.clone(), self.plan.agents[agent].id.clone(), ended));
                }
            }
            (Payload::CleanupCompleted { .. }, Some(life)) => slot.reaped = Some(life),
            (Payload::AgentShutdown { .. }, Some(life)) if slot.elsewhere == Some(life) => {
                slot.reaped = Some(life);
            }
            _ => {}
        }
        true
    }

    pub(crate) fn settled(&self) -> usize {
        self.records.values().filter(|record| record.state.is_settled()).count()
    }

    /// How it ended, by its records.
    pub(crate) fn outcome(&self) -> SprintOutcome {
        if self.is_broken {
            SprintOutcome::Failed
        } else if self.settled() < self.records.len() || self.is_held_open() {
            SprintOutcome::Interrupted
        } else if self.records.values().any(|record| record.state == TaskState::Failed) {
            SprintOutcome::Failed
        } else {
            SprintOutcome::Completed
        }
    }

    /// Whether it has nothing left to do and still waits for tasks to be added.
    fn is_held_open(&self) -> bool {
        self.may_grow() && !matches!(self.stage, Stage::Over(SprintOutcome::NotRun))
    }

    /// Takes over what the store says, and reports what is new.
    pub(crate) fn adopt(&mut self, context: &Context, seen: &BTreeMap<String, TaskRecord>) {
        let mut told = Vec::new();
        for (task, seen) in seen {
            let Ok(task) = TaskId::new(task.as_str()) else { continue };
            let Some(record) = self.records.get_mut(&task) else { continue };
            if seen == record || seen.is_behind(record) {
                continue;
            }
            let was_settled = record.state.is_settled();
            if was_settled && !seen.state.is_settled() {
                context.progress.say(&format!("{}: {task} is to be done again", self.plan.name));
            }
            record.clone_from(seen);
            if !was_settled && record.state.is_settled() {
                told.push((task.clone(), record.clone()));
            }
        }
        for (task, record) in told {
            self.tell_settled(context, &task, &record);
        }
        self.show(context);
    }

    fn tell_settled(&self, context: &Context, task: &TaskId, record: &TaskRecord) {
        let detail = record.detail.as_deref().unwrap_or_default();
        if record.state == TaskState::Cancelled {
            return self.say(context, &format!("{task} {detail}"));
        }
        if record.state == TaskState::Completed {
            let agent = record.agent_id.as_deref().unwrap_or("somebody");
            return self.say(context, &format!("{task} completed by {agent}"));
        }
        let attempts = match record.attempt {
            0 => String::new(),
            1 => " after 1 attempt".into(),
            n => format!(" after {n} attempts"),
        };
        self.warn(context, &format!("{task} failed{attempts}: {detail}"));
    }

    /// How many tasks agents have in hand.
    pub(crate) fn in_hand(&self) -> usize {
        self.records.values().filter(|record| record.state == TaskState::Assigned).count()
    }

    pub(crate) fn show(&self, context: &Context) {
        let at_work = self.in_hand();
        let words = match self.stage {
            Stage::Over(outcome) => outcome.to_string().replace('_', " "),
            _ if self.record.paused.is_some() => format!("paused, {at_work} at work"),
            _ if at_work > 0 => format!("{at_work} at work"),
            _ if self.may_grow() => "open".into(),
            _ => String::new(),
        };
        context.progress.show(self.number, (self.settled(), self.records.len()), words);
    }

    pub(crate) fn say(&self, context: &Context, what: &str) {
        context.progress.say(&format!("{}: {what}", self.plan.name));
    }

    pub(crate) fn warn(&self, context: &Context, what: &str) {
        context.progress.warn(&format!("{}: {what}", self.plan.name));
    }
}
