//! The loop: wait for a reason, take one step, again, until every sprint is over.

use std::path::PathBuf;
use std::time::Duration;

use agent_sdk::process::{Ender, Subreaper, remove_left_scratch};
use agent_sdk::{Agent, Stop, StopCause, Urgency};
use anyhow::Context as _;
use futures_util::FutureExt as _;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::count;
use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::epic::{Phase, SprintStep, due};
use lifecycle_core::sprint::plan::Plan;
use lifecycle_core::wire::record::AgentState;
use lifecycle_core::wire::sprint_record::SprintOutcome;
use lifecycle_redis::{Bus, Hint};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep};

use crate::child_events::ChildEvent;
use crate::children::Launcher;
use crate::context::{Context, Trouble};
use crate::epic::{self, OnDifference, Taken};
use crate::register::{OnHeld, Registered, register};
use crate::sprint::{Sprint, Stage};
use crate::ui::intro;
use crate::ui::progress::Progress;
use crate::ui::summary::{SprintSummary, Summary};

/// Reasons within this time are handled by one step.
const COALESCE: Duration = Duration::from_millis(4);
/// Longest pause between two steps, even if a step takes long.
const LONGEST_REST: Duration = Duration::from_millis(250);
/// Pause between two looks without any reason.
const TICK: Duration = Duration::from_secs(1);
/// The same while children have to start or end, or while the store is in trouble.
const QUICK_TICK: Duration = Duration::from_millis(100);
/// How long a coordinator that is told to stop waits for a store that is away.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// What the end of this coordinator's life means.
const LEFT_TO_THE_NEXT: &str = "this coordinator was reaped or replaced before the end: its epic and its agents are left to the next one";

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The plan to run.
    pub plan: Plan,
    /// Its text, which is kept with the epic.
    pub plan_text: String,
    /// What to do where the epic waits with another plan.
    pub on_difference: OnDifference,
    /// The settings in effect.
    pub settings: Settings,
    /// The settings file that was named, for the agents.
    pub config: Option<PathBuf>,
    /// The `agent` program, which supervises agents.
    pub agent_program: PathBuf,
    /// What to do where a coordinator of the same epic is registered.
    pub on_held: OnHeld,
}

/// Runs an epic to its end. Returns the result and its exit code.
///
/// This process becomes a subreaper, and ends the processes that its agents' supervisors leave behind. So it must not
/// start other children meanwhile. Children that are there already are left alone.
///
/// # Errors
/// A [`Failure`] when nothing could be started, or (code 70) when this coordinator's own life was over before the end.
pub async fn run(request: RunRequest) -> anyhow::Result<(Summary, u8)> {
    let RunRequest { plan, plan_text, on_difference, settings, config, agent_program, on_held } = request;
    let parent = plan.epic.coordinator()?;
    let folder = settings.coordinator.runs_dir.join(plan.epic.as_str());
    let ender = Ender::start(Subreaper::begin()).and_then(|ender| ender.reap_from_now_on().map(|()| ender));
    let ender = ender.context("cannot watch over the agents' processes; nothing was started")?;
    let Registered { agent, waited_since } = register(&plan.epic, &settings, on_held).await?;
    let taken = epic::take_after(&agent, &plan, &plan_text, on_difference, waited_since).await;
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            // The epic stays as it is, and the coordinator's id is free for the next one.
            if let Err(error) = agent.shutdown(StopCause::Done).await {
                tracing::debug!(%error, "the registration could not be removed; it ends with its lease");
            }
            return Err(error);
        }
    };
    let bus = agent.store().subscribe()?;
    let (child_events, events_of_children) = unbounded_channel();
    let progress = Progress::Lines;
    let Taken { epic, mut earlier } = taken;
    let launcher = Launcher { program: agent_program, parent, config, folder, settings, ender };
    let mut context = Context { agent, epic, launcher, progress, child_events, begun: Instant::now() };
    intro::show(&context, &plan).await;
    intro::resumed(&context, &plan, &earlier);
    context.progress = Progress::new(&plan);
    let sprints =
        plan.sprints.iter().cloned().enumerate().map(|(number, sprint)| Sprint::new(number, sprint));
    let mut sprints: Vec<Sprint> = sprints.collect();
    for sprint in &mut sprints {
        if let Some(earlier) = earlier.remove(&sprint.plan.id) {
            sprint.resume(earlier);
            sprint.show(&context);
        }
    }
    let mut run = Run {
        plan,
        sprints,
        context,
        bus,
        events_of_children,
        obeyed: None,
        trouble_since: None,
        told_of: None,
        is_store_new: false,
    };
    run.work().await;
    run.context.progress.finish();
    run.leave().await
}

