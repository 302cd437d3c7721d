//! A sprint whose store goes away, forgets, or was never there.

use std::time::Duration;

use super::{Stage, finish, nothing_is_left, sprint, until};
use crate::fleet::{Fleet, SOON};

#[test]
fn after_flushall_all_register_again_under_their_incarnations_and_the_sprint_completes() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let tasks = [("a", ""), ("b", ""), ("c", "needs = [\"a\", \"b\"]")];
    let stage = Stage::new(&sprint("api", &[], 2, &script, &tasks));
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 2);
    let everybody = ["shop.coordinator", "shop.api-coder-1", "shop.api-coder-2"];
    let before: Vec<_> = everybody.iter().map(|id| fleet.incarnation(id)).collect();
    fleet.redis(&["FLUSHALL"]);
    fleet.wait_until("the sprint's records to be back", |client| {
        client.int(&["HLEN", "sprint:tasks:shop.api"]).unwrap() == 3
            && client.int(&["SCARD", "sprint:agents:shop.api"]).unwrap() == 2
            && client.int(&["SCARD", "agent:children:shop.coordinator"]).unwrap() == 2
    });
    let after: Vec<_> = everybody.iter().map(|id| fleet.incarnation(id)).collect();
    assert_eq!(after, before);
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", coordinator.stderr());
    assert_eq!(stage.lines("begun").len(), 3, "no task ran twice");
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_store_that_goes_away_in_the_middle_costs_nothing_but_time() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let stage = Stage::new(&sprint("api", &[], 2, &script, &[("a", ""), ("b", ""), ("c", "")]));
    let mut fleet = Fleet::new().set("LIFECYCLE_REDIS__COMMAND_TIMEOUT", "500ms");
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 2);
    fleet.server.pause().unwrap();
    stage.open("gate");
    coordinator.wait_for_line(|line| line.contains("the agents go on meanwhile"), SOON).unwrap();
    fleet.server.resume().unwrap();
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["agentRestarts"]), (Some(0), &0.into()), "{}", coordinator.stderr());
    assert_eq!(stage.lines("begun").len(), 3);
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn without_a_store_nothing_is_started_and_one_line_says_so_with_exit_69() {
    let stage = Stage::new(&sprint("api", &[], 1, "touch begun", &[("a", "")]));
    let fleet = Fleet::new();
    let mut coordinator = fleet
        .role("coordinator")
        .args(["run", "plan.toml"])
        .env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1")
        .env("LIFECYCLE_REDIS__START_TIMEOUT", "300ms")
        .in_folder(stage.folder.path())
        .spawn()
        .unwrap();
    assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(69));
    let said = coordinator.stderr();
    assert!(said.lines().count() == 1 && said.contains("redis://127.0.0.1:1"), "{said}");
    assert!(!stage.path("begun").exists());
}
