//! One claim each; what holds over whole sprints is in `simulation`.

use super::*;
use crate::sprint::plan::Plan;

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
    TaskRecord { state, attempt, run: attempt, ..TaskRecord::pending(3, 3) }
}

fn assigned(agent: &str) -> TaskRecord {
    TaskRecord {
        agent_id: Some(format!("e.{agent}")),
        incarnation: Some(Incarnation(7)),
        ..record(TaskState::Assigned, 1)
    }
}

fn ready(incarnation: u64) -> SlotView {
    let life = SlotLife {
        incarnation: Incarnation(incarnation),
        holder: IdHolder::Own,
        takes_work: true,
        is_overdue: false,
    };
    SlotView { process: Process::Running, life: Some(life), ..vacant(at(0), Exit::Left) }
}

fn life(holder: IdHolder) -> SlotLife {
    SlotLife { incarnation: Incarnation(1), holder, takes_work: false, is_overdue: false }
}

fn vacant(since: Duration, how: Exit) -> SlotView {
    SlotView {
        process: Process::Vacant { since, how },
        life: None,
        missing_for: None,
        given: 0,
        restarts: vec![],
        is_retired: false,
        has_joined: false,
    }
}

struct World {
    plan: SprintPlan,
    records: BTreeMap<TaskId, TaskRecord>,
    grips: BTreeMap<TaskId, Grip>,
    slots: Vec<SlotView>,
    occupied: HashSet<TaskId>,
    stopping: bool,
    paused: bool,
    may_grow: bool,
    server_now: u64,
}

impl World {
    fn new(slots: Vec<SlotView>, tasks: &[(&str, &[&str], u32)]) -> Self {
        let plan = plan(slots.len(), tasks);
        Self {
            plan,
            records: BTreeMap::new(),
            grips: BTreeMap::new(),
            slots,
            occupied: HashSet::new(),
            stopping: false,
            paused: false,
            may_grow: false,
            server_now: 0,
        }
    }

    fn with(mut self, id: &str, record: TaskRecord) -> Self {
        self.records.insert(task(id), record);
        self
    }

    fn decide(&self, now: Duration) -> Vec<Action> {
        self.view(|view| decide(view, now))
    }

