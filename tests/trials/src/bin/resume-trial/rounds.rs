//! The rounds: a coordinator is started, watched until its moment has come, and killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::{Event, EventKind, Payload};
use lifecycle_core::wire::keys::LIFECYCLE_CHANNEL;
use lifecycle_tests::plain::{PlainClient, Subscription};
use lifecycle_tests::process::Role;
use lifecycle_tests::server::Server;
use lifecycle_trials::role;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::epic_plan::EpicPlan;
use crate::timing::Timing;
use crate::victim::{self, Victim};

/// Longest wait for a first hand-out, and for the end of the epic.
const PATIENCE: Duration = Duration::from_secs(60);
/// Share of the rounds that are killed so soon that most have handed out nothing.
const EARLY: f64 = 0.3;
/// Within how many ms of the start, and of the first hand-out, a coordinator is killed.
const WITHIN_OF_START: u64 = 400;
const WITHIN_OF_HAND_OUT: u64 = 300;
/// Within how many ms after its agent a coordinator is killed, where the agent is killed first.
const AFTER_AGENT: u64 = 50;
/// How long tasks take at first, at least and at most.
const FIRST_PACE: Duration = Duration::from_millis(60);
const PACES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(3));

/// By what tasks get slower where none can be spared any more.
const SLOWER: f64 = 2.0;
/// Tasks that are to be left after the last round, beside two for each agent.
const SPARE: usize = 4;

/// When a coordinator is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    AfterStart(Duration),
    AfterHandOut(Duration),
}

/// Everything that is known of the trial so far.
pub(crate) struct Trial<'a> {
    server: &'a Server,
    plan: &'a EpicPlan,
    store: PlainClient,
    events: Subscription,
    random: StdRng,
    pace: Duration,
    /// All of them, killed or not. They are kept because dropping one ends what it had started.
    pub(crate) coordinators: Vec<Role>,
    /// Who was killed, with the round.
    pub(crate) victims: Vec<(u32, Victim)>,
    pub(crate) completed: BTreeSet<String>,
    /// What was said, with the round: for whoever has to find out why a promise was broken.
    said: Vec<(u32, Event)>,
    pub(crate) adopted: u32,
    /// What coordinators said that were refused, because the one before was still registered.
    pub(crate) refusals: Vec<String>,
    /// Rounds that ended with a kill.
    pub(crate) rounds: u32,
    /// How long it took from the end of the last task to that of the coordinator.
    pub(crate) end_took: Duration,
    is_over: bool,
    pub(crate) timing: Timing,
    /// What a coordinator did that it must not do.
    pub(crate) broken: Vec<String>,
}

/// What was seen of one coordinator.
#[derive(Debug, Default)]
struct Seen {
    taken: Option<Instant>,
    /// When each agent last finished a task.
    finished: BTreeMap<String, Instant>,
    /// The first hand-out: when, and whether its agent had nothing to finish before.
    handed_out: Option<(Instant, bool)>,
}

impl<'a> Trial<'a> {
    pub(crate) fn begin(server: &'a Server, plan: &'a EpicPlan, seed: u64) -> Result<Self> {
        plan.set_pace(FIRST_PACE)?;
        Ok(Self {
            server,
            plan,
            store: server.client()?,
            events: server.client()?.subscribe(&[LIFECYCLE_CHANNEL])?,
            random: StdRng::seed_from_u64(seed),
            pace: FIRST_PACE,
            coordinators: Vec::new(),
            victims: Vec::new(),
            completed: BTreeSet::new(),
            said: Vec::new(),
            adopted: 0,
            refusals: Vec::new(),
            rounds: 0,
            end_took: Duration::ZERO,
            is_over: false,
            timing: Timing::default(),
            broken: Vec::new(),
        })
    }

    /// One round, from a start to a kill. `false` if the epic is over.
    ///
    /// # Errors
    /// When the trial cannot go on.
    pub(crate) fn round(&mut self, round: u32, rounds: u32, agent_crash: f64) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        let moment = self.moment();
        let kills_agent = self.random.random_bool(agent_crash);
        let is_agent_first = self.random.random_bool(0.5);
        let before = self.completed.len();