struct Run {
    plan: Plan,
    sprints: Vec<Sprint>,
    context: Context,
    bus: Bus,
    events_of_children: UnboundedReceiver<ChildEvent>,
    /// The stop that the sprints were already told of.
    obeyed: Option<Stop>,
    trouble_since: Option<Instant>,
    /// The trouble that people were already told of.
    told_of: Option<String>,
    /// The store may be another one than before, or itself at an earlier time.
    is_store_new: bool,
}

impl Run {
    async fn work(&mut self) {
        loop {
            let begun = Instant::now();
            let changed = self.step().await;
            if self.is_over() {
                return;
            }
            // A large fleet takes longer to look at, and is looked at less often.
            self.rest(begun.elapsed().clamp(COALESCE, LONGEST_REST)).await;
            if changed {
                self.catch_up();
            } else {
                self.wait_for_a_reason().await;
            }
        }
    }

    /// Local steps come first: a store that is away must not delay a stop. `true` if there may be more to do at once.
    async fn step(&mut self) -> bool {
        self.obey();
        self.sprints.iter_mut().for_each(|sprint| sprint.press(&self.context));
        if self.obeyed.as_ref().is_some_and(|stop| stop.urgency == Urgency::Fenced) {
            return false;
        }
        let (changed, trouble) = match self.step_sprints().await {
            (_, Some(Trouble::NoEpic)) => (true, self.take_again().await.err()),
            stepped => stepped,
        };
        self.note(trouble);
        changed
    }

    /// Puts the epic back into a store that lost it, with the sprints that are over.
    async fn take_again(&self) -> Result<(), Trouble> {
        self.context.progress.warn("the store lost the epic; writing its record again");
        self.context.take_again().await?;
        self.put_back().await
    }

    /// Puts sprints that are over back into a store that lost them, or that went back to before their end.
    async fn put_back(&self) -> Result<(), Trouble> {
        for sprint in &self.sprints {
            sprint.put_back(&self.context).await?;
        }
        Ok(())
    }

    /// Lets every sprint take its step, even if others are in trouble.
    async fn step_sprints(&mut self) -> (bool, Option<Trouble>) {
        let mut trouble: Option<Trouble> = None;
        let mut changed = match self.begin_or_skip().await {
            Ok(changed) => changed,
            Err(another) => {
                trouble = Some(another);
                false
            }
        };
        if self.is_store_new {
            self.sprints.iter_mut().for_each(|sprint| sprint.read_at = None);
        }
        if std::mem::take(&mut self.is_store_new)
            && let Err(another) = self.put_back().await
        {
            self.is_store_new = true;
            trouble = Some(another);
        }
        for sprint in &mut self.sprints {
            match sprint.step(&self.context).await {
                Ok(did_something) => changed |= did_something,
                Err(another) => {
                    trouble = Some(match trouble {
                        Some(first) => first.or(another),
                        None => another,
                    });
                }
            }
        }
        (changed && trouble.is_none(), trouble)
    }

    /// Tells the sprints of a stop, and of each stop that is more urgent.
    fn obey(&mut self) {
        let stop = self.context.agent.stop_requested();
        let (Some(stop), known) = (stop, self.obeyed.as_ref().map(|stop| stop.urgency)) else { return };
        if known == Some(stop.urgency) {
            return;
        }
        let what = match stop.urgency {
            Urgency::Drain => self.drain_words(&stop),
            Urgency::Terminate | Urgency::Hurry => "stopping at once".into(),
            Urgency::Fenced => {
                "this coordinator was reaped or replaced: its agents are left to the next one".into()
            }
        };
        self.context.progress.warn(&format!("{what} ({})", stop.cause));
        if stop.urgency == Urgency::Fenced {
            self.sprints.iter_mut().for_each(Sprint::let_go);
        } else {
            let level = StopLevel::of(&stop);
            self.sprints.iter_mut().for_each(|sprint| sprint.interrupt(level));
        }
        self.obeyed = Some(stop);
    }

    fn drain_words(&self, stop: &Stop) -> String {
        let what = "stopping: no more work is handed out";
        let in_hand = self.sprints.iter().map(Sprint::in_hand).sum::<usize>();
        if in_hand == 0 {
            return what.into();
        }
        let patience = humantime::format_duration(self.context.shutdown().drain_timeout);
        let again = if stop.cause.is_signal() { "; once more ends them at once" } else { "" };
        format!("{what}, {} in hand may go on for {patience}{again}", count(in_hand as u64, "task"))
    }

