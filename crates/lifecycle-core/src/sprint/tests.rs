//! One claim each; what holds over whole sprints is in `simulation`.

use super::*;
use crate::plan::Plan;

const RULES: RestartPolicy = RestartPolicy { limit: 3, window: Duration::from_secs(60) };

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn plan(agents: usize, tasks: &[(&str, &[&str], u32)]) -> SprintPlan {
    let mut text = format!(
        "[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"coder\"\ncount = {agents}\ncommand = [\"true\"]\n"
    );
    for (id, needs, attempts) in tasks {
        text += &format!("[[sprint.task]]\nid = \"{id}\"\nattempts = {attempts}\nneeds = {needs:?}\n");
    }
    Plan::parse(&text).unwrap().sprints.remove(0)
}

fn task(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

fn record(state: TaskState, attempt: u32) -> TaskRecord {
    TaskRecord { state, attempt, ..TaskRecord::pending(3) }
}

fn assigned(agent: &str) -> TaskRecord {
    TaskRecord {
        agent_id: Some(agent.into()),
        incarnation: Some(Incarnation(7)),
        ..record(TaskState::Assigned, 1)
    }
}

fn ready(incarnation: u64) -> Seat {
    let life = SeenLife { incarnation: Incarnation(incarnation), own: true, takes_work: true };
    Seat { process: Process::Running, life: Some(life), ..vacant(at(0), Exit::Left) }
}

fn vacant(since: Duration, how: Exit) -> Seat {
    Seat {
        process: Process::Vacant { since, how },
        life: None,
        missing_for: None,
        given: 0,
        restarts: vec![],
    }
}

struct World {
    plan: SprintPlan,
    records: BTreeMap<TaskId, TaskRecord>,
    grips: BTreeMap<TaskId, Grip>,
    seats: Vec<Seat>,
    occupied: HashSet<TaskId>,
    stopping: bool,
}

impl World {
    fn new(seats: Vec<Seat>, tasks: &[(&str, &[&str], u32)]) -> Self {
        let plan = plan(seats.len(), tasks);
        Self {
            plan,
            records: BTreeMap::new(),
            grips: BTreeMap::new(),
            seats,
            occupied: HashSet::new(),
            stopping: false,
        }
    }

    fn with(mut self, id: &str, record: TaskRecord) -> Self {
        self.records.insert(task(id), record);
        self
    }

    fn decide(&self, now: Duration) -> Vec<Action> {
        let (plan, records, grips, seats) = (&self.plan, &self.records, &self.grips, &self.seats);
        let (occupied, stopping) = (&self.occupied, self.stopping);
        let view = SprintView {
            plan,
            records,
            grips,
            seats,
            occupied,
            stopping,
            restart: RULES,
            lease: at(120_000),
        };
        decide(&view, now)
    }
}

fn assign(id: &str, agent: usize, incarnation: u64) -> Action {
    Action::Assign { task: task(id), agent, incarnation: Incarnation(incarnation) }
}

fn fail(id: &str, why: &str) -> Action {
    let record = TaskRecord { detail: Some(why.into()), ..record(TaskState::Failed, 0) };
    Action::Fail { task: task(id), record }
}

#[test]
fn tasks_go_in_plan_order_to_the_agents_that_had_least_one_each() {
    let mut world = World::new(vec![ready(1), ready(2)], &[("a", &[], 3), ("b", &[], 3), ("c", &[], 3)]);
    assert_eq!(world.decide(at(0)), [assign("a", 0, 1), assign("b", 1, 2)]);
    world.seats[0].given = 5;
    assert_eq!(world.decide(at(0)), [assign("a", 1, 2), assign("b", 0, 1)]);
}

#[test]
fn an_agent_with_a_task_in_flight_gets_no_second_one() {
    let world = World::new(vec![ready(1)], &[("a", &[], 3), ("b", &[], 3)]).with("a", assigned("coder"));
    assert_eq!(world.decide(at(0)), []);
}

#[test]
fn only_a_registered_life_of_the_running_process_that_takes_work_is_given_any() {
    let changes: [fn(&mut Seat); 4] = [
        |seat| seat.life = None,
        |seat| seat.life = seat.life.map(|life| SeenLife { own: false, ..life }),
        |seat| seat.life = seat.life.map(|life| SeenLife { takes_work: false, ..life }),
        |seat| seat.process = Process::Vacant { since: at(0), how: Exit::Crashed },
    ];
    for change in changes {
        let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
        change(&mut world.seats[0]);
        assert_eq!(world.decide(at(0)), []);
    }
}

#[test]
fn a_task_does_not_begin_again_beside_what_its_last_attempt_left_running() {
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3), ("b", &[], 3)]);
    world.occupied.insert(task("a"));
    assert_eq!(world.decide(at(0)), [assign("b", 0, 1)]);
}

#[test]
fn a_task_waits_until_all_it_needs_is_complete() {
    let tasks: &[(&str, &[&str], u32)] = &[("a", &[], 3), ("b", &[], 3), ("c", &["a", "b"], 3)];
    let world = World::new(vec![ready(1), ready(2)], tasks)
        .with("a", record(TaskState::Completed, 1))
        .with("b", assigned("coder-1"));
    assert_eq!(world.decide(at(0)), []);
    assert_eq!(world.with("b", record(TaskState::Completed, 1)).decide(at(0)), [assign("c", 0, 1)]);
}

