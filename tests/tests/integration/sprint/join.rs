//! Agents from anywhere: they join a sprint, whoever has started them and wherever they run.

use std::time::Duration;

use lifecycle_tests::Role;
use rustix::process::Signal;

use super::{SPRINT, Stage, finish, nothing_is_left, only_the_epic_waits, until};
use crate::fleet::{Fleet, SOON};

/// A sprint that only agents of a pool work for.
fn plan(tasks: &[&str]) -> String {
    let mut text = "[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"hands\"\nspawn = false\n".to_owned();
    tasks.iter().for_each(|task| text += &format!("[[sprint.task]]\nid = \"{task}\"\n"));
    text
}

fn join(fleet: &Fleet, stage: &Stage, id: &str, script: &str) -> Role {
    let args = ["run", "--epic", "shop", "--sprint", "api", "--pool", "hands", "--id", id, "--", "sh", "-c"];
    let command = fleet.role("agent").args(args).arg(script);
    command.in_folder(stage.folder.path()).spawn().unwrap()
}

fn gated() -> String {
    format!("echo $LIFECYCLE_TASK_ID >> begun; {}; echo $LIFECYCLE_TASK_ID >> ended", until("gate"))
}

#[test]
fn agents_that_joined_do_all_the_work_and_leave_with_the_sprint() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan(&["a", "b", "c"])));
    let script = gated();
    // Roles start in any order.
    let mut early = join(&fleet, &stage, "shop.early", &script);
    early.wait_for_line(|line| line.contains("waiting to join: there is no epic shop yet"), SOON).unwrap();
    let mut coordinator = stage.coordinator(&fleet);
    let args = ["run", "--epic", "shop", "--sprint", "shop.api", "--pool", "hands", "--", "sh", "-c"];
    let command = fleet.role("agent").args(args).arg(script);
    let mut unnamed = command.in_folder(stage.folder.path()).spawn().unwrap();
    coordinator.wait_for_line(|line| line.contains("shop.early has joined"), SOON).unwrap();
    coordinator
        .wait_for_line(|line| line.contains("shop.hands-") && line.contains(" has joined"), SOON)
        .unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", coordinator.stderr());
    let mut ended = stage.lines("ended");
    ended.sort_unstable();
    assert_eq!(ended, ["a", "b", "c"]);
    assert_eq!(early.wait(SOON).unwrap().code(), Some(0), "{}", early.stderr());
    nothing_is_left(&mut fleet, &early);
    assert_eq!(unnamed.wait(SOON).unwrap().code(), Some(0), "{}", unnamed.stderr());
    nothing_is_left(&mut fleet, &unnamed);
}

#[test]
fn an_agent_that_joined_goes_on_with_its_task_when_the_coordinator_is_replaced() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan(&["a", "b"])));
    let mut first = stage.coordinator(&fleet);
    let mut hand = join(&fleet, &stage, "shop.hand", &gated());
    stage.wait_for_lines("begun", 1);
    let life = fleet.incarnation("shop.hand");
    first.kill().unwrap();
    let mut second = stage.coordinator(&fleet);
    second.wait_for_line(|line| line.contains("shop.hand has joined"), SOON).unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", second.stderr());
    assert_eq!(stage.lines("begun").len(), 2, "none was begun twice");
    assert!(life.is_some());
    assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    nothing_is_left(&mut fleet, &hand);
}