    /// Starts or skips sprints that are due. `true` if there were any.
    async fn begin_or_skip(&mut self) -> Result<bool, Trouble> {
        let phases: Vec<_> =
            self.sprints.iter().map(|sprint| (sprint.plan.id.clone(), sprint.phase())).collect();
        let phase = |id: &_| {
            phases.iter().find(|(sprint, _)| sprint == id).map_or(Phase::Waiting, |(_, phase)| *phase)
        };
        let due = due(&self.plan, phase);
        for due in &due {
            let (SprintStep::Start(id) | SprintStep::Skip { sprint: id, .. }) = due;
            let Some(sprint) = self.sprints.iter_mut().find(|sprint| sprint.plan.id == *id) else { continue };
            match due {
                SprintStep::Skip { why, .. } => {
                    // From now on nothing can be asked of it. Tasks may have been added to it already.
                    sprint.complete(&self.context, SprintOutcome::NotRun, (true, true)).await?;
                    sprint.take_in_added(self.context.store().added_tasks(id).await?);
                    sprint.skip(&self.context, why);
                }
                SprintStep::Start(_) => sprint.stage = Stage::Starting,
            }
        }
        Ok(!due.is_empty())
    }

    /// Takes note of a trouble. No trouble ends the loop.
    fn note(&mut self, trouble: Option<Trouble>) {
        match trouble {
            None => {
                self.trouble_since = None;
                if self.told_of.take().is_some() {
                    self.context.progress.warn("the store answers again");
                }
            }
            Some(Trouble::Fenced) => self.context.agent.request_stop(Urgency::Fenced, StopCause::Fenced),
            Some(Trouble::NoEpic) => {}
            // A new state makes the heartbeat go out now, and that registers us again.
            Some(Trouble::Unknown) => {
                self.context.agent.set_state(AgentState::Running);
                self.trouble_since.get_or_insert_with(Instant::now);
            }
            Some(Trouble::Store(error)) => {
                if self.told_of.as_deref() != Some(&error.to_string()) {
                    self.context
                        .progress
                        .warn(&format!("{error}; waiting for it, the agents go on meanwhile"));
                    self.told_of = Some(error.to_string());
                }
                self.trouble_since.get_or_insert_with(Instant::now);
            }
        }
    }

    fn is_over(&self) -> bool {
        let deserted = || self.sprints.iter().all(Sprint::is_deserted);
        match &self.obeyed {
            Some(stop) if stop.urgency == Urgency::Fenced => deserted(),
            // A sweeper cleans up once the lease is over.
            Some(_) if self.trouble_since.is_some_and(|since| since.elapsed() > STORE_PATIENCE) => {
                self.sprints.iter().all(|sprint| sprint.slots.iter().all(|slot| slot.child.is_none()))
            }
            _ => self.sprints.iter().all(|sprint| matches!(sprint.stage, Stage::Over(_))),
        }
    }

