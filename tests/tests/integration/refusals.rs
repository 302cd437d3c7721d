//! What the store refuses: waited for where it passes, said at once where a person has to act. And stores of a kind that is
//! not supported.
#![cfg(target_os = "linux")]

use std::fs;

use lifecycle_tests::server::ServerOptions;
use lifecycle_tests::{PlainClient, Role, Server, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::fleet::{Fleet, SOON};

impl Fleet {
    /// From here on the store refuses whatever takes memory.
    fn fills_up(&mut self) {
        self.redis(&["SETRANGE", "ballast", "16777216", "x"]);
        self.redis(&["CONFIG", "SET", "maxmemory", "1000000"]);
    }

    fn has_room_again(&mut self) {
        self.redis(&["CONFIG", "SET", "maxmemory", "0"]);
        self.redis(&["DEL", "ballast"]);
    }
}

#[test]
fn an_agent_waits_for_a_full_store_and_says_what_for() {
    let mut fleet = Fleet::new();
    fleet.fills_up();
    let mut agent = fleet.agent("coder-1", "echo worked").spawn().unwrap();
    let said = agent.wait_for_line(|line| line.contains("not registered yet"), SOON).unwrap();
    assert!(said.contains("the store is full: raise maxmemory") && said.contains("up to 10s"), "{said}");
    assert_eq!(agent.stdout(), "", "nothing runs before it is registered");
    fleet.has_room_again();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
    assert_eq!(agent.stdout(), "worked");
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn an_agent_gives_a_store_that_stays_full_up_with_69() {
    let mut fleet = Fleet::new().set("LIFECYCLE_REDIS__START_TIMEOUT", "300ms");
    fleet.fills_up();
    let mut agent = fleet.agent("coder-1", "echo worked").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(69), "{}", agent.stderr());
    assert_eq!(agent.stdout(), "");
    assert!(agent.stderr().lines().last().unwrap().starts_with("error: the store refused: OOM"));
    fleet.has_room_again();
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn a_plan_survives_a_store_that_is_full_while_an_agent_dies() {
    let mut fleet = Fleet::new().set("LIFECYCLE_REDIS__START_TIMEOUT", "200ms");
    let folder = tempfile::tempdir().unwrap();
    let plan = "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\n\
                command = [\"sh\", \"-c\", \"echo begun >> begun; until [ -e go ]; do sleep 0.02; done\"]\n\
                [[sprint.task]]\nid = \"login\"\nattempts = 5\n";
    fs::write(folder.path().join("plan.toml"), plan).unwrap();
    let command = fleet.role("coordinator").args(["run", "plan.toml"]).in_folder(folder.path());
    let mut coordinator = command.spawn().unwrap();
    eventually(SOON, "the task to begin", || Ok(folder.path().join("begun").exists().then_some(()))).unwrap();

    fleet.fills_up();
    let agents = fleet.client.texts(&["SMEMBERS", "agents:active"]).unwrap();
    let coder = agents.iter().find(|id| id.ends_with("coder")).unwrap();
    let pid = fleet.client.text(&["HGET", &format!("agent:state:{coder}"), "pid"]).unwrap().unwrap();
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    // More often than an agent that crashes is started again.
    eventually(SOON, "the agent to be started again and again", || {
        let found_none = coordinator.stderr().matches("found no store").count()
            + coordinator.stdout().matches("found no store").count();
        Ok((found_none >= 4).then_some(()))
    })
    .unwrap();
    fleet.has_room_again();
    fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(0), "{}", coordinator.stderr());
}

#[test]
fn a_right_that_is_missing_is_said_at_once_and_is_no_outage() {
    let mut fleet = Fleet::new();
    fleet.redis(&["ACL", "SETUSER", "weak", "on", ">pass", "~*", "&*", "+@all", "-zadd"]);
    let url = fleet.server.url().replace("redis://", "redis://weak:pass@");
    let mut agent = fleet
        .role("agent")
        .args(["run", "--id", "coder-1", "--redis-url", &url, "--", "true"])
        .spawn()
        .unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(1));
    let said = agent.stderr();
    assert!(said.contains("ACL SETUSER") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_wrong_password_is_a_failure_that_is_said_at_once_and_no_outage() {
    let mut fleet = Fleet::new();
    fleet.redis(&["CONFIG", "SET", "requirepass", "right"]);
    for (name, args) in [("lifecyclectl", &["ps"][..]), ("agent", &["run", "--id", "a", "--", "true"][..])] {
        for password in ["wrong", ""] {
            let command = fleet.role(name).args(args.iter().copied());
            let mut role = command.env("LIFECYCLE_REDIS__PASSWORD", password).spawn().unwrap();
            assert_eq!(role.wait(SOON).unwrap().code(), Some(1), "{name}: {}", role.stderr());
            let said = role.stderr();
            assert!(said.contains("set redis.password") && said.lines().count() == 1, "{said}");
        }
    }
}

/// Commands that only read, and would take what they find for all there is.
const READING: [&[&str]; 6] = [
    &["lifecyclectl", "ps"],
    &["lifecyclectl", "verify"],
    &["lifecyclectl", "doctor"],
    &["lifecyclectl", "events"],
    &["lifecyclectl", "memory"],
    &["sweeper", "sweep", "--dry-run"],
];

fn every_command_refuses(fleet: &Fleet, words: &str) {
    let writing: [&[&str]; 2] = [&["agent", "run", "--id", "a", "--", "true"], &["sweeper", "sweep"]];
    for line in READING.into_iter().chain(writing) {
        let mut role = fleet.role(line[0]).args(line[1..].iter().copied()).spawn().unwrap();
        assert_eq!(
            role.wait(SOON).unwrap().code(),
            Some(69),
            "{line:?}: {} {}",
            role.stdout(),
            role.stderr()
        );
        assert!(
            role.stderr().contains(words) && role.stderr().lines().count() == 1,
            "{line:?}: {}",
            role.stderr()
        );
        assert_eq!(role.stdout(), "", "{line:?}");
    }
}

#[test]
fn a_replica_is_told_from_an_empty_store_and_serves_once_it_is_promoted() {
    let primary = Server::start().unwrap();
    let mut fleet = Fleet::new();
    let port = primary.port().to_string();
    fleet.redis(&["REPLICAOF", "127.0.0.1", &port]);
    every_command_refuses(&fleet, "is a replica (of 127.0.0.1:");
    let mut sweeper = fleet.role("sweeper").arg("run").spawn().unwrap();
    sweeper
        .wait_for_line(|line| line.contains("no pass could be made") && line.contains("a replica"), SOON)
        .unwrap();

    fleet.redis(&["REPLICAOF", "NO", "ONE"]);
    sweeper.wait_for_line(|line| line.contains("the store answers again"), SOON).unwrap();
    assert!(sweeper.is_running().unwrap());
    let mut agent = fleet.agent("coder-1", "exit 0").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
}

#[test]
fn a_clusters_node_is_told_from_a_clean_store() {
    let options =
        ServerOptions { args: vec!["--cluster-enabled".into(), "yes".into()], ..ServerOptions::default() };
    let server = Server::start_with(options).unwrap();
    let mut client: PlainClient = server.client().unwrap();
    client.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    eventually(SOON, "the cluster to serve", || {
        let info = client.text(&["CLUSTER", "INFO"])?.unwrap_or_default();
        Ok(info.contains("cluster_state:ok").then_some(()))
    })
    .unwrap();
    let fleet = Fleet::new().set("LIFECYCLE_REDIS__URL", &server.url());
    every_command_refuses(&fleet, "is a node of a Redis Cluster");
    let sweeper = fleet.role("sweeper").arg("run").spawn().unwrap();
    sweeper
        .wait_for_line(|line| line.contains("no pass could be made") && line.contains("Redis Cluster"), SOON)
        .unwrap();
}

#[test]
fn whoever_waits_for_a_missing_store_says_so_after_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let plan = "[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"a\"\ncommand = [\"true\"]\n\
                [[sprint.task]]\nid = \"t\"\n";
    fs::write(folder.path().join("plan.toml"), plan).unwrap();
    let commands: [&[&str]; 4] = [
        &["lifecyclectl", "ps"],
        &["agent", "run", "--id", "a", "--", "true"],
        &["coordinator", "run", "plan.toml"],
        &["sweeper", "sweep"],
    ];
    for line in commands {
        let role = Role::command(line[0]).unwrap().args(line[1..].iter().copied());
        let role =
            role.env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1").in_folder(folder.path()).spawn().unwrap();
        let said = role.wait_for_line(|line| line.contains("waiting for it"), SOON).unwrap();
        assert!(
            said.contains("no store answers at redis://127.0.0.1:1 yet") && said.contains("up to 10s"),
            "{said}"
        );
        assert_eq!(role.stderr().lines().count(), 1, "{}", role.stderr());
    }
}