        let begun = Instant::now();
        let mut coordinator = self.coordinator(&[])?;
        let Some(seen) = self.watch(&mut coordinator, begun, moment, round)? else {
            self.coordinators.push(coordinator);
            return Ok(!self.is_over);
        };
        let mut victim = None;
        if kills_agent && is_agent_first {
            victim = self.kill_an_agent(round)?;
            let after = Duration::from_millis(self.random.random_range(0..=AFTER_AGENT));
            self.listen(Instant::now() + after, &mut Seen::default())?;
        }
        coordinator.kill()?;
        if kills_agent && !is_agent_first {
            victim = self.kill_an_agent(round)?;
        }
        self.coordinators.push(coordinator);
        self.rounds += 1;
        // What it had still said does not count for the next one.
        self.listen(Instant::now(), &mut Seen::default())?;
        self.tell(round, rounds, begun, &seen, moment, victim.as_deref());
        self.keep_pace(self.completed.len() - before, rounds - round)?;
        Ok(true)
    }

    /// Lets the epic run to its end. Returns its last coordinator.
    pub(crate) fn run_to_the_end(&mut self) -> Result<Role> {
        if self.is_over {
            return self.coordinators.pop().context("the epic ended without a coordinator");
        }
        self.plan.set_pace(PACES.0)?;
        let begun = Instant::now();
        let mut coordinator = self.coordinator(&[])?;
        let mut seen = Seen::default();
        while coordinator.is_running()? || self.takes_over(&mut coordinator)? {
            if begun.elapsed() > PATIENCE * 2 {
                bail!(
                    "the epic was not over after {} s\n{}",
                    begun.elapsed().as_secs(),
                    coordinator.stderr()
                );
            }
            self.listen(Instant::now() + Duration::from_millis(20), &mut seen)?;
        }
        self.listen(Instant::now(), &mut seen)?;
        self.note(begun, &seen);
        self.end_took = seen.finished.values().max().map_or(Duration::ZERO, Instant::elapsed);
        coordinator.wait(Duration::from_secs(5))?;
        Ok(coordinator)
    }

    /// What was said of a task, and of every agent that it was given to in the rounds in which something was.
    pub(crate) fn story(&self, task: &str) -> String {
        let is_of_task = |event: &Event| match &event.payload {
            Payload::TaskAssigned { task_id, .. }
            | Payload::TaskCompleted { task_id, .. }
            | Payload::TaskRequeued { task_id, .. } => task_id.as_deref() == Some(task),
            _ => false,
        };
        let of_task = || self.said.iter().filter(|(_, event)| is_of_task(event));
        let rounds: BTreeSet<u32> = of_task().map(|(round, _)| *round).collect();
        let agents: BTreeSet<&Option<String>> = of_task().map(|(_, event)| &event.agent_id).collect();
        let is_told = |(round, event): &&(u32, Event)| {
            let is_of_other_task = event.kind().as_str().starts_with("task_") && !is_of_task(event);
            rounds.contains(round) && agents.contains(&event.agent_id) && !is_of_other_task
        };
        let is_told = |said: &&(u32, Event)| is_told(said) && said.1.kind() != EventKind::AgentStateChanged;
        let line = |(round, event): &(u32, Event)| {
            let agent = event.agent_id.as_deref().unwrap_or_default();
            format!("\n              round {round}, {agent}: {:?}", event.payload)
        };
        self.said.iter().filter(is_told).map(line).collect()
    }

    fn moment(&mut self) -> Moment {
        let mut within = |ms| Duration::from_millis(self.random.random_range(0..=ms));
        let (after_start, after_hand_out) = (within(WITHIN_OF_START), within(WITHIN_OF_HAND_OUT));
        if self.random.random_bool(EARLY) {
            Moment::AfterStart(after_start)
        } else {
            Moment::AfterHandOut(after_hand_out)
        }
    }

    /// Starts a coordinator with the plan, as somebody would who does not know what became of the last one.
    fn coordinator(&self, further: &[&str]) -> Result<Role> {
        let command = role("coordinator", self.server)?.in_folder(&self.plan.folder);
        command.args(["run", "plan.toml", "--output", "json"]).args(further.iter().copied()).spawn()
    }

    /// Watches a coordinator until its moment has come. `None` if it ends by itself.
    fn watch(
        &mut self,
        coordinator: &mut Role,
        begun: Instant,
        moment: Moment,
        round: u32,
    ) -> Result<Option<Seen>> {
        let mut seen = Seen::default();
        loop {
            let until = match (moment, seen.handed_out) {
                (Moment::AfterStart(time), _) => begun + time,
                (Moment::AfterHandOut(time), Some((handed_out, _))) => handed_out + time,
                (Moment::AfterHandOut(_), None) => begun + PATIENCE,
            };
            if Instant::now() >= until {
                if matches!(moment, Moment::AfterHandOut(_)) && seen.handed_out.is_none() {
                    self.broken.push(format!(
                        "round {round}: nothing was handed out within {} s of the start; the coordinator wrote: {}",
                        PATIENCE.as_secs(),
                        coordinator.stderr().replace('\n', " | ")
                    ));
                }
                self.note(begun, &seen);
                return Ok(Some(seen));
            }
            let was_handed_out = seen.handed_out.is_some();
            // Briefly, to notice a coordinator that ends by itself, and a first hand-out that moves the moment.
            self.listen(until.min(Instant::now() + Duration::from_millis(5)), &mut seen)?;
            if !was_handed_out && seen.handed_out.is_some() {
                continue;
            }
            if !coordinator.is_running()? && !self.takes_over(coordinator)? {
                self.listen(Instant::now(), &mut seen)?;
                if !self.is_over {
                    let said = coordinator.stderr().replace('\n', " | ");
                    self.broken
                        .push(format!("round {round}: the coordinator ended by itself; it wrote: {said}"));
                }
                return Ok(None);
            }
        }
    }

    /// Where the last coordinator is still registered, which the one that has ended here found, another one takes its
    /// place.
    fn takes_over(&mut self, coordinator: &mut Role) -> Result<bool> {
        coordinator.wait(PATIENCE)?;
        let said = coordinator.stderr();
        if !said.contains("coordinated already") {
            return Ok(false);
        }
        eprintln!("refused: {said}");
        self.refusals.push(said);
        let refused = std::mem::replace(coordinator, self.coordinator(&["--takeover"])?);
        self.coordinators.push(refused);
        Ok(true)
    }

    /// Takes in the events that come until then.
    fn listen(&mut self, until: Instant, seen: &mut Seen) -> Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some((_, bytes)) = self.events.next(left)? else {
                if left.is_zero() {
                    return Ok(());
                }
                continue;
            };
            let event = decode::<Event>(&bytes).context("an event could not be read")?;
            self.record(&event, seen);
        }
    }

    fn record(&mut self, event: &Event, seen: &mut Seen) {
        if event.kind() != EventKind::HeartbeatSent {
            self.said.push((self.rounds + 1, event.clone()));
        }
        let (now, agent) = (Instant::now(), event.agent_id.clone().unwrap_or_default());
        match &event.payload {
            Payload::EpicResumed { .. } => drop(seen.taken.get_or_insert(now)),
            Payload::EpicEnded { .. } => self.is_over = true,
            Payload::AgentAdopted { .. } => self.adopted += 1,
            Payload::TaskAssigned { .. } => {
                let was_free = !seen.finished.contains_key(&agent);
                seen.handed_out.get_or_insert((now, was_free));
            }
            Payload::TaskCompleted { task_id: Some(task), outcome, .. } => {
                seen.finished.insert(agent, now);
                if outcome.as_deref() == Some("completed") && !self.completed.insert(task.clone()) {
                    self.broken.push(format!("{task} was put on record as completed twice"));
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, begun: Instant, seen: &Seen) {
        self.timing.taken.extend(seen.taken.map(|taken| taken - begun));
        if let Some((handed_out, was_free)) = seen.handed_out {
            self.timing.handed_out.push(handed_out - begun);
            self.timing.unhindered.extend(was_free.then_some(handed_out - begun));
        }
    }

    /// Kills one of the agents that are there. Returns a few words on it.
    fn kill_an_agent(&mut self, round: u32) -> Result<Option<String>> {
        let mut agents = self.plan.agents.clone();
        agents.shuffle(&mut self.random);
        for agent in agents {
            if let Some(victim) = victim::kill(&mut self.store, &agent)? {
                let tasks: Vec<&str> = victim.tasks.iter().map(String::as_str).collect();
                let tasks = if tasks.is_empty() { "nothing".to_owned() } else { tasks.join(", ") };
                let words = format!("{} with {tasks} in hand", victim.agent);
                self.victims.push((round, victim));
                return Ok(Some(words));
            }
        }
        Ok(None)
    }

    /// Tasks take as long as it needs to have some of them left in the last round.
    fn keep_pace(&mut self, completed: usize, rounds_left: u32) -> Result<()> {
        let reserve = self.plan.agents.len() * 2 + SPARE;
        let left = (self.plan.tasks.len() - self.completed.len()).saturating_sub(reserve);
        #[allow(clippy::cast_precision_loss)] // Thousands at most.
        let (completed, left) = (completed as f64, left as f64);
        let due = left / f64::from(rounds_left + 1);
        let by = if left == 0.0 { SLOWER } else { (completed / due).clamp(0.9, 1.3) };
        self.pace = self.pace.mul_f64(by).clamp(PACES.0, PACES.1);
        self.plan.set_pace(self.pace)
    }

    fn tell(
        &self,
        round: u32,
        rounds: u32,
        begun: Instant,
        seen: &Seen,
        moment: Moment,
        victim: Option<&str>,
    ) {
        let handed_out = seen.handed_out.map_or("nothing handed out".to_owned(), |(handed_out, _)| {
            format!("first hand-out after {} ms", (handed_out - begun).as_millis())
        });
        let killed = match moment {
            Moment::AfterStart(time) => format!("{} ms after its start", time.as_millis()),
            Moment::AfterHandOut(time) => format!("{} ms after that", time.as_millis()),
        };
        let (done, tasks) = (self.completed.len(), self.plan.tasks.len());
        let victim = victim.map(|victim| format!(", and {victim}")).unwrap_or_default();
        eprintln!(
            "round {round:3} of {rounds}: {handed_out}, killed {killed}{victim}; {done} of {tasks} done"
        );
    }
}
