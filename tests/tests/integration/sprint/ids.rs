//! Whose id is it? Agents and sprints of a plan are scoped by their epic, and nobody is ended for his name.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{SPRINT, Stage, finish, hang_once, kill, nothing_is_left, sprint, task, until};
use crate::fleet::{Fleet, SOON};

#[test]
fn two_epics_with_the_same_names_run_side_by_side() {
    let fleet = Fleet::new();
    let script = format!("echo $LIFECYCLE_AGENT_ID >> ids; {}", until("gate"));
    let plan = sprint("api", &[], 1, &script, &[("t", "")]);
    let stages = ["shop", "blog"].map(|epic| Stage::of_epic(epic, &plan));
    let mut coordinators = stages.each_ref().map(|stage| stage.coordinator(&fleet));
    for (stage, epic) in stages.iter().zip(["shop", "blog"]) {
        assert_eq!(stage.wait_for_lines("ids", 1), [format!("{epic}.api-coder")]);
    }
    stages.iter().for_each(|stage| stage.open("gate"));
    for coordinator in &mut coordinators {
        let (code, summary) = finish(coordinator);
        assert_eq!((code, &summary["agentRestarts"]), (Some(0), &0.into()), "{}", coordinator.stderr());
    }
}

#[test]
fn a_living_agent_that_has_an_id_of_the_plan_is_left_alone_and_said_once() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let _sweeper = fleet.sweeper();
    let stage =
        Stage::new(&sprint("api", &[], 1, "echo $LIFECYCLE_AGENT_ID >> ids", &[("t", "attempts = 1")]));
    let wait = until(stage.path("gate").to_str().unwrap());
    let mut holder = fleet.agent("shop.api-coder", &wait).spawn().unwrap();
    fleet.wait_for_beat("shop.api-coder");
    let mut coordinator = stage.coordinator(&fleet);
    let held = format!("shop.api-coder is held by pid {}", holder.pid());
    coordinator.wait_for_line(|line| line.contains(&held), SOON).unwrap();
    // Longer than the coordinator ever waited before it took what it found, in beats of the holder.
    let before = fleet.client.text(&["ZSCORE", "agents:leases", "shop.api-coder"]).unwrap().unwrap();
    let before: f64 = before.parse().unwrap();
    fleet.wait_until("the holder to go on beating for three leases", |client| {
        let lease = client.text(&["ZSCORE", "agents:leases", "shop.api-coder"]).unwrap();
        lease.is_some_and(|lease| lease.parse::<f64>().unwrap() > before + 6_000.0)
    });
    stage.open("gate");
    assert_eq!(holder.wait(SOON).unwrap().code(), Some(0), "{}", holder.stderr());
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["agentRestarts"]), (Some(0), &0.into()), "{}", coordinator.stderr());
    assert_eq!(task(&summary, "t")["crashes"], 0);
    assert_eq!(coordinator.stderr().matches("is held").count(), 1, "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_that_is_taken_over_by_name_is_no_crash_and_comes_back_when_the_id_is_free() {
    let mut fleet = Fleet::new();
    let _sweeper = fleet.sweeper();
    let stage = Stage::new(&sprint("api", &[], 1, &hang_once(), &[("t", "attempts = 1")]));
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    let wait = until(stage.path("gate").to_str().unwrap());
    let takeover =
        fleet.role("agent").args(["run", "--id", "shop.api-coder", "--takeover", "--", "sh", "-c", &wait]);
    let mut other = takeover.spawn().unwrap();
    coordinator.wait_for_line(|line| line.contains("shop.api-coder is held by pid"), SOON).unwrap();
    stage.open("gate");
    assert_eq!(other.wait(SOON).unwrap().code(), Some(0), "{}", other.stderr());
    let (code, summary) = finish(&mut coordinator);
    let done = task(&summary, "t");
    assert_eq!(
        (code, &done["attempts"], &done["crashes"], &summary["agentRestarts"]),
        (Some(0), &1.into(), &0.into(), &0.into()),
        "{}",
        coordinator.stderr()
    );
}

#[test]
fn after_a_crash_of_the_whole_host_the_next_coordinator_takes_its_own_dead_agents_ids_over() {
    // A lease that nobody could wait for.
    let mut fleet = Fleet::new();
    let stage = Stage::new(&sprint("api", &[], 3, &hang_once(), &[("a", ""), ("b", ""), ("c", "")]));
    let mut first = stage.coordinator(&fleet);
    let holders = stage.wait_for_lines("begun", 3);
    kill_process(Pid::from_raw(first.pid().try_into().unwrap()).unwrap(), Signal::STOP).unwrap();
    holders.iter().for_each(|agent| kill(&mut fleet, agent));
    first.kill().unwrap();
    fleet.redis(&["DEL", "sweep:watermark"]);
    assert!(fleet.client.exists("agent:state:shop.api-coder-1").unwrap(), "nobody has cleaned up");
    fs::write(stage.path("begun"), "").unwrap();
    let mut second = stage.coordinator(&fleet);
    assert_eq!(second.wait(SPRINT).unwrap().code(), Some(0), "{}", second.stderr());
    nothing_is_left(&mut fleet, &second);
    nothing_is_left(&mut fleet, &first);
}
