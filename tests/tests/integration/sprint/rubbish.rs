//! Keys of a running sprint that hold what does not belong there.

use lifecycle_tests::{PlainClient, Role};

use super::{SPRINT, Stage, finish, nothing_is_left, sprint, task, until};
use crate::fleet::{Fleet, SOON};

/// Two sprints that run side by side, each with a task at work and one that waits for it.
fn two_sprints() -> Stage {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let tasks =
        |first: &'static str, second: &'static str, needs: &'static str| [(first, ""), (second, needs)];
    let api = sprint("api", &[], 1, &script, &tasks("a", "b", "needs = [\"a\"]"));
    Stage::new(&(api + &sprint("web", &[], 1, &script, &tasks("v", "w", "needs = [\"v\"]"))))
}

fn plant(client: &mut PlainClient, key: &str) {
    client.run(&["DEL", key]).unwrap();
    // A stream is none of ours but for the audit log.
    client.run(&["XADD", key, "*", "planted", "here"]).unwrap();
}

#[test]
fn a_wrong_type_under_one_sprints_key_ends_that_sprint_and_the_others_go_on() {
    for kind in ["requeue", "tasks", "state", "inbox"] {
        let key = format!("sprint:{kind}:shop.api");
        let (mut fleet, stage) = (Fleet::new(), two_sprints());
        let _sweeper = fleet.sweeper();
        let mut coordinator = stage.coordinator(&fleet);
        stage.wait_for_lines("begun", 2);
        plant(&mut fleet.client, &key);
        let says = |line: &str| line.contains(&key) && line.contains("the others go on");
        coordinator.wait_for_line(says, SOON).unwrap_or_else(|error| panic!("{key}: {error}"));
        stage.open("gate");
        let (code, summary) = finish(&mut coordinator);
        assert_eq!(code, Some(1), "{key}: {}", coordinator.stderr());
        for (id, state) in [("v", "completed"), ("w", "completed"), ("b", "failed")] {
            assert_eq!(task(&summary, id)["state"], state, "{key}: {id}");
        }
        assert_eq!(coordinator.stderr().matches("the others go on").count(), 1, "{}", coordinator.stderr());
        nothing_is_left(&mut fleet, &coordinator);
    }
}

/// Writes bytes over the records of both tasks of `api`, one at work and one that waits, and lets the sprints end.
fn overwritten_with(bytes: &str) -> (Role, serde_json::Value, Vec<String>) {
    let (mut fleet, stage) = (Fleet::new(), two_sprints());
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 2);
    fleet.redis(&["HSET", "sprint:tasks:shop.api", "a", bytes, "b", bytes]);
    fleet.redis(&["PUBLISH", "agent:lifecycle", "{\"type\":\"task_requeued\",\"sprint\":\"shop.api\"}"]);
    for id in ["a", "b"] {
        let says = format!("held no record of {id}");
        coordinator.wait_for_line(|line| line.contains(&says), SOON).unwrap();
    }
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(code, Some(0), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
    (coordinator, summary, stage.lines("begun"))
}

#[test]
fn a_record_that_cannot_be_read_is_written_anew_and_said_once_and_its_task_runs_once() {
    for bytes in
        ["rubbish", "", "{\"state\":\"exploded\",\"attempt\":1,\"maxAttempts\":3}", "{}", "\u{1b}[31m"]
    {
        let (coordinator, summary, mut begun) = overwritten_with(bytes);
        begun.sort();
        assert_eq!(begun, ["a", "b", "v", "w"], "{bytes:?}");
        assert_eq!(task(&summary, "a")["attempts"], 1);
        let said = coordinator.stderr();
        assert_eq!(said.matches("held no record of").count(), 2, "{said}");
        assert!(!said.contains("lost its memory"), "{said}");
    }
}

#[test]
fn records_that_are_spoilt_again_and_again_make_nobody_spin() {
    let (mut fleet, stage) = (Fleet::new(), two_sprints());
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 2);
    for _ in 0..50 {
        fleet.redis(&["HSET", "sprint:tasks:shop.api", "b", "rubbish"]);
        fleet.redis(&["DEL", "sprint:state:shop.api"]);
    }
    stage.open("gate");
    assert_eq!(coordinator.wait(SPRINT).unwrap().code(), Some(0), "{}", coordinator.stderr());
    let lines = coordinator.stderr().lines().count();
    assert!(lines < 40, "{lines} lines: {}", coordinator.stderr());
}