    fn view<T>(&self, ask: impl FnOnce(&SprintView<'_>) -> T) -> T {
        let (plan, records, grips, slots) = (&self.plan, &self.records, &self.grips, &self.slots);
        let (occupied, stopping) = (&self.occupied, self.stopping);
        let view = SprintView {
            plan,
            records,
            grips,
            slots,
            occupied,
            stopping,
            paused: self.paused,
            may_grow: self.may_grow,
            server_now: ServerTime::from_store_ms(self.server_now),
            restart: RULES,
            lease: at(120_000),
        };
        ask(&view)
    }
}

impl World {
    fn waited_for(&self) -> Vec<(usize, WhyAbsent)> {
        self.view(waited_for).unwrap_or_default()
    }
}

fn assign(id: &str, agent: usize, incarnation: u64) -> Action {
    Action::Assign { task: task(id), agent, incarnation: Incarnation(incarnation) }
}

fn fail(id: &str, why: &str) -> Action {
    let record = TaskRecord { detail: Some(why.into()), ..record(TaskState::Failed, 0) };
    let lost = why.strip_prefix("needs ").and_then(|rest| rest.split(',').next()).map(task);
    Action::Fail { task: task(id), record, lost }
}

#[test]
fn tasks_go_in_plan_order_to_the_agents_that_had_least_one_each() {
    let mut world = World::new(vec![ready(1), ready(2)], &[("a", &[], 3), ("b", &[], 3), ("c", &[], 3)]);
    assert_eq!(world.decide(at(0)), [assign("a", 0, 1), assign("b", 1, 2)]);
    world.slots[0].given = 5;
    assert_eq!(world.decide(at(0)), [assign("a", 1, 2), assign("b", 0, 1)]);
}

#[test]
fn an_agent_with_a_task_in_flight_gets_no_second_one() {
    let world = World::new(vec![ready(1)], &[("a", &[], 3), ("b", &[], 3)]).with("a", assigned("coder"));
    assert_eq!(world.decide(at(0)), []);
}

#[test]
fn only_a_registered_life_of_the_running_process_that_takes_work_is_given_any() {
    let changes: [fn(&mut SlotView); 4] = [
        |slot| slot.life = None,
        |slot| slot.life = slot.life.map(|life| SlotLife { holder: IdHolder::Stranger, ..life }),
        |slot| slot.life = slot.life.map(|life| SlotLife { takes_work: false, ..life }),
        |slot| slot.process = Process::Vacant { since: at(0), how: Exit::Crashed },
    ];
    for change in changes {
        let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
        change(&mut world.slots[0]);
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
    world.slots[0].life = Some(life(IdHolder::Dead));
    assert_eq!(world.decide(at(1_100)), []);
    assert_eq!(world.decide(at(3_000)), [Action::Reap { agent: 0, incarnation: Incarnation(1) }]);
}

#[test]
fn an_agent_that_left_is_replaced_while_there_is_work_and_one_that_found_no_store_loses_no_restart() {
    for how in [Exit::Left, Exit::Spent, Exit::Fenced] {
        let world = World::new(vec![vacant(at(0), how)], &[("a", &[], 3)]);
        assert_eq!(world.decide(at(499)), [], "never in a tight loop");
        assert_eq!(world.decide(at(500)), [Action::Start { agent: 0 }]);
    }
    let mut slot = vacant(at(0), Exit::NoStore);
    slot.restarts = vec![at(0); 9];
    assert_eq!(World::new(vec![slot], &[("a", &[], 3)]).decide(at(1_000)), [Action::Start { agent: 0 }]);
}

#[test]
fn an_agent_that_is_not_to_be_replaced_stays_away_and_its_tasks_wait() {
    let mut world = World::new(vec![vacant(at(0), Exit::Left)], &[("a", &[], 3)]);
    world.slots[0].is_retired = true;
    assert_eq!(world.decide(at(600_000)), []);
    assert_eq!(world.waited_for(), [(0, WhyAbsent::Retired)]);
    world.slots[0].is_retired = false;
    assert_eq!(world.waited_for(), [], "it comes back by itself");
}

#[test]
fn an_id_that_is_held_is_left_alone_until_it_is_free_and_costs_no_restart() {
    for process in [Process::NotStarted { since: at(0) }, Process::Vacant { since: at(0), how: Exit::Held }] {
        let mut world = World::new(vec![vacant(at(0), Exit::Held)], &[("a", &[], 3)]);
        world.slots[0].process = process;
        world.slots[0].life = Some(life(IdHolder::Stranger));
        assert_eq!(world.decide(at(3_600_000)), [], "{process:?}");
        assert_eq!(world.waited_for(), [(0, WhyAbsent::Held)]);
        world.slots[0].life = None;
        assert_eq!(world.decide(at(3_600_000)), [Action::Start { agent: 0 }]);
    }
}

#[test]
fn a_living_agent_of_an_earlier_coordinator_is_adopted_at_once_and_not_started_beside() {
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
    world.slots[0].process = Process::NotStarted { since: Duration::ZERO };
    world.slots[0].life = Some(life(IdHolder::Adoptable));
    let incarnation = world.slots[0].life.unwrap().incarnation;
    assert_eq!(world.decide(Duration::ZERO), [Action::Adopt { agent: 0, incarnation }]);
}

#[test]
fn an_agent_of_an_earlier_run_may_be_removed_because_the_script_looks_at_its_lease() {
    let mut world = World::new(vec![vacant(at(0), Exit::Left)], &[("a", &[], 3)]);
    world.slots[0].process = Process::NotStarted { since: at(0) };
    world.slots[0].life = Some(SlotLife { is_overdue: true, ..life(IdHolder::Adoptable) });
    assert_eq!(world.decide(at(1_999)), []);
    assert_eq!(world.decide(at(2_000)), [Action::Reap { agent: 0, incarnation: Incarnation(1) }]);
}

#[test]
fn an_agent_that_runs_elsewhere_works_until_its_lease_is_over_and_is_never_started_here() {
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
    (world.slots[0].process, world.slots[0].has_joined) = (Process::Elsewhere, true);
    let assign = Action::Assign { task: task("a"), agent: 0, incarnation: Incarnation(1) };
    assert_eq!(world.decide(at(0)), [assign]);
    let overdue = |life: SlotLife| SlotLife { is_overdue: true, takes_work: false, ..life };
    world.slots[0].life = world.slots[0].life.map(overdue);
    assert_eq!(world.decide(at(0)), [Action::Reap { agent: 0, incarnation: Incarnation(1) }]);
    world.slots[0] = SlotView { has_joined: true, ..vacant(at(0), Exit::Left) };
    assert_eq!(world.decide(at(3_600_000)), [], "who started it starts it again");
}

#[test]
fn a_sprint_with_a_pool_waits_for_agents_to_join_even_if_its_own_were_given_up() {
    let mut world = World::new(vec![vacant(at(0), Exit::Crashed)], &[("a", &[], 3)]);
    world.slots[0].process = Process::GivenUp { since: at(0) };
    let pool = "[[sprint.agent]]\nid = \"p\"\nspawn = false\n[[sprint.task]]\nid = \"t\"\n";
    let text = format!("[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n{pool}");
    world.plan.pools = Plan::parse(&text).unwrap().sprints.remove(0).pools;
    assert_eq!(world.decide(at(9_000)), []);
    assert_eq!(world.waited_for(), [(0, WhyAbsent::GivenUp)]);
}

#[test]
fn a_task_that_failed_waits_for_its_pause_by_the_stores_clock() {
    let failed =
        TaskRecord { not_before: Some(ServerTime::from_store_ms(500)), ..record(TaskState::Pending, 1) };
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]).with("a", failed);
    world.server_now = 499;
    assert_eq!(world.decide(at(9_000)), []);
    world.server_now = 500;
    assert_eq!(
        world.decide(at(0)),
        [Action::Assign { task: task("a"), agent: 0, incarnation: Incarnation(1) }]
    );
}

