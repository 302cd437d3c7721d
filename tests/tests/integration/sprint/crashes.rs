//! Agents that die in the middle of a task: who cleans up after them, who runs it again, and when it is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::{Stage, finish, hang_once, kill, nothing_is_left, pid_of, sprint, task, until};
use crate::fleet::{Fleet, SOON};

#[test]
fn the_task_of_an_agent_that_is_killed_runs_again_elsewhere_and_completes_once() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 2, &hang_once(), &[("t", "")])));
    let _sweeper = fleet.sweeper();
    let mut listener = fleet.server.client().unwrap().subscribe(&["agent:lifecycle"]).unwrap();
    let mut coordinator = stage.coordinator(&fleet);
    let first = stage.wait_for_lines("begun", 1).remove(0);
    kill(&mut fleet, &first);
    let (code, summary) = finish(&mut coordinator);
    let done = task(&summary, "t");
    assert_eq!((code, &done["state"]), (Some(0), &"completed".into()));
    assert_eq!((&done["attempts"], &done["crashes"]), (&1.into(), &1.into()), "a crash is no attempt");
    let begun = stage.lines("begun");
    assert_eq!(begun.len(), 2, "{begun:?}");
    assert_ne!(begun[1], first, "the other agent was idle");
    let mut completions = 0;
    while let Some((_, message)) = listener.next(Duration::from_millis(1)).unwrap() {
        completions += usize::from(message.windows(14).any(|part| part == b"task_completed"));
    }
    assert_eq!(completions, 1);
    nothing_is_left(&mut fleet, &coordinator);
    let is_its_cleanup =
        |entry: &BTreeMap<String, String>| entry["type"] == "cleanup" && entry["agentId"] == first;
    let cleanup = fleet.log().into_iter().find(is_its_cleanup).unwrap();
    assert_eq!(cleanup["reason"], "process_exited", "{cleanup:?}");
}

#[test]
fn a_task_begins_again_only_once_what_its_killed_agent_left_running_has_ended() {
    let stubborn = format!("trap '' TERM HUP; echo $$ > pid; echo up >> begun; {}", until("never"));
    let script = format!(
        "if [ $LIFECYCLE_TASK_ATTEMPT -gt 1 ]; then ! grep -q '^State:.[RSD]' /proc/$(cat pid)/status; else {stubborn}; fi"
    );
    let stage = Stage::new(&sprint("api", &[], 2, &script, &[("t", "attempts = 1")]));
    let mut fleet = Fleet::with_lease(Duration::from_secs(5)).unheld();
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    let holder = ["shop.api-coder-1", "shop.api-coder-2"]
        .into_iter()
        .find(|agent| fleet.client.exists(&format!("agent:task:{agent}:t")).unwrap());
    kill(&mut fleet, holder.unwrap());
    assert_eq!(finish(&mut coordinator).0, Some(0), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn without_a_sweeper_the_coordinator_cleans_up_after_its_agents_and_says_so_at_first() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &hang_once(), &[("t", "")])));
    let mut coordinator = stage.coordinator(&fleet);
    coordinator.wait_for_line(|line| line.starts_with("no sweeper is at work"), SOON).unwrap();
    let first = stage.wait_for_lines("begun", 1).remove(0);
    kill(&mut fleet, &first);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &task(&summary, "t")["crashes"]), (Some(0), &1.into()));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn with_a_sweeper_at_work_the_first_screen_does_not_complain() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, "true", &[("t", "")])));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    finish(&mut coordinator);
    assert!(!coordinator.stderr().contains("no sweeper"), "{}", coordinator.stderr());
    let url = fleet.server.url();
    assert!(coordinator.stderr().contains(&url), "it says where the store is: {}", coordinator.stderr());
}

#[test]
fn a_task_that_takes_its_agent_down_each_time_is_given_up_and_the_sprint_completes_with_exit_1() {
    let script = "test {task} = good || kill -9 $PPID; true";
    let tasks = [("deadly", "attempts = 1\nmax_crashes = 2"), ("good", "")];
    let (mut fleet, stage) = (Fleet::new().unheld(), Stage::new(&sprint("api", &[], 1, script, &tasks)));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    let deadly = task(&summary, "deadly");
    assert_eq!((code, &deadly["state"], &deadly["crashes"]), (Some(1), &"failed".into(), &2.into()));
    let detail = "2 of the agents that ran it crashed (max_crashes = 2), the last one: process_exited";
    assert_eq!((&deadly["attempts"], &deadly["detail"]), (&0.into(), &detail.into()));
    assert_eq!(task(&summary, "good")["state"], "completed");
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_that_dies_as_often_as_it_is_started_is_given_up_and_its_sprint_still_ends() {
    let tasks = [("deadly", "max_crashes = 50"), ("other", "needs = [\"deadly\"]")];
    let (mut fleet, stage) =
        (Fleet::new().unheld(), Stage::new(&sprint("api", &[], 1, "kill -9 $PPID", &tasks)));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["agentRestarts"]), (Some(1), &3.into()), "{}", coordinator.stderr());
    let deadly = task(&summary, "deadly");
    assert_eq!((&deadly["crashes"], &deadly["detail"]), (&4.into(), &"no agent left to run it".into()));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_agent_frozen_past_its_lease_is_ended_and_its_task_runs_again() {
    let stage = Stage::new(&sprint("api", &[], 2, &hang_once(), &[("t", "")]));
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    let first = stage.wait_for_lines("begun", 1).remove(0);
    kill_process(pid_of(&mut fleet, &first).unwrap(), Signal::STOP).unwrap();
    let (code, summary) = finish(&mut coordinator);
    let done = task(&summary, "t");
    assert_eq!(
        (code, &done["state"], &done["crashes"]),
        (Some(0), &"completed".into(), &1.into()),
        "{}",
        coordinator.stderr()
    );
    nothing_is_left(&mut fleet, &coordinator);
}