#[test]
fn an_agent_that_joined_comes_back_when_another_coordinator_does() {
    let fleet = Fleet::with_lease(Duration::from_secs(2));
    let mut fleet = fleet.set("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "300ms");
    let stage = Stage::new(&plan(&["a", "b"]));
    let _sweeper = fleet.sweeper();
    let mut first = stage.coordinator(&fleet);
    let mut hand = join(&fleet, &stage, "shop.hand", &gated());
    stage.wait_for_lines("begun", 1);
    first.kill().unwrap();
    hand.wait_for_line(|line| line.contains("waiting to join: epic shop waits for a coordinator"), SOON)
        .unwrap();
    only_the_epic_waits(&mut fleet, &first);
    stage.open("gate");
    let mut second = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", second.stderr());
    assert_eq!(stage.lines("ended").len(), 2);
    assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    nothing_is_left(&mut fleet, &hand);
}

#[test]
fn the_task_of_an_agent_that_joined_and_died_goes_to_another_once_its_lease_is_over() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let stage = Stage::new(&plan(&["a"]));
    let mut coordinator = stage.coordinator(&fleet);
    let mut dies = join(&fleet, &stage, "shop.dies", &gated());
    stage.wait_for_lines("begun", 1);
    dies.kill().unwrap();
    stage.open("gate");
    let mut heir = join(&fleet, &stage, "shop.heir", &gated());
    let (code, summary) = finish(&mut coordinator);
    let done = &summary["sprints"][0]["tasks"][0];
    assert_eq!((code, &done["agentId"], &done["crashes"]), (Some(0), &"shop.heir".into(), &1.into()));
    assert_eq!(heir.wait(SOON).unwrap().code(), Some(0), "{}", heir.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_that_joined_drains_on_a_signal_and_its_task_waits_for_another() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan(&["a"])));
    let mut coordinator = stage.coordinator(&fleet);
    let mut leaves = join(&fleet, &stage, "shop.leaves", &gated());
    stage.wait_for_lines("begun", 1);
    leaves.signal(Signal::TERM).unwrap();
    assert_eq!(leaves.wait(SPRINT).unwrap().code(), Some(0), "{}", leaves.stderr());
    coordinator
        .wait_for_line(
            |line| line.contains("1 task waits for an agent to join (hands): `agent run --epic shop"),
            SOON,
        )
        .unwrap();
    stage.open("gate");
    let mut heir = join(&fleet, &stage, "shop.heir", &gated());
    let (code, summary) = finish(&mut coordinator);
    let done = &summary["sprints"][0]["tasks"][0];
    assert_eq!((code, &done["attempts"], &done["crashes"]), (Some(0), &1.into(), &0.into()));
    assert_eq!(heir.wait(SOON).unwrap().code(), Some(0), "{}", heir.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn what_cannot_be_joined_is_refused_in_one_line() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan(&["a"])));
    let mut coordinator = stage.coordinator(&fleet);
    coordinator.wait_for_line(|line| line.contains("api: started"), SOON).unwrap();
    for (args, words) in [
        (&["--sprint", "web", "--pool", "hands"][..], "epic shop has no sprint shop.web: it has api"),
        (&["--sprint", "api", "--pool", "feet"], "has no agents \"feet\" to join: it has hands"),
        (&["--sprint", "api", "--pool", "hands", "--id", "other.a"], "begins with shop."),
        (&["--sprint", "api", "--pool", "hands", "--id", "shop.coordinator"], "the epic's own coordinator"),
    ] {
        let command = fleet.role("agent").args(["run", "--epic", "shop"]).args(args.iter().copied());
        let mut refused = command.args(["--", "true"]).spawn().unwrap();
        assert_eq!(refused.wait(SOON).unwrap().code(), Some(2), "{}", refused.stderr());
        assert!(refused.stderr().contains(words), "{}", refused.stderr());
    }
    let mut cancel = fleet.role("lifecyclectl").args(["epic", "cancel", "shop"]).spawn().unwrap();
    assert_eq!(cancel.wait(SOON).unwrap().code(), Some(0));
    finish(&mut coordinator);
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_that_joined_waits_while_its_epic_is_paused() {
    let fleet = Fleet::new().set("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "300ms");
    let mut fleet = fleet.set("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "300ms");
    let stage = Stage::new(&plan(&["a"]));
    let mut first = stage.coordinator(&fleet);
    let mut hand = join(&fleet, &stage, "shop.hand", &gated());
    stage.wait_for_lines("begun", 1);
    first.signal(Signal::TERM).unwrap();
    finish(&mut first);
    hand.wait_for_line(|line| line.contains("waiting to join: epic shop waits for a coordinator"), SOON)
        .unwrap();
    stage.open("gate");
    let mut second = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &1.into()), "{}", second.stderr());
    assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    nothing_is_left(&mut fleet, &second);
}