#[test]
fn what_needs_a_failed_task_fails_over_any_number_of_steps_and_the_rest_goes_on() {
    let tasks: &[(&str, &[&str], u32)] = &[("c", &["b"], 3), ("b", &["a"], 3), ("a", &[], 3), ("d", &[], 3)];
    let world = World::new(vec![ready(1)], tasks).with("a", record(TaskState::Failed, 3));
    let expected =
        [fail("b", "needs a, which failed"), fail("c", "needs b, which failed"), assign("d", 0, 1)];
    assert_eq!(world.decide(at(0)), expected);
}

#[test]
fn a_crashed_agent_starts_again_after_a_pause_and_once_its_registration_is_gone() {
    let mut world = World::new(vec![vacant(at(1_000), Exit::Crashed)], &[("a", &[], 3)]);
    assert_eq!(world.decide(at(1_050)), []);
    assert_eq!(world.decide(at(1_100)), [Action::Start { agent: 0 }]);
    world.seats[0].life = Some(SeenLife { incarnation: Incarnation(1), own: false, takes_work: false });
    assert_eq!(world.decide(at(1_100)), []);
    assert_eq!(world.decide(at(3_000)), [Action::Reap { agent: 0, incarnation: Incarnation(1) }]);
}

#[test]
fn an_agent_that_was_told_to_leave_stays_away_and_one_that_found_no_store_loses_no_restart() {
    let left = World::new(vec![vacant(at(0), Exit::Left), ready(1)], &[("a", &[], 3)]);
    assert_eq!(left.with("a", assigned("coder-2")).decide(at(60_000)), []);
    let spent = World::new(vec![vacant(at(0), Exit::Spent)], &[("a", &[], 3)]);
    assert_eq!(spent.decide(at(0)), [Action::Start { agent: 0 }], "it left so that a fresh one takes over");
    let mut seat = vacant(at(0), Exit::NoStore);
    seat.restarts = vec![at(0); 9];
    assert_eq!(World::new(vec![seat], &[("a", &[], 3)]).decide(at(1_000)), [Action::Start { agent: 0 }]);
}

#[test]
fn an_agent_that_had_its_restarts_is_given_up_and_without_agents_the_tasks_fail() {
    let mut seat = vacant(at(9_000), Exit::Crashed);
    seat.restarts = vec![at(1_000), at(2_000), at(3_000)];
    let mut world = World::new(vec![seat], &[("a", &[], 3)]);
    assert_eq!(world.decide(at(9_000)), [Action::GiveUp { agent: 0 }]);
    world.seats[0].process = Process::GivenUp { since: at(9_000) };
    assert_eq!(world.decide(at(9_000)), [fail("a", "no agent left to run it")]);
}

#[test]
fn a_task_that_nobody_holds_waits_again_and_counts_only_if_it_may_have_been_begun() {
    let mut world = World::new(vec![ready(7)], &[("a", &[], 3)]).with("a", assigned("coder"));
    let attempts = |world: &World| {
        world.decide(at(0)).into_iter().find_map(|action| match action {
            Action::Requeue { record, .. } => Some((record.state, record.attempt)),
            _ => None,
        })
    };
    world.grips.insert(task("a"), Grip::Dropped(at(2_999)));
    assert_eq!(attempts(&world), None);
    world.grips.insert(task("a"), Grip::Dropped(LOST_AFTER));
    assert_eq!(attempts(&world), Some((TaskState::Pending, 0)));
    world.grips.insert(task("a"), Grip::Gone(LOST_AFTER));
    assert_eq!(attempts(&world), Some((TaskState::Pending, 1)));
    let last = TaskRecord { attempt: 3, ..assigned("coder") };
    assert_eq!(attempts(&world.with("a", last)), Some((TaskState::Failed, 3)));
}

#[test]
fn a_process_that_does_not_notice_that_its_life_is_over_is_ended_after_a_lease() {
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
    world.seats[0].life = None;
    world.seats[0].missing_for = Some(at(119_999));
    assert_eq!(world.decide(at(0)), []);
    world.seats[0].missing_for = Some(at(120_000));
    assert_eq!(world.decide(at(0)), [Action::End { agent: 0 }]);
}

#[test]
fn nobody_starts_beside_a_living_agent_of_an_earlier_run_before_it_had_time_to_leave() {
    let mut seat = ready(1);
    seat.process = Process::NotStarted { since: at(0) };
    seat.life = seat.life.map(|life| SeenLife { own: false, ..life });
    let mut world = World::new(vec![seat], &[("a", &[], 3)]);
    assert_eq!(world.decide(at(9_999)), []);
    world.seats[0].life = None;
    assert_eq!(world.decide(at(0)), [Action::Start { agent: 0 }]);
}

#[test]
fn while_stopping_nobody_is_given_work_or_started() {
    let mut world = World::new(vec![ready(1), vacant(at(0), Exit::Crashed)], &[("a", &[], 3)]);
    world.stopping = true;
    assert_eq!(world.decide(at(60_000)), []);
}

#[test]
fn a_sprint_is_complete_once_every_task_is_settled() {
    let world = World::new(vec![ready(1)], &[("a", &[], 3), ("b", &[], 3)]);
    let world = world.with("a", record(TaskState::Completed, 1)).with("b", record(TaskState::Failed, 3));
    assert_eq!(world.decide(at(0)), [Action::Complete]);
}