    /// A pause between two steps. An exit does not have to wait for its end.
    async fn rest(&mut self, pause: Duration) {
        let timer = sleep(pause);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => return,
                event = self.events_of_children.recv() => if let Some(event) = event { self.take(&event) },
            }
        }
    }

    async fn wait_for_a_reason(&mut self) {
        let timer = sleep(self.tick());
        tokio::pin!(timer);
        loop {
            let urgency = self.obeyed.as_ref().map(|stop| stop.urgency);
            tokio::select! {
                () = &mut timer => break,
                () = more_urgent(&self.context.agent, urgency) => break,
                event = self.events_of_children.recv() => if let Some(event) = event { self.take(&event); break },
                hint = self.bus.next() => if self.hear(&hint) { break },
            }
        }
        self.catch_up();
    }

    /// How long to wait if nothing happens. A store in trouble is asked less and less often.
    fn tick(&self) -> Duration {
        match self.trouble_since {
            Some(since) => (since.elapsed() / 4).clamp(QUICK_TICK, TICK),
            None if self.sprints.iter().any(Sprint::is_restless) => QUICK_TICK,
            None => TICK,
        }
    }

    /// Takes in everything that has come meanwhile.
    fn catch_up(&mut self) {
        while let Ok(event) = self.events_of_children.try_recv() {
            self.take(&event);
        }
        while let Some(hint) = self.bus.next().now_or_never() {
            self.hear(&hint);
        }
    }

    fn take(&mut self, event: &ChildEvent) {
        match event {
            ChildEvent::Exited { sprint, agent, status } => {
                self.sprints[*sprint].note_exited(&self.context, *agent, status)
            }
            ChildEvent::EndedLife { sprint, agent, ended } => {
                self.sprints[*sprint].note_ended(*agent, ended.clone());
            }
        }
    }

    fn hear(&mut self, hint: &Hint) -> bool {
        match hint {
            Hint::Event(event) => self.sprints.iter_mut().any(|sprint| sprint.hear(&self.context, event)),
            Hint::Resync(_) => {
                self.is_store_new = true;
                true
            }
            Hint::Alert(_) | Hint::Rubbish { .. } => false,
        }
    }

    /// The coordinator leaves, with everything it owns.
    async fn leave(self) -> anyhow::Result<(Summary, u8)> {
        let summary = self.summary();
        let agent = &self.context.agent;
        if agent.stop_requested().is_some_and(|stop| stop.urgency == Urgency::Fenced) {
            return Err(Failure::new(exit::FENCED, LEFT_TO_THE_NEXT).into());
        }
        let is_cancelled = self.obeyed.as_ref().is_some_and(|stop| stop.cause == StopCause::EpicCancelled);
        let is_paused = summary.outcome == SprintOutcome::Interrupted && !is_cancelled;
        if is_cancelled {
            // Those elsewhere are told only now. What they still do must not count for an epic of this name that begins anew.
            let sprints: Vec<_> = self.sprints.iter().map(|sprint| sprint.plan.id.clone()).collect();
            if let Err(error) = epic::end_agents(&self.context.store(), &sprints).await {
                self.context.progress.warn(&format!("agents elsewhere could not be told to end: {error:#}"));
            }
        }
        if !is_paused {
            self.end_epic(&summary).await?;
        }
        if let Err(error) = agent.shutdown(StopCause::Done).await {
            self.context.progress.warn(&format!(
                "not everything could be removed: {error}; a sweeper does once the lease is over"
            ));
        }
        if is_paused {
            let keep = humantime::format_duration(self.context.settings().coordinator.resume_for);
            self.context.progress.warn(&format!(
                "paused: {} of {} completed; `coordinator resume {}` goes on with it, within {keep}",
                summary.tasks_completed,
                count(summary.tasks(), "task"),
                self.plan.epic
            ));
        }
        // What agents have left of their small files that were killed.
        remove_left_scratch();
        agent.store().close().await;
        let code = code(&summary, self.obeyed.as_ref());
        Ok((summary, code))
    }

    /// The end of the epic, and `summary.json`. It stays as it is where the store is away for long, and whoever runs it again
    /// ends it.
    ///
    /// # Errors
    /// A [`Failure`] (code 70) where this coordinator's life is over: then nothing was written.
    async fn end_epic(&self, summary: &Summary) -> anyhow::Result<()> {
        let sprints: Vec<_> = self.sprints.iter().map(|sprint| &sprint.plan.id).collect();
        let begun = Instant::now();
        loop {
            let trouble = match self.context.end_epic(&sprints, summary).await {
                Err(Trouble::NoEpic) => self.take_again().await.err(),
                ended => match ended.err() {
                    None => break,
                    trouble => trouble,
                },
            };
            match trouble {
                None => continue,
                Some(Trouble::Fenced) => return Err(Failure::new(exit::FENCED, LEFT_TO_THE_NEXT).into()),
                // A new state makes the heartbeat go out now, and that registers us again.
                Some(Trouble::Unknown) => self.context.agent.set_state(AgentState::Draining),
                Some(_) => {}
            }
            if begun.elapsed() > STORE_PATIENCE {
                let id = &self.plan.epic;
                self.context.progress.warn(&format!(
                    "the end of epic {id} could not be written down; it waits, and ends when it is run again"
                ));
                return Ok(());
            }
            sleep(QUICK_TICK).await;
        }
        if let Err(error) = epic::write_summary(&self.context.launcher.folder, summary) {
            self.context.progress.warn(&format!("{error:#}"));
        }
        Ok(())
    }

    fn summary(&self) -> Summary {
        let restarts =
            self.sprints.iter().flat_map(|sprint| &sprint.slots).map(|slot| slot.restarts.len() as u64).sum();
        let sprints = self.sprints.iter().map(SprintSummary::of).collect();
        let stopped = self.obeyed.as_ref().map(|stop| stop.cause.to_string());
        let took = self.context.epic.before + self.context.now();
        Summary::new(self.plan.epic.to_string(), sprints, stopped, restarts, took)
    }
}

/// Resolves once a stop more urgent than `than` is asked for.
async fn more_urgent(agent: &Agent, than: Option<Urgency>) {
    let next = match than {
        None => Urgency::Drain,
        Some(Urgency::Drain) => Urgency::Terminate,
        Some(Urgency::Terminate) => Urgency::Hurry,
        Some(Urgency::Hurry) => Urgency::Fenced,
        Some(Urgency::Fenced) => std::future::pending().await,
    };
    agent.stop_at_least(next).await;
}

/// 0 only if every task is completed. After a signal, the code that shells use for it.
fn code(summary: &Summary, stop: Option<&Stop>) -> u8 {
    match (summary.outcome, stop.map(|stop| stop.cause)) {
        (SprintOutcome::Completed, _) => exit::OK,
        (SprintOutcome::Interrupted, Some(StopCause::Hangup)) => 129,
        (SprintOutcome::Interrupted, Some(StopCause::Interrupt)) => 130,
        (SprintOutcome::Interrupted, Some(StopCause::Terminate)) => 143,
        _ => exit::FAILED,
    }
}
