//! An epic outlives its coordinators: whatever ends one, the next goes on where it stopped.

use std::time::Duration;

use lifecycle_tests::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{SPRINT, Stage, finish, kill, nothing_is_left, only_the_epic_waits, sprint, task, until};
use crate::fleet::{Fleet, SOON};

/// Two sprints, one after the other. Each task of the first ends at once; those of the second wait for the gate.
fn plan() -> String {
    let first = "echo $LIFECYCLE_TASK_ID >> ended";
    let second = format!("echo $LIFECYCLE_TASK_ID >> begun; {}; {first}", until("gate"));
    sprint("one", &[], 2, first, &[("a", ""), ("b", ""), ("c", "")])
        + &sprint("two", &["one"], 2, &second, &[("d", ""), ("e", ""), ("f", "")])
}

/// A coordinator that has the first sprint behind it and two tasks of the second in hand.
fn half_way(fleet: &Fleet, stage: &Stage) -> Role {
    let coordinator = stage.coordinator(fleet);
    stage.wait_for_lines("begun", 2);
    coordinator
}

fn runs_of(stage: &Stage, name: &str) -> usize {
    stage.lines("ended").iter().filter(|line| *line == name).count()
}

/// The whole epic is complete, and nothing that was completed before ran again.
fn goes_on_to_its_end(fleet: &mut Fleet, stage: &Stage, mut second: Role) {
    stage.open("gate");
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &6.into()), "{}", second.stderr());
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(runs_of(stage, name), 1, "{name}: {}", second.stderr());
    }
    nothing_is_left(fleet, &second);
    let history = fleet.client.entries("epics:history").unwrap();
    assert_eq!((history[0]["epic"].as_str(), history[0]["outcome"].as_str()), ("shop", "completed"));
    let mut resume = fleet.role("coordinator").args(["resume", "shop"]).spawn().unwrap();
    assert_eq!(resume.wait(SOON).unwrap().code(), Some(1));
    assert!(resume.stderr().contains("epic shop has ended (completed)"), "{}", resume.stderr());
    let written: Value = serde_json::from_str(&stage.lines("runs/shop/summary.json").join("")).unwrap();
    assert_eq!(written["tasksCompleted"], 6);
}

/// A fleet whose agents hand their tasks back soon after they lost their coordinator, or were told to leave.
fn impatient() -> Fleet {
    Fleet::new()
        .set("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "500ms")
        .set("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "300ms")
}

#[test]
fn agents_with_a_task_in_hand_are_adopted_and_no_task_is_begun_twice() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    let agents = ["shop.two-coder-1", "shop.two-coder-2"];
    let lives = agents.map(|agent| fleet.incarnation(agent));
    first.kill().unwrap();
    let second = stage.coordinator(&fleet);
    for agent in agents {
        second.wait_for_line(|line| line.contains(&format!("{agent} adopted")), SOON).unwrap();
    }
    assert_eq!(agents.map(|agent| fleet.incarnation(agent)), lives, "they live on");
    goes_on_to_its_end(&mut fleet, &stage, second);
    assert_eq!(stage.lines("begun").len(), 3, "d, e, and f");
}

#[test]
fn an_adopted_agent_that_crashes_is_noticed_and_so_is_the_loss_of_the_coordinator_that_adopted() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.kill().unwrap();
    let mut second = stage.coordinator(&fleet);
    second.wait_for_line(|line| line.contains("shop.two-coder-2 adopted"), SOON).unwrap();
    second.wait_for_line(|line| line.contains("shop.two-coder-1 adopted"), SOON).unwrap();
    second.kill().unwrap();
    let third = stage.coordinator(&fleet);
    third.wait_for_line(|line| line.contains("shop.two-coder-1 adopted"), SOON).unwrap();
    kill(&mut fleet, "shop.two-coder-1");
    third.wait_for_line(|line| line.contains("shop.two-coder-1 crashed"), SOON).unwrap();
    stage.open("gate");
    let mut third = third;
    let (code, summary) = finish(&mut third);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &6.into()), "{}", third.stderr());
    nothing_is_left(&mut fleet, &third);
    nothing_is_left(&mut fleet, &first);
}