/// After an outage every lease is over. Sweepers hold then; nor does a coordinator take such silence for death.
#[test]
fn an_agent_that_joined_is_not_taken_for_dead_because_its_lease_ran_out_for_a_moment() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(10));
    let stage = Stage::new(&plan(&["a"]));
    let mut coordinator = stage.coordinator(&fleet);
    let mut hand = join(&fleet, &stage, "shop.hand", &gated());
    stage.wait_for_lines("begun", 1);
    let life = fleet.incarnation("shop.hand");
    for _ in 0..2 {
        fleet.redis(&["ZADD", "agents:leases", "1", "shop.hand"]);
        fleet.wait_until("it to beat", |client| {
            client.text(&["ZSCORE", "agents:leases", "shop.hand"]).unwrap().is_none_or(|end| end != "1")
        });
    }
    assert_eq!(fleet.incarnation("shop.hand"), life, "{}", coordinator.stderr());
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["sprints"][0]["tasks"][0]["crashes"]), (Some(0), &0.into()));
    assert_eq!(stage.lines("begun").len(), 1);
    assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    nothing_is_left(&mut fleet, &hand);
}

#[test]
fn an_agent_that_waits_to_join_leaves_when_its_epic_is_cancelled() {
    let mut fleet =
        Fleet::with_lease(Duration::from_secs(2)).set("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "300ms");
    let stage = Stage::new(&plan(&["a"]));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    let mut hand = join(&fleet, &stage, "shop.hand", &gated());
    stage.wait_for_lines("begun", 1);
    coordinator.kill().unwrap();
    hand.wait_for_line(|line| line.contains("waiting to join: epic shop waits for a coordinator"), SOON)
        .unwrap();
    let mut cancel = fleet.role("lifecyclectl").args(["epic", "cancel", "shop"]).spawn().unwrap();
    assert_eq!(cancel.wait(SOON).unwrap().code(), Some(0));
    assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    assert!(!hand.stderr().contains("a beat failed"), "{}", hand.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_epic_that_is_cancelled_has_the_agents_that_joined_end_their_work() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan(&["a"])));
    let mut coordinator = stage.coordinator(&fleet);
    let mut hand = join(&fleet, &stage, "shop.hand", &gated());
    stage.wait_for_lines("begun", 1);
    let mut cancel = fleet.role("lifecyclectl").args(["epic", "cancel", "shop"]).spawn().unwrap();
    assert_eq!(cancel.wait(SOON).unwrap().code(), Some(0));
    assert_eq!(finish(&mut coordinator).0, Some(1), "{}", coordinator.stderr());
    assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    assert_eq!(stage.lines("ended").len(), 0);
    nothing_is_left(&mut fleet, &hand);
}

#[test]
fn agents_that_joined_go_on_when_a_task_comes_while_they_are_told_to_leave() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan(&["a"])));
    let mut coordinator = stage.coordinator(&fleet);
    let mut one = join(&fleet, &stage, "shop.one", &gated());
    stage.wait_for_lines("begun", 1);
    let mut two = join(&fleet, &stage, "shop.two", &gated());
    coordinator.wait_for_line(|line| line.contains("shop.two has joined"), SOON).unwrap();
    // It does not leave while it is stopped, so the end of the sprint is under way for long.
    two.signal(Signal::STOP).unwrap();
    stage.open("gate");
    coordinator.wait_for_line(|line| line.contains("shop.two is told to leave"), SOON).unwrap();
    let add = ["task", "add", "shop/api", "--id", "late", "--input", "x"];
    assert_eq!(fleet.role("lifecyclectl").args(add).spawn().unwrap().wait(SOON).unwrap().code(), Some(0));
    two.signal(Signal::CONT).unwrap();
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    for hand in [&mut one, &mut two] {
        assert_eq!(hand.wait(SOON).unwrap().code(), Some(0), "{}", hand.stderr());
    }
    nothing_is_left(&mut fleet, &coordinator);
}