#[test]
fn a_paused_sprint_hands_out_nothing_and_an_open_one_is_not_complete_before_it_is_closed() {
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
    world.paused = true;
    assert_eq!(world.decide(at(0)), []);
    assert_eq!(world.waited_for(), []);
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]).with("a", record(TaskState::Completed, 1));
    world.may_grow = true;
    assert_eq!(world.decide(at(0)), []);
    world.may_grow = false;
    assert_eq!(world.decide(at(0)), [Action::Complete]);
}

#[test]
fn what_needs_a_cancelled_task_fails_and_says_so_and_the_rest_goes_on() {
    let tasks: &[(&str, &[&str], u32)] = &[("a", &[], 3), ("b", &["a"], 3), ("c", &[], 3)];
    let world = World::new(vec![ready(1)], tasks).with("a", record(TaskState::Cancelled, 0));
    let actions = world.decide(at(0));
    let [Action::Fail { task: failed, record, .. }, Action::Assign { task: given, .. }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((failed.as_str(), given.as_str()), ("b", "c"));
    assert_eq!(record.detail.as_deref(), Some("needs a, which was cancelled"));
}

#[test]
fn an_agent_that_had_its_restarts_is_given_up_and_without_agents_the_tasks_fail() {
    let mut slot = vacant(at(9_000), Exit::Crashed);
    slot.restarts = vec![at(1_000), at(2_000), at(3_000)];
    let mut world = World::new(vec![slot], &[("a", &[], 3)]);
    assert_eq!(world.decide(at(9_000)), [Action::GiveUp { agent: 0 }]);
    world.slots[0].process = Process::GivenUp { since: at(9_000) };
    assert_eq!(world.decide(at(9_000)), [fail("a", "no agent left to run it")]);
}

#[test]
fn a_run_that_nobody_holds_is_recalled_and_costs_a_crash_only_if_its_agent_is_gone() {
    let mut world = World::new(vec![ready(7)], &[("a", &[], 3)]).with("a", assigned("coder"));
    let recalled = |world: &World| {
        world.decide(at(0)).into_iter().find_map(|action| match action {
            Action::Recall { run, cost, .. } => Some((run, cost)),
            _ => None,
        })
    };
    world.grips.insert(task("a"), Grip::Dropped(at(2_999)));
    assert_eq!(recalled(&world), None);
    world.grips.insert(task("a"), Grip::Dropped(LOST_AFTER));
    assert_eq!(recalled(&world), Some((1, Cost::Nothing)));
    world.grips.insert(task("a"), Grip::Gone(LOST_AFTER));
    assert_eq!(recalled(&world), Some((1, Cost::Crash)));
}

#[test]
fn a_process_that_does_not_notice_that_its_life_is_over_is_ended_after_a_lease() {
    let mut world = World::new(vec![ready(1)], &[("a", &[], 3)]);
    world.slots[0].life = None;
    world.slots[0].missing_for = Some(at(119_999));
    assert_eq!(world.decide(at(0)), []);
    world.slots[0].missing_for = Some(at(120_000));
    assert_eq!(world.decide(at(0)), [Action::End { agent: 0 }]);
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