/// Each coordinator is killed after a few more tasks, whatever it is at then.
#[test]
fn one_epic_by_many_coordinators_does_each_task_once() {
    const TASKS: usize = 60;
    let script = "echo $LIFECYCLE_TASK_ID >> ended; sleep 0.02";
    let names: Vec<String> = (0..TASKS).map(|number| format!("t{number}")).collect();
    let tasks: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 3, script, &tasks)));
    // What a coordinator started is ended when its role is dropped.
    let mut killed = Vec::new();
    for until in (5..TASKS - 5).step_by(5) {
        let mut coordinator = stage.coordinator(&fleet);
        stage.wait_for_lines("ended", until);
        coordinator.kill().unwrap();
        coordinator.wait(SOON).unwrap();
        killed.push(coordinator);
    }
    let mut last = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut last);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &TASKS.into()), "{}", last.stderr());
    let mut ended = stage.lines("ended");
    ended.sort_unstable();
    let all = ended.len();
    ended.dedup();
    assert_eq!((ended.len(), all), (TASKS, TASKS), "no agent was killed");
    nothing_is_left(&mut fleet, &last);
}

#[test]
fn what_was_completed_before_a_coordinator_was_killed_is_not_run_again() {
    let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
    let _sweeper = fleet.sweeper();
    let mut first = half_way(&fleet, &stage);
    first.kill().unwrap();
    only_the_epic_waits(&mut fleet, &first);
    let second = stage.coordinator(&fleet);
    goes_on_to_its_end(&mut fleet, &stage, second);
}

#[test]
fn a_signal_pauses_the_epic_and_resume_needs_no_file() {
    let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.signal(Signal::TERM).unwrap();
    let (code, summary) = finish(&mut first);
    assert_eq!((code, &summary["tasksCompleted"], &summary["tasksLeft"]), (Some(143), &3.into(), &3.into()));
    assert!(
        first.stderr().contains("paused: 3 of 6 tasks completed; `coordinator resume shop`"),
        "{}",
        first.stderr()
    );
    only_the_epic_waits(&mut fleet, &first);
    for id in ["shop.coordinator", "shop.two-coder-1"] {
        let mut restart = fleet.role("lifecyclectl").args(["restart", id]).spawn().unwrap();
        assert_eq!(restart.wait(SOON).unwrap().code(), Some(1));
        assert!(restart.stderr().contains("`coordinator resume shop`"), "{}", restart.stderr());
    }

    std::fs::remove_file(stage.path("plan.toml")).unwrap();
    let resume = fleet.role("coordinator").args(["resume", "shop", "--output", "json"]);
    let second = resume.in_folder(stage.folder.path()).spawn().unwrap();
    second
        .wait_for_line(|line| line.contains("going on with epic shop: 3 of 6 tasks completed before"), SOON)
        .unwrap();
    goes_on_to_its_end(&mut fleet, &stage, second);
}

#[test]
fn a_coordinator_that_wakes_up_after_its_epic_was_taken_ends_and_changes_nothing() {
    let (mut fleet, stage) = (Fleet::with_lease(Duration::from_secs(2)), Stage::new(&plan()));
    let _sweeper = fleet.sweeper();
    let mut first = half_way(&fleet, &stage);
    let frozen = Pid::from_raw(first.pid().try_into().unwrap()).unwrap();
    kill_process(frozen, Signal::STOP).unwrap();
    fleet.wait_until("the epic to wait", |client| {
        client.text(&["HGET", "epic:state:shop", "status"]).unwrap().as_deref() == Some("waiting")
    });
    let second = stage.coordinator(&fleet);
    second.wait_for_line(|line| line.contains("going on with epic shop"), SOON).unwrap();
    kill_process(frozen, Signal::CONT).unwrap();
    assert_eq!(first.wait(SPRINT).unwrap().code(), Some(70), "{}", first.stderr());
    assert_eq!(fleet.client.text(&["HGET", "epic:state:shop", "epoch"]).unwrap().as_deref(), Some("2"));
    goes_on_to_its_end(&mut fleet, &stage, second);
}

