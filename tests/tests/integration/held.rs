//! The layers around a command: what they stand, and what is said of them.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{Role, descendants, eventually, role_binary};
use rustix::process::Signal;

use crate::containment::{Grove, is_alive, signal, state, supervisors};
use crate::fleet::{Fleet, SOON};

/// The modes in which something holds the command beside its supervisor.
const HELD: [&str; 4] = ["auto", "namespace", "cgroup", "guard"];

fn fleet(mode: &str) -> Fleet {
    let fleet = Fleet::with_lease(Duration::from_secs(2)).set("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "300ms");
    fleet.set("LIFECYCLE_CONTAINMENT__MODE", mode)
}

/// Whether this host has what the mode asks for. Whoever runs the tests may not be allowed all of it.
fn is_here(fleet: &Fleet, mode: &str) -> bool {
    let mut probe = fleet.agent("probe", "true").spawn().unwrap();
    let code = probe.wait(SOON).unwrap().code();
    assert!(code == Some(0) || ["namespace", "cgroup"].contains(&mode), "{mode}: {}", probe.stderr());
    code == Some(0)
}

/// Processes of the trees of this folder. Their pids in their own namespace say nothing here.
fn of(grove: &Grove) -> Vec<u32> {
    let folder = grove.text();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_of_tree = line.contains("stay.sh") || line.contains("store.sock");
        is_alive(*pid) && is_of_tree && line.contains(&folder) && !line.contains("tree.sh")
    };
    pids.filter(is_one).collect()
}

fn guards_of(supervisor: u32) -> Vec<u32> {
    let is_guard =
        |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"agent\0hold");
    descendants(supervisor).into_iter().filter(is_guard).collect()
}

fn gone(grove: &Grove, what: &str) {
    eventually(SOON, what, || Ok(of(grove).is_empty().then_some(()))).unwrap_or_else(|error| {
        let lines = of(grove).into_iter().map(|pid| {
            (
                pid,
                String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
                    .into_owned(),
            )
        });
        panic!("{error}: {:?}", lines.collect::<Vec<_>>());
    });
}

/// A supervisor of a tree of seven, of which all have come up.
fn with_tree(fleet: &Fleet, grove: &Grove) -> Role {
    let agent = fleet.agent("solo", &grove.tree()).spawn().unwrap();
    grove.wait_for_tree();
    agent
}

/// Folders of cgroups that this supervisor made.
fn cgroups_of(supervisor: u32) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let Some(mount) = mount.and_then(|line| line.split(' ').nth(4)) else { return 0 };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let folders = fs::read_dir(Path::new(mount).join(own)).into_iter().flatten().flatten();
    let prefix = format!("lifecycle-{supervisor}-");
    folders.filter(|folder| folder.file_name().to_string_lossy().starts_with(&prefix)).count()
}

