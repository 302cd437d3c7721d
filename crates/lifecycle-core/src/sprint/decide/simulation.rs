//! Whole sprints under random crashes, failures and losses of the store's memory.
//!
//! The world below does what the store's scripts and the agents do, one random event at a time, and checks after
//! each what must never be: one task in two hands, a task begun before what it needs, a task settled twice.

use proptest::prelude::*;

use super::tests::plan;
use super::*;

const RULES: RestartPolicy = RestartPolicy { limit: 3, window: Duration::from_secs(60) };
const LEASE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The agent finishes the task in hand.
    Finish(usize),
    /// It fails at it.
    Fail(usize),
    /// It is killed.
    Crash(usize),
    /// It registers, if it was started.
    Register(usize),
    /// A sweeper removes it, if it is dead.
    Sweep(usize),
    /// The store forgets everything; living agents and the coordinator write what they know.
    Flush,
    /// Time passes.
    Wait(u16),
}

#[derive(Debug, Default)]
struct Agent {
    running: bool,
    exited: Option<Duration>,
    given_up: bool,
    /// Its life in the process, if it runs.
    life: Option<u64>,
    /// The registration in the store, and the tasks in flight of that life.
    registered: Option<u64>,
    in_flight: Option<TaskId>,
    given: u64,
    restarts: Vec<Duration>,
}

struct World {
    plan: SprintPlan,
    agents: Vec<Agent>,
    records: BTreeMap<TaskId, TaskRecord>,
    lost_since: BTreeMap<TaskId, Duration>,
    now: Duration,
    lives: u64,
    completions: BTreeMap<TaskId, u32>,
}