#[test]
fn adopted_agents_outlive_a_store_that_lost_its_memory() {
    let (mut fleet, stage) = (Fleet::with_lease(Duration::from_secs(2)), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.kill().unwrap();
    let second = stage.coordinator(&fleet);
    let agents = ["shop.two-coder-1", "shop.two-coder-2"];
    for agent in agents {
        second.wait_for_line(|line| line.contains(&format!("{agent} adopted")), SOON).unwrap();
    }
    fleet.redis(&["FLUSHALL"]);
    for agent in agents {
        fleet.wait_until("the agent to be adopted again", |client| {
            client.text(&["HGET", &format!("agent:state:{agent}"), "adoptedBy"]).unwrap().is_some()
        });
    }
    goes_on_to_its_end(&mut fleet, &stage, second);
    assert_eq!(stage.lines("begun").len(), 3);
}

#[test]
fn a_changed_plan_is_refused_with_its_differences_and_can_begin_anew() {
    let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.signal(Signal::TERM).unwrap();
    finish(&mut first);
    let changed = plan().replace("id = \"b\"", "id = \"other\"");
    stage.write_plan("shop", &changed);
    let mut refused = stage.coordinator(&fleet);
    assert_eq!(refused.wait(SOON).unwrap().code(), Some(1));
    let said = refused.stderr();
    for line in [
        "epic shop waits with another plan",
        "sprint one: task b is removed",
        "sprint one: task other is new",
    ] {
        assert!(said.contains(line), "{said}");
    }
    only_the_epic_waits(&mut fleet, &refused);

    stage.open("gate");
    let fresh = fleet.role("coordinator").args(["run", "plan.toml", "--fresh", "--output", "json"]);
    let mut fresh = fresh.in_folder(stage.folder.path()).spawn().unwrap();
    let (code, summary) = finish(&mut fresh);
    assert_eq!(
        (code, &task(&summary, "other")["state"]),
        (Some(0), &"completed".into()),
        "{}",
        fresh.stderr()
    );
    assert_eq!(runs_of(&stage, "a"), 2);
    nothing_is_left(&mut fleet, &fresh);
    let history = fleet.client.entries("epics:history").unwrap();
    let outcomes: Vec<&str> = history.iter().map(|entry| entry["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["completed", "cancelled"]);
}

#[test]
fn beginning_anew_ends_the_agents_of_the_run_that_is_forgotten() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.kill().unwrap();
    let fresh = fleet.role("coordinator").args(["run", "plan.toml", "--fresh", "--output", "json"]);
    let mut fresh = fresh.in_folder(stage.folder.path()).spawn().unwrap();
    stage.wait_for_lines("begun", 4);
    stage.open("gate");
    let (code, summary) = finish(&mut fresh);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &6.into()), "{}", fresh.stderr());
    let runs = ["a", "d", "e", "f"].map(|name| runs_of(&stage, name));
    assert_eq!(runs, [2, 1, 1, 1], "what the first had in hand came to no end: {}", fresh.stderr());
    nothing_is_left(&mut fleet, &fresh);
}

#[test]
fn a_store_that_goes_back_to_an_earlier_coordinators_time_costs_no_completed_task() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan()));
    let mut first = stage.coordinator(&fleet);
    fleet.wait_until("the epic", |client| client.exists("sprint:state:shop.one").unwrap());
    fleet.redis(&["SAVE"]);
    stage.wait_for_lines("begun", 2);
    first.kill().unwrap();
    let second = stage.coordinator(&fleet);
    for agent in ["shop.two-coder-1", "shop.two-coder-2"] {
        second.wait_for_line(|line| line.contains(&format!("{agent} adopted")), SOON).unwrap();
    }
    fleet.restart();
    fleet.wait_until("the epic to be back", |client| {
        let epoch = client.text(&["HGET", "epic:state:shop", "epoch"]).unwrap();
        let outcome = client.text(&["HGET", "sprint:state:shop.one", "outcome"]).unwrap();
        (epoch.as_deref(), outcome.as_deref()) == (Some("2"), Some("completed"))
    });
    goes_on_to_its_end(&mut fleet, &stage, second);
    assert_eq!(stage.lines("begun").len(), 3);
}