#[test]
fn a_bare_supervisor_that_is_killed_leaves_no_process_no_cgroup_and_no_ledger() {
    for mode in HELD {
        let (fleet, grove) = (fleet(mode), Grove::new());
        if !is_here(&fleet, mode) {
            continue;
        }
        let agent = with_tree(&fleet, &grove);
        // One that starts another is two for a moment.
        assert!(of(&grove).len() >= 7, "{mode}");
        signal(agent.pid(), Signal::KILL);
        gone(&grove, &format!("the end of the tree in mode {mode}"));
        eventually(SOON, "the guard to go, with what it kept", || {
            let ledgers = fs::read_dir(fleet.runtime().join("lifecycle/lives")).into_iter().flatten().count();
            Ok((ledgers == 0 && cgroups_of(agent.pid()) == 0).then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn supervisor_and_coordinator_that_are_killed_together_leave_nothing() {
    for mode in HELD {
        let (fleet, grove) = (fleet(mode), Grove::new());
        if !is_here(&fleet, mode) {
            continue;
        }
        grove.plan(1, &grove.tree());
        let coordinator = grove.coordinator(&fleet);
        grove.wait_for_tree();
        let supervisor = supervisors(&coordinator)[0];
        signal(coordinator.pid(), Signal::KILL);
        signal(supervisor, Signal::KILL);
        gone(&grove, &format!("the end of the tree in mode {mode}"));
    }
}

#[test]
fn a_namespace_ends_with_its_guard_and_whoever_else_is_killed() {
    let (fleet, grove) = (fleet("namespace"), Grove::new());
    if !is_here(&fleet, "namespace") {
        return;
    }
    let agent = with_tree(&fleet, &grove);
    let guards = guards_of(agent.pid());
    assert_eq!(guards.len(), 2, "the guard, and the first process of the namespace");
    signal(agent.pid(), Signal::KILL);
    guards.into_iter().filter(|guard| is_alive(*guard)).for_each(|guard| signal(guard, Signal::KILL));
    gone(&grove, "the end of the namespace");
}

/// All that could end the tree in mode `guard` are killed; what they leave is there until somebody comes.
fn left_behind(fleet: &Fleet, grove: &Grove) -> Role {
    let agent = with_tree(fleet, grove);
    // Processes that clear their environment are known by the ledger alone, which is written from time to time.
    eventually(SOON, "the ledger to know all seven", || {
        let lives = fs::read_dir(fleet.runtime().join("lifecycle/lives"))?.flatten();
        let texts: Vec<String> = lives.filter_map(|ledger| fs::read_to_string(ledger.path()).ok()).collect();
        let known = texts.iter().map(|text| text.matches("\"start\"").count()).max().unwrap_or(0);
        // Supervisor and guard are in it, too.
        Ok((known >= 9).then_some(()))
    })
    .unwrap();
    let guards = guards_of(agent.pid());
    assert_eq!(guards.len(), 1);
    // A supervisor that stands still does not notice that its guard is gone.
    signal(agent.pid(), Signal::STOP);
    eventually(SOON, "it to stand still", || Ok((state(agent.pid()) == Some('T')).then_some(()))).unwrap();
    guards.iter().for_each(|guard| signal(*guard, Signal::KILL));
    signal(agent.pid(), Signal::KILL);
    assert!(of(grove).len() >= 7, "nobody is there who could end them");
    agent
}

#[test]
fn whoever_starts_next_on_the_host_ends_what_all_that_were_killed_have_left() {
    let (mut fleet, grove) = (fleet("guard"), Grove::new());
    let _killed = left_behind(&fleet, &grove);
    let _next = fleet.agent("next", "sleep 600").spawn().unwrap();
    gone(&grove, "the next start to end what was left");
    fleet.wait_until("the audit to say so", |client| {
        let log = client.entries("agents:log").unwrap();
        log.iter().any(|entry| {
            entry["type"] == "acknowledge" && entry["agentId"] == "solo" && entry["by"] == "next"
        })
    });
}

#[test]
fn the_daemon_of_a_host_ends_what_is_left_tells_the_fleet_and_leaves_cleanly() {
    let (mut fleet, grove) = (fleet("guard"), Grove::new());
    let mut host = fleet.role("agent").args(["host"]).spawn().unwrap();
    host.wait_for_line(|line| line.contains("looking after"), SOON).unwrap();
    let _killed = left_behind(&fleet, &grove);
    gone(&grove, "the daemon to end what was left");
    fleet.wait_until("the agent's end to be known", |client| {
        client.text(&["HGET", "agent:state:solo", "ended"]).unwrap().as_deref() == Some("process_exited")
    });
    host.signal(Signal::TERM).unwrap();
    assert_eq!(host.wait(SOON).unwrap().code(), Some(0), "{}", host.stderr());
    assert!(!fleet.residue().iter().any(|key| key.contains("host.")), "{:?}", fleet.residue());
}

#[test]
fn a_guard_that_was_stopped_runs_again_for_its_commands_end_and_when_its_supervisor_is_killed() {
    for mode in ["guard", "namespace"] {
        let (fleet, grove) = (fleet(mode), Grove::new());
        if !is_here(&fleet, mode) {
            continue;
        }
        let mut agent = fleet.agent("solo", "until [ -e gate ]; do sleep 0.02; done; exit 3");
        agent = agent.in_folder(grove.path());
        let mut agent = agent.spawn().unwrap();
        let guards = || eventually(SOON, "the guard", || {
            let guards = guards_of(agent.pid());
            Ok((!guards.is_empty()).then_some(guards))
        });
        guards().unwrap().into_iter().for_each(|guard| signal(guard, Signal::STOP));
        fs::write(grove.path().join("gate"), "").unwrap();
        assert_eq!(agent.wait(SOON).unwrap().code(), Some(3), "{mode}: {}", agent.stderr());

        let (fleet, grove) = (self::fleet(mode), Grove::new());
        let agent = with_tree(&fleet, &grove);
        guards_of(agent.pid()).into_iter().for_each(|guard| signal(guard, Signal::STOP));
        signal(agent.pid(), Signal::KILL);
        gone(&grove, "the end of the tree");
    }
}

#[test]
fn a_task_whose_guard_is_killed_costs_a_crash_and_a_fresh_agent_takes_it() {
    let (mut fleet, grove) = (fleet("guard"), Grove::new());
    grove.plan(1, &format!("[ -e begun ] && exit 0; touch begun; {}", grove.stay("first")));
    let _sweeper = fleet.sweeper();
    let coordinator = fleet.role("coordinator").args(["run", "plan.toml", "--output", "json"]);
    let mut coordinator = coordinator.in_folder(grove.path()).spawn().unwrap();
    grove.wait_for("first");
    let guards = guards_of(supervisors(&coordinator)[0]);
    assert_eq!(guards.len(), 1);
    signal(guards[0], Signal::KILL);
    assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(0), "{}", coordinator.stderr());
    let summary: serde_json::Value = serde_json::from_str(&coordinator.stdout()).unwrap();
    let task = &summary["sprints"][0]["tasks"][0];
    assert_eq!((&task["state"], &task["crashes"]), (&"completed".into(), &1.into()), "{task}");
    gone(&grove, "the first run to end");
}

#[test]
fn the_record_says_what_holds_the_command() {
    for (mode, held) in [("guard", "guard"), ("none", "none")] {
        let mut fleet = fleet(mode);
        let _agent = fleet.agent("solo", "sleep 600").spawn().unwrap();
        fleet.wait_for_beat("solo");
        let layers = fleet.client.text(&["HGET", "agent:state:solo", "containment"]).unwrap();
        assert_eq!(layers.as_deref(), Some(held));
        let mut inspect = fleet.role("lifecyclectl").args(["inspect", "solo"]).spawn().unwrap();
        inspect.wait(SOON).unwrap();
        assert!(inspect.stdout().contains(&format!("held by       {held}")), "{}", inspect.stdout());
    }
}

/// `agent`, by a user who may make no cgroup.
fn without_rights(fleet: &Fleet) -> Option<RoleCommand> {
    let setpriv = lifecycle_tests::program::on_path("setpriv")?;
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    rustix::process::geteuid()
        .is_root()
        .then(|| fleet.program("agent", &setpriv).args(user).arg(role_binary("agent").unwrap()))
}

#[test]
fn a_layer_that_is_asked_for_and_not_there_is_refused_in_one_line_and_nothing_is_started() {
    let (mut fleet, grove) = (fleet("cgroup"), Grove::new());
    let Some(agent) = without_rights(&fleet) else { return };
    let mut agent =
        agent.args(["run", "--id", "solo", "--", "touch", "begun"]).in_folder(grove.path()).spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(1));
    assert!(
        agent.stderr().contains("containment.mode is cgroup, and this host does not allow it"),
        "{}",
        agent.stderr()
    );
    assert_eq!((agent.stderr().lines().count(), grove.path().join("begun").exists()), (1, false));
    assert!(fleet.residue().is_empty(), "{:?}", fleet.residue());
    let mut rubbish = fleet.agent("solo", "true").env("LIFECYCLE_CONTAINMENT__MODE", "cage").spawn().unwrap();
    assert_eq!(rubbish.wait(SOON).unwrap().code(), Some(2));
    assert!(rubbish.stderr().contains("containment.mode"), "{}", rubbish.stderr());
}

#[test]
fn a_guard_that_nobody_speaks_to_is_refused() {
    let mut hold = Role::command("agent").unwrap().args(["hold"]).spawn().unwrap();
    assert_eq!(hold.wait(SOON).unwrap().code(), Some(2));
    assert!(hold.stderr().contains("is started by `agent run`"), "{}", hold.stderr());
}

#[test]
fn on_a_host_that_is_short_of_memory_no_agent_is_started_and_that_is_said() {
    let (fleet, grove) = (fleet("guard").set("LIFECYCLE_HOST__MEMORY_RESERVE", "1000TiB"), Grove::new());
    grove.plan(1, "touch begun");
    let mut coordinator = grove.coordinator(&fleet);
    let said = coordinator.wait_for_line(|line| line.contains("short of memory"), SOON).unwrap();
    assert!(said.contains("host.memory_reserve is"), "{said}");
    coordinator.signal(Signal::TERM).unwrap();
    coordinator.wait(SOON).unwrap();
    assert!(!grove.path().join("begun").exists());
}
