//! What the end of a run costs its task: work that fails an attempt, a crash a crash, an operator's order nothing.

use std::time::Duration;

use super::{Stage, finish, hang_once, nothing_is_left, sprint, task, until};
use crate::fleet::{Fleet, SOON};

fn lifecyclectl(fleet: &Fleet, args: &[&str]) -> String {
    let mut command = fleet.role("lifecyclectl").args(args).spawn().unwrap();
    assert_eq!(command.wait(SOON).unwrap().code(), Some(0), "{args:?}: {}", command.stderr());
    command.stdout()
}

#[test]
fn a_stopped_agent_costs_its_task_neither_an_attempt_nor_a_crash_and_is_replaced() {
    let (mut fleet, stage) = (
        Fleet::new(),
        Stage::new(&sprint("api", &[], 1, &hang_once(), &[("t", "attempts = 1\nmax_crashes = 1")])),
    );
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    lifecyclectl(&fleet, &["stop", "shop.api-coder"]);
    let (code, summary) = finish(&mut coordinator);
    let done = task(&summary, "t");
    assert_eq!(
        (code, &done["state"], &done["attempts"], &done["crashes"], &summary["agentRestarts"]),
        (Some(0), &"completed".into(), &1.into(), &0.into(), &0.into()),
        "{}",
        coordinator.stderr()
    );
    assert!(coordinator.stderr().contains("comes back from shop.api-coder (operator), at no cost"));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn draining_the_last_agent_of_a_sprint_fails_no_task() {
    let script = format!("echo {{task}} $LIFECYCLE_TOKEN >> begun; [ {{task}} != a ] || {}", until("gate"));
    let tasks = [("a", ""), ("b", "needs = [\"a\"]")];
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &tasks)));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    lifecyclectl(&fleet, &["drain", "shop.api-coder"]);
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    let begun = stage.lines("begun");
    let life = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    assert_ne!(life(&begun[0]), life(&begun[1]), "another life did the second");
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_that_is_not_to_be_replaced_leaves_its_tasks_waiting_until_it_is_wanted_again() {
    let (mut fleet, stage) =
        (Fleet::new(), Stage::new(&sprint("api", &[], 1, &hang_once(), &[("t", ""), ("u", "")])));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    lifecyclectl(&fleet, &["stop", "shop.api-coder", "--no-replace", "--wait", "20s"]);
    let waits = "2 tasks wait for an agent (1 id not to be replaced); `lifecyclectl restart shop.api-coder`";
    coordinator.wait_for_line(|line| line.contains(waits), SOON).unwrap();
    let said = lifecyclectl(&fleet, &["restart", "shop.api-coder", "--wait", "20s"]);
    assert!(said.starts_with("shop.api-coder is back, as pid "), "{said}");
    // The second task hangs in its first run as well.
    stage.wait_for_lines("begun", 3);
    lifecyclectl(&fleet, &["restart", "shop.api-coder"]);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    for id in ["t", "u"] {
        let done = task(&summary, id);
        assert_eq!((&done["attempts"], &done["crashes"]), (&1.into(), &0.into()));
    }
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_that_nobody_would_start_again_is_not_stopped_by_a_restart() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(5));
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let mut agent = fleet.agent("alone", &until(gate.to_str().unwrap())).spawn().unwrap();
    fleet.wait_for_beat("alone");
    for (id, why) in [("alone", "nobody would start it again"), ("shop.nobody", "no agent")] {
        let mut command = fleet.role("lifecyclectl").args(["restart", id]).spawn().unwrap();
        assert_eq!(command.wait(SOON).unwrap().code(), Some(1));
        let said = command.stderr();
        assert!(said.lines().count() == 1 && said.contains(why), "{said}");
    }
    assert_eq!(fleet.client.text(&["GET", "agent:command:alone"]).unwrap(), None);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0));
}