#[test]
fn a_changed_plan_can_be_merged_and_only_what_changed_runs_again() {
    let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.signal(Signal::TERM).unwrap();
    finish(&mut first);
    let changed = plan()
        .replace("id = \"b\"", "id = \"b\"\ninput = \"again\"")
        .replace("id = \"c\"", "id = \"new\"")
        .replace("id = \"f\"", "id = \"g\"");
    stage.write_plan("shop", &changed);
    stage.open("gate");
    let merge = fleet.role("coordinator").args(["run", "plan.toml", "--merge", "--output", "json"]);
    let mut second = merge.in_folder(stage.folder.path()).spawn().unwrap();
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &6.into()), "{}", second.stderr());
    let runs = ["a", "b", "c", "new", "d", "e", "f", "g"].map(|name| runs_of(&stage, name));
    assert_eq!(runs, [1, 2, 1, 1, 1, 1, 0, 1], "{}", second.stderr());
    nothing_is_left(&mut fleet, &second);
}

#[test]
fn an_epic_is_cancelled_for_good_whether_it_runs_or_waits() {
    for end in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
        let _sweeper = fleet.sweeper();
        let mut coordinator = half_way(&fleet, &stage);
        if let Some(signal) = end {
            // After a kill its agents go on with what they have in hand.
            coordinator.signal(signal).unwrap();
            coordinator.wait(SPRINT).unwrap();
            fleet.wait_until("the epic to wait", |client| {
                client.text(&["HGET", "epic:state:shop", "status"]).unwrap().as_deref() == Some("waiting")
            });
        }
        let mut cancel = fleet.role("lifecyclectl").args(["epic", "cancel", "shop"]).spawn().unwrap();
        assert_eq!(cancel.wait(SOON).unwrap().code(), Some(0), "{}", cancel.stderr());
        if end.is_none() {
            assert_eq!(finish(&mut coordinator).0, Some(1), "{}", coordinator.stderr());
        }
        nothing_is_left(&mut fleet, &coordinator);
        let history = fleet.client.entries("epics:history").unwrap();
        assert_eq!((history.len(), history[0]["outcome"].as_str()), (1, "cancelled"));
    }
}

#[test]
fn a_store_that_lost_its_memory_is_told_of_the_sprints_that_are_over() {
    let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
    let _sweeper = fleet.sweeper();
    let mut first = half_way(&fleet, &stage);
    fleet.redis(&["FLUSHALL"]);
    fleet.wait_until("the epic to be back", |client| {
        client.text(&["HGET", "sprint:state:shop.one", "outcome"]).unwrap().as_deref() == Some("completed")
    });
    first.kill().unwrap();
    only_the_epic_waits(&mut fleet, &first);
    let second = stage.coordinator(&fleet);
    goes_on_to_its_end(&mut fleet, &stage, second);
}

#[test]
fn an_epic_that_nobody_goes_on_with_is_removed_in_time_and_written_down() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2)).set("LIFECYCLE_COORDINATOR__RESUME_FOR", "1s");
    fleet = fleet.set("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "300ms");
    let stage = Stage::new(&plan());
    let mut first = half_way(&fleet, &stage);
    first.signal(Signal::TERM).unwrap();
    finish(&mut first);
    let _sweeper = fleet.sweeper();
    nothing_is_left(&mut fleet, &first);
    let history = fleet.client.entries("epics:history").unwrap();
    assert_eq!(history[0]["outcome"], "cancelled");
    assert!(fleet.log().iter().any(|entry| entry["type"] == "epic_expired" && entry["epic"] == "shop"));
    let mut listed = fleet.role("lifecyclectl").args(["history", "shop"]).spawn().unwrap();
    assert_eq!(listed.wait(SOON).unwrap().code(), Some(0));
    assert!(listed.stdout().contains("cancelled"), "{}", listed.stdout());
}

