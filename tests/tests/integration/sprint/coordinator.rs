//! How a coordinator ends before its plan does, or is kept from beginning it twice.

use std::fs;

use rustix::process::{Signal, kill_process};

use super::{SPRINT, Stage, finish, nothing_is_left, only_the_epic_waits, pid_of, sprint, task, until};
use crate::fleet::{Fleet, SOON};

#[test]
fn a_coordinator_that_is_killed_leaves_no_process_and_its_epic_waiting_within_seconds() {
    let script = format!("echo {{task}} >> begun; setsid sleep 600 & {}", until("never"));
    let plan = sprint("api", &[], 2, &script, &[("a", ""), ("b", "")])
        + &sprint("web", &[], 1, &script, &[("c", "")]);
    let mut fleet = Fleet::new().set("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "1s");
    let stage = Stage::new(&plan);
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 3);
    coordinator.kill().unwrap();
    only_the_epic_waits(&mut fleet, &coordinator);
}

#[test]
fn an_interrupted_coordinator_ends_its_agents_leaves_its_epic_waiting_and_exits_with_the_signals_code() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let script = format!("echo {{task}} >> begun; {}", until("never"));
        let mut fleet = Fleet::new().set("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "300ms");
        let stage = Stage::new(&sprint("api", &[], 2, &script, &[("a", ""), ("b", "")]));
        let mut coordinator = stage.coordinator(&fleet);
        stage.wait_for_lines("begun", 2);
        coordinator.signal(signal).unwrap();
        let (exit, summary) = finish(&mut coordinator);
        assert_eq!(
            (exit, &summary["outcome"], &summary["tasksLeft"]),
            (Some(code), &"interrupted".into(), &2.into())
        );
        only_the_epic_waits(&mut fleet, &coordinator);
    }
}

#[test]
fn a_second_signal_ends_even_commands_that_ignore_the_first() {
    let script = format!("trap '' TERM INT HUP; echo {{task}} >> begun; {}", until("never"));
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &[("a", "")])));
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    coordinator.signal(Signal::INT).unwrap();
    coordinator.wait_for_line(|line| line.contains("no more work is handed out"), SOON).unwrap();
    coordinator.signal(Signal::INT).unwrap();
    assert_eq!(finish(&mut coordinator).0, Some(130));
    only_the_epic_waits(&mut fleet, &coordinator);
}

#[test]
fn an_agents_signal_is_passed_on_to_the_command_at_work_and_to_none_before_it() {
    let script = format!("echo {{task}} >> begun; [ {{task}} != last ] || {}", until("never"));
    let tasks = [("a", ""), ("b", ""), ("last", "needs = [\"a\", \"b\"]")];
    let stage = Stage::new(&sprint("api", &[], 1, &script, &tasks));
    // What agents do besides warning of something is in their logs where it is asked for.
    let mut fleet = Fleet::new().set("LIFECYCLE_LOG__LEVEL", "info");
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 3);
    kill_process(pid_of(&mut fleet, "shop.api-coder").unwrap(), Signal::TERM).unwrap();
    stage.wait_for_lines("begun", 4);
    coordinator.signal(Signal::TERM).unwrap();
    coordinator
        .wait_for_line(|line| line.contains("1 task in hand may go on for 30s; once more"), SOON)
        .unwrap();
    coordinator.signal(Signal::TERM).unwrap();
    assert_eq!(finish(&mut coordinator).0, Some(143));
    let log = fs::read_to_string(stage.path("runs/shop/api/agents/api-coder.log")).unwrap();
    // The groups of commands that have ended may be somebody else's by now.
    assert_eq!(log.matches("passing the signal on").count(), 1, "{log}");
    only_the_epic_waits(&mut fleet, &coordinator);
}

#[test]
fn a_coordinator_that_is_told_to_stop_lets_the_tasks_in_hand_finish() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let tasks = [("a", ""), ("b", "needs = [\"a\"]")];
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &tasks)));
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    coordinator.signal(Signal::TERM).unwrap();
    coordinator.wait_for_line(|line| line.contains("no more work is handed out"), SOON).unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"], &summary["tasksLeft"]), (Some(143), &1.into(), &1.into()));
    assert_eq!(task(&summary, "a")["detail"], "exit 0", "no signal reached it");
    only_the_epic_waits(&mut fleet, &coordinator);
}

#[test]
fn a_drained_coordinator_finishes_the_tasks_in_flight_and_begins_no_more() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let tasks = [("a", ""), ("b", "needs = [\"a\"]")];
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &tasks)));
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    let mut order = fleet.role("lifecyclectl").args(["drain", "shop.coordinator"]).spawn().unwrap();
    order.wait(SOON).unwrap();
    coordinator.wait_for_line(|line| line.contains("no more work is handed out"), SOON).unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(
        (code, &task(&summary, "a")["state"], &task(&summary, "b")["state"]),
        (Some(1), &"completed".into(), &"pending".into())
    );
    only_the_epic_waits(&mut fleet, &coordinator);
}

#[test]
fn a_second_coordinator_of_the_epic_is_refused_naming_the_first_until_it_takes_over() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &[("a", "")])));
    let _sweeper = fleet.sweeper();
    let mut first = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    let mut second = stage.coordinator(&fleet);
    assert_eq!(second.wait(SOON).unwrap().code(), Some(1));
    let said = second.stderr();
    assert!(said.lines().count() == 1 && said.contains(&format!("pid {}", first.pid())), "{said}");

    let takeover = fleet.role("coordinator").args(["run", "plan.toml", "--output", "json", "--takeover"]);
    let mut third = takeover.in_folder(stage.folder.path()).spawn().unwrap();
    assert_eq!(first.wait(SPRINT).unwrap().code(), Some(70), "{}", first.stderr());
    third.wait_for_line(|line| line.contains("shop.api-coder adopted"), SOON).unwrap();
    stage.open("gate");
    assert_eq!(finish(&mut third).0, Some(0), "{}", third.stderr());
    assert_eq!(stage.lines("begun").len(), 1, "the task in hand went on");
    nothing_is_left(&mut fleet, &first);
    nothing_is_left(&mut fleet, &third);
}