impl World {
    fn new(plan: SprintPlan) -> Self {
        let records = plan.tasks.iter().map(|task| (task.id.clone(), task.record())).collect();
        let agents = plan.agents.iter().map(|_| Agent::default()).collect();
        let (lost_since, completions) = (BTreeMap::new(), BTreeMap::new());
        Self { plan, agents, records, lost_since, now: Duration::ZERO, lives: 0, completions }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wait(ms) => self.now += Duration::from_millis(ms.into()),
            Happening::Register(index) => self.register(index),
            Happening::Finish(index) => self.end_attempt(index, true),
            Happening::Fail(index) => self.end_attempt(index, false),
            Happening::Crash(index) => {
                let now = self.now;
                let agent = self.agent(index);
                if agent.running {
                    (agent.running, agent.life, agent.exited) = (false, None, Some(now));
                }
            }
            Happening::Sweep(index) => {
                if !self.agent(index).running {
                    self.reap(index);
                }
            }
            Happening::Flush => {
                for agent in &mut self.agents {
                    agent.registered = agent.life;
                    if agent.life.is_none() {
                        agent.in_flight = None;
                    }
                }
            }
        }
    }

    fn agent(&mut self, index: usize) -> &mut Agent {
        let count = self.agents.len();
        &mut self.agents[index % count]
    }

    fn register(&mut self, index: usize) {
        self.lives += 1;
        let life = self.lives;
        let agent = self.agent(index);
        if agent.running && agent.life.is_none() && agent.registered.is_none() {
            (agent.life, agent.registered) = (Some(life), Some(life));
        }
    }

    /// What reap.lua and task_take.lua do.
    fn reap(&mut self, index: usize) {
        let agent = self.agent(index);
        agent.registered = None;
        if let Some(task) = agent.in_flight.take() {
            self.take_back(&task, Cost::Crash);
        }
    }

    /// What task_take.lua does.
    fn take_back(&mut self, task: &TaskId, cost: Cost) {
        let record = self.records.get_mut(task).unwrap();
        assert_eq!(record.state, TaskState::Assigned);
        match cost {
            Cost::Attempt => {}
            Cost::Crash => {
                record.attempt -= 1;
                record.crashes += 1;
            }
            Cost::Nothing => record.attempt -= 1,
        }
        let is_spent = record.attempt >= record.max_attempts || record.crashes >= record.max_crashes;
        record.state = if is_spent { TaskState::Failed } else { TaskState::Pending };
        record.detail = Some(cost.to_string());
        record.agent_id = None;
    }

    /// What task_finish.lua does.
    fn end_attempt(&mut self, index: usize, well: bool) {
        let agent = self.agent(index);
        if !agent.running {
            return;
        }
        let Some(task) = agent.in_flight.take() else { return };
        if well {
            self.records.get_mut(&task).unwrap().state = TaskState::Completed;
            *self.completions.entry(task).or_default() += 1;
        } else {
            self.take_back(&task, Cost::Attempt);
        }
    }

    fn slots(&self) -> Vec<SlotView> {
        let slots = self.agents.iter().map(|agent| {
            let since = agent.exited.unwrap_or_default();
            let process = match (agent.running, agent.given_up, agent.exited) {
                (true, ..) => Process::Running,
                (_, true, _) => Process::GivenUp { since },
                (_, _, None) => Process::NotStarted { since },
                (_, _, Some(since)) => Process::Vacant { since, how: Exit::Crashed },
            };
            let life = agent.registered.map(|life| SlotLife {
                incarnation: Incarnation(life),
                holder: if agent.life == Some(life) { IdHolder::Own } else { IdHolder::Dead },
                takes_work: agent.running,
                is_overdue: false,
            });
            let (given, restarts) = (agent.given, agent.restarts.clone());
            SlotView {
                process,
                life,
                missing_for: None,
                given,
                restarts,
                is_retired: false,
                has_joined: false,
            }
        });
        slots.collect()
    }

    fn grips(&mut self) -> BTreeMap<TaskId, Grip> {
        let mut grips = BTreeMap::new();
        for (task, record) in &self.records {
            let held = self.agents.iter().any(|agent| agent.in_flight.as_ref() == Some(task));
            if record.state != TaskState::Assigned || held {
                self.lost_since.remove(task);
                continue;
            }
            let since = *self.lost_since.entry(task.clone()).or_insert(self.now);
            grips.insert(task.clone(), Grip::Gone(self.now - since));
        }
        grips
    }

    /// One step of the coordinator; `true` once it is complete.
    fn step(&mut self) -> bool {
        let (slots, grips) = (self.slots(), self.grips());
        let (plan, records) = (&self.plan, &self.records);
        let view = SprintView {
            plan,
            records,
            grips: &grips,
            slots: &slots,
            occupied: &HashSet::new(),
            stopping: false,
            paused: false,
            may_grow: false,
            server_now: ServerTime::default(),
            restart: RULES,
            lease: LEASE,
        };
        let actions = decide(&view, self.now);
        for action in actions {
            if action == Action::Complete {
                return true;
            }
            self.perform(action);
        }
        false
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Assign { task, agent, incarnation } => self.assign(&task, agent, incarnation),
            Action::Start { agent } => {
                let now = self.now;
                let agent = &mut self.agents[agent];
                assert!(!agent.running && agent.registered.is_none(), "two lives of one agent");
                if agent.exited.is_some() {
                    agent.restarts.push(now);
                }
                agent.running = true;
            }
            Action::Reap { agent, .. } => {
                assert!(!self.agents[agent].running, "a running agent was reaped");
                self.reap(agent);
            }
            Action::GiveUp { agent } => self.agents[agent].given_up = true,
            Action::Fail { task, record, .. } => {
                assert_eq!(self.records[&task].state, TaskState::Pending);
                self.records.insert(task, record);
            }
            Action::Recall { task, run, cost } => {
                assert!(
                    self.agents.iter().all(|agent| agent.in_flight.as_ref() != Some(&task)),
                    "taken from its holder"
                );
                assert_eq!(self.records[&task].run, run);
                self.take_back(&task, cost);
            }
            // One coordinator from begin to end: nobody is there to be adopted.
            Action::Adopt { .. } => panic!("adopted"),
            Action::End { .. } | Action::Complete => {}
        }
    }

    /// What task_assign.lua does.
    fn assign(&mut self, task: &TaskId, index: usize, incarnation: Incarnation) {
        assert!(
            self.agents.iter().all(|agent| agent.in_flight.as_ref() != Some(task)),
            "{task} is in two hands"
        );
        let plan = self.plan.tasks.iter().find(|plan| plan.id == *task).unwrap();
        for need in &plan.needs {
            assert_eq!(self.records[need].state, TaskState::Completed, "{task} began before {need}");
        }
        let agent = &mut self.agents[index];
        assert_eq!(agent.registered, Some(incarnation.0));
        assert_eq!(agent.in_flight, None, "two tasks for one agent");
        agent.in_flight = Some(task.clone());
        agent.given += 1;
        let record = self.records.get_mut(task).unwrap();
        assert_eq!(record.state, TaskState::Pending);
        assert!(record.attempt < record.max_attempts, "{task} has no attempts left");
        record.state = TaskState::Assigned;
        record.attempt += 1;
        record.run += 1;
        record.agent_id = Some(self.plan.agents[index].id.to_string());
        record.incarnation = Some(incarnation);
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let agent = 0..4_usize;
    prop_oneof![
        4 => agent.clone().prop_map(Happening::Register),
        4 => agent.clone().prop_map(Happening::Finish),
        2 => agent.clone().prop_map(Happening::Fail),
        2 => agent.clone().prop_map(Happening::Crash),
        2 => agent.prop_map(Happening::Sweep),
        1 => Just(Happening::Flush),
        3 => (0..4_000_u16).prop_map(Happening::Wait),
    ]
}

proptest! {
    #[test]
    fn every_task_settles_exactly_once_whatever_crashes(
        agents in 1..4_usize,
        attempts in proptest::collection::vec(1..4_u32, 1..7),
        needs in proptest::collection::vec(any::<u8>(), 7),
        happenings in proptest::collection::vec(happening(), 0..120),
    ) {
        let names = ["t0", "t1", "t2", "t3", "t4", "t5", "t6"];
        let needed: Vec<Vec<&str>> = (0..attempts.len())
            .map(|task| (0..task).filter(|before| needs[task] >> before & 1 == 1).map(|before| names[before]).collect())
            .collect();
        let tasks: Vec<(&str, &[&str], u32)> =
            attempts.iter().enumerate().map(|(task, attempts)| (names[task], needed[task].as_slice(), *attempts)).collect();
        let mut world = World::new(plan(agents, &tasks));
        for happening in happenings {
            world.step();
            world.happen(happening);
        }
        // From here on nothing bad happens, so the sprint must come to its end.
        let mut complete = false;
        for _ in 0..200 {
            complete = world.step();
            if complete {
                break;
            }
            for agent in 0..agents {
                world.happen(Happening::Finish(agent));
                world.happen(Happening::Register(agent));
            }
            world.happen(Happening::Wait(1_000));
        }
        prop_assert!(complete, "it never ends: {:?}", world.records);
        for (task, record) in &world.records {
            let times = u32::from(record.state == TaskState::Completed);
            prop_assert_eq!(world.completions.get(task).copied().unwrap_or(0), times);
        }
    }
}
