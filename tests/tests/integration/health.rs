//! `sweeper ready` and `coordinator alive`: what a health check asks, answered by the one who is asked about.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{eventually, http};

use crate::fleet::{Fleet, SOON};

/// Exit code, and what was said on either stream.
fn answer(question: RoleCommand) -> (Option<i32>, String) {
    let mut asked = question.spawn().unwrap();
    let code = asked.wait(SOON).unwrap().code();
    (code, asked.stdout() + &asked.stderr())
}

fn wait_for_yes(what: &str, question: impl Fn() -> RoleCommand) {
    eventually(SOON, what, || Ok((answer(question()).0 == Some(0)).then_some(()))).unwrap();
}

#[test]
fn a_sweeper_is_ready_while_its_store_answers_and_says_why_when_it_does_not() {
    let fleet = Fleet::new();
    let mut sweeper = fleet.role("sweeper").arg("run").spawn().unwrap();
    let address = http::address(&sweeper, SOON).unwrap();
    let ready = || fleet.role("sweeper").args(["ready", "--listen", &address]);
    wait_for_yes("the sweeper to be ready", ready);
    assert_eq!(answer(ready()).1, "ok");

    fleet.server.pause().unwrap();
    eventually(SOON, "the sweeper to notice", || {
        let (code, said) = answer(ready());
        Ok((code == Some(1) && said.contains("does not answer") && said.lines().count() == 1).then_some(()))
    })
    .unwrap();
    fleet.server.resume().unwrap();
    wait_for_yes("the sweeper to be ready again", ready);

    sweeper.kill().unwrap();
    let (code, said) = answer(ready());
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("no sweeper answers at") && said.contains("http.listen"), "{said}");
}

#[test]
fn somebody_else_on_the_sweepers_port_is_not_taken_for_one_nor_waited_for() {
    let fleet = Fleet::new();
    // It takes connections and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, said) = answer(fleet.role("sweeper").args(["ready", "--listen", &address]));
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    let store = format!("127.0.0.1:{}", fleet.server.port());
    let (code, said) = answer(fleet.role("sweeper").args(["ready", "--listen", &store]));
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
}

#[test]
fn an_epic_is_coordinated_while_its_coordinators_lease_runs() {
    let fleet = Fleet::with_lease(Duration::from_secs(1));
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\n\
                command = [\"sleep\", \"600\"]\n[[sprint.task]]\nid = \"t\"\n";
    fs::write(&plan, text).unwrap();
    let alive = || fleet.role("coordinator").arg("alive").arg(&plan);
    let (code, said) = answer(alive());
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("epic shop is not coordinated"), "{said}");

    let run = fleet.role("coordinator").arg("run").arg(&plan).in_folder(folder.path());
    let mut coordinator = run.spawn().unwrap();
    wait_for_yes("the coordinator to register", alive);

    // Nobody sweeps here: what it left says that it is dead because its lease is over, or because it was seen to end.
    coordinator.kill().unwrap();
    eventually(SOON, "its life to be over", || Ok((answer(alive()).0 == Some(1)).then_some(()))).unwrap();
}