#[test]
fn resume_from_another_folder_goes_on_where_the_epic_was_begun_and_counts_its_whole_time() {
    let (mut fleet, stage) = (impatient(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    first.signal(Signal::TERM).unwrap();
    let (_, paused) = finish(&mut first);
    stage.open("gate");
    let elsewhere = tempfile::tempdir().unwrap();
    let resume = fleet.role("coordinator").args(["resume", "shop", "--output", "json"]);
    let mut second = resume.in_folder(elsewhere.path()).spawn().unwrap();
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &6.into()), "{}", second.stderr());
    assert!(second.stderr().contains("where the epic was begun"), "{}", second.stderr());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(summary["elapsedMs"].as_u64() > paused["elapsedMs"].as_u64());
    let history = fleet.client.entries("epics:history").unwrap();
    assert_eq!(history[0]["planHash"].len(), 40, "{history:?}");
    nothing_is_left(&mut fleet, &second);
}

/// `coordinator run plan.toml --wait`, which waits for the one that has the epic.
fn stand_by(fleet: &Fleet, stage: &Stage) -> Role {
    let command = fleet.role("coordinator").args(["run", "plan.toml", "--wait", "--output", "json"]);
    let stand_by = command.in_folder(stage.folder.path()).spawn().unwrap();
    stand_by.wait_for_line(|line| line.contains("waiting until it is free"), SOON).unwrap();
    stand_by
}

#[test]
fn a_stand_by_goes_on_with_the_epic_of_one_that_was_killed() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    let second = stand_by(&fleet, &stage);
    first.kill().unwrap();
    goes_on_to_its_end(&mut fleet, &stage, second);
    assert_eq!(stage.lines("begun").len(), 3);
}

#[test]
fn a_stand_by_does_not_begin_anew_what_has_ended_meanwhile_and_a_signal_ends_it() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan()));
    let mut first = half_way(&fleet, &stage);
    let (mut second, mut third) = (stand_by(&fleet, &stage), stand_by(&fleet, &stage));
    third.signal(Signal::TERM).unwrap();
    assert_eq!(third.wait(SOON).unwrap().code(), Some(143), "{}", third.stderr());
    stage.open("gate");
    assert_eq!(finish(&mut first).0, Some(0));
    assert_eq!(second.wait(SOON).unwrap().code(), Some(0), "{}", second.stderr());
    assert!(second.stderr().contains("\nepic shop has ended meanwhile (completed)"), "{}", second.stderr());
    assert_eq!(stage.lines("ended").len(), 6, "each task once");
    nothing_is_left(&mut fleet, &second);
}

#[test]
fn what_living_agents_have_in_hand_is_not_begun_again_in_a_store_that_lost_a_waiting_epic() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(5));
    let script =
        format!("echo $LIFECYCLE_TASK_ID >> begun; {}; echo $LIFECYCLE_TASK_ID >> ended", until("gate"));
    let tasks = [("a", ""), ("b", ""), ("c", "")];
    let stage = Stage::new(&sprint("api", &[], 2, &script, &tasks));
    let mut first = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 2);
    first.kill().unwrap();
    fleet.redis(&["FLUSHALL"]);
    for agent in ["shop.api-coder-1", "shop.api-coder-2"] {
        let key = format!("agent:keys:{agent}");
        fleet.wait_until("it to put back what it holds", |client| client.exists(&key).unwrap());
    }
    let mut second = stage.coordinator(&fleet);
    second.wait_for_line(|line| line.contains("the store lost what it knew of this epic"), SOON).unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", second.stderr());
    let mut begun = stage.lines("begun");
    begun.sort_unstable();
    assert_eq!(begun, ["a", "b", "c"], "{}", second.stderr());
    nothing_is_left(&mut fleet, &second);
}
