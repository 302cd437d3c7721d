//! No process survives its life, and none that is somebody else's is ended: trees of every kind, supervisors killed.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{Role, descendants, eventually, role_binary, server_program};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

/// Writes its pid down under its name and stays; one that is `stubborn` ignores TERM.
const STAY: &str = "echo $$ > $1/up.$2.tmp; mv $1/up.$2.tmp $1/up.$2
[ $3 = stubborn ] && trap '' TERM HUP INT
while :; do sleep 0.05; done";

/// A command's tree, of every kind that got away before: its folder is $1, the store's program $2.
const TREE: &str = "[ -e $1/begun ] && exit 0
touch $1/begun
stay() { name=$1; shift; \"$@\" /bin/sh $folder/stay.sh $folder $name $how; }
folder=$1; how=mild
stay plain & stay session setsid & (stay daemon setsid &) ; stay cleared env -i &
$2 --daemonize yes --port 0 --unixsocket $1/store.sock --dir $1 --pidfile $1/up.overwrote --save '' > $1/store.log
how=stubborn
stay stubborn & (stay everything env -i setsid &)
wait";

const KINDS: [&str; 7] = ["plain", "session", "daemon", "cleared", "overwrote", "stubborn", "everything"];

/// A folder in which trees are started and write down who they are.
pub(crate) struct Grove {
    folder: TempDir,
}

impl Grove {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("lifecycle-tree-").tempdir().unwrap();
        fs::write(folder.path().join("stay.sh"), STAY).unwrap();
        fs::write(folder.path().join("tree.sh"), TREE).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is written into a plan or a shell's script.
    pub(crate) fn text(&self) -> String {
        self.path().display().to_string()
    }

    /// `command` with `agents` agents, a task each; more crashes than one are not of interest.
    pub(crate) fn plan(&self, agents: usize, command: &str) {
        let mut plan = format!(
            "[epic]\nid = \"grove\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"w\"\ncount = {agents}\n\
             command = [\"sh\", \"-c\", '''{command}''']\n"
        );
        for task in 0..agents {
            plan += &format!("[[sprint.task]]\nid = \"t{task}\"\nattempts = 2\n");
        }
        fs::write(self.path().join("plan.toml"), plan).unwrap();
    }

    pub(crate) fn tree(&self) -> String {
        let store = server_program().unwrap().path;
        format!("sh {folder}/tree.sh {folder} {}", store.display(), folder = self.text())
    }

    pub(crate) fn stay(&self, name: &str) -> String {
        format!("/bin/sh {folder}/stay.sh {folder} {name} mild", folder = self.text())
    }

    pub(crate) fn coordinator(&self, fleet: &Fleet) -> Role {
        fleet.role("coordinator").args(["run", "plan.toml"]).in_folder(self.path()).spawn().unwrap()
    }

    /// The process of this name, once it has come up.
    pub(crate) fn wait_for(&self, name: &str) -> u32 {
        let file = self.path().join(format!("up.{name}"));
        eventually(SOON, &format!("{name} to come up"), || {
            Ok(fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok()))
        })
        .unwrap()
    }

    pub(crate) fn wait_for_tree(&self) -> BTreeMap<&'static str, u32> {
        KINDS.into_iter().map(|kind| (kind, self.wait_for(kind))).collect()
    }
}

/// Many of these cannot be found by the mark of the role that started them: that is what they are for.
impl Drop for Grove {
    fn drop(&mut self) {
        for file in fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let pid = fs::read_to_string(file.path()).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
            let Some(pid) = pid.filter(|_| file.file_name().to_string_lossy().starts_with("up.")) else {
                continue;
            };
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // Its own command names the folder, so the pid is not another's by now.
            if String::from_utf8_lossy(&line).contains(&self.text()) {
                signal(pid, Signal::KILL);
            }
        }
    }
}

/// The letter that the kernel has for what a process does; `None` for one that is not there.
pub(crate) fn state(pid: u32) -> Option<char> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The supervisors that this coordinator started.
pub(crate) fn supervisors(coordinator: &Role) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(10).any(|part| part == b"--lifeline")
    };
    descendants(coordinator.pid()).into_iter().filter(is_one).collect()
}

pub(crate) fn all_gone(what: &str, pids: impl IntoIterator<Item = (&'static str, u32)>) {
    let pids: Vec<_> = pids.into_iter().collect();
    let mut left = Vec::new();
    let gone = eventually(SOON, what, || {
        left = pids.iter().filter(|(_, pid)| is_alive(*pid)).collect();
        Ok(left.is_empty().then_some(()))
    });
    gone.unwrap_or_else(|error| panic!("{error}: {left:?}"));
}

type Entry = BTreeMap<String, String>;

/// The audit's entries of whoever looked after processes, once there are `count`.
fn acknowledged(fleet: &mut Fleet, count: usize) -> Vec<Entry> {
    let mut seen = Vec::new();
    fleet.wait_until("the audit to say what became of the processes", |client| {
        let entries = client.entries("agents:log").unwrap();
        seen = entries.into_iter().filter(|entry| entry["type"] == "acknowledge").collect();
        seen.len() >= count
    });
    seen
}

fn words(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry["process"].as_str()).collect()
}

/// A fleet in which what ignores TERM is killed soon.
fn fleet() -> Fleet {
    let fleet = Fleet::with_lease(Duration::from_secs(2)).set("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "300ms");
    // What supervisor and coordinator do by themselves. The layers around them have their own tests, and `cargo xtask containment`.
    fleet.unheld()
}

/// Kills the supervisor of a tree as `kill` does, and asserts that all of it is ended and that the audit says so.
fn a_killed_supervisor_leaves_nothing(kill: impl FnOnce(&mut Fleet, &mut Role, u32)) {
    let (mut fleet, grove) = (fleet(), Grove::new());
    grove.plan(1, &grove.tree());
    let _sweeper = fleet.sweeper();
    let mut coordinator = grove.coordinator(&fleet);
    let tree = grove.wait_for_tree();
    let supervisor = supervisors(&coordinator)[0];
    kill(&mut fleet, &mut coordinator, supervisor);
    all_gone("the end of the tree", tree);
    let found = acknowledged(&mut fleet, 1);
    assert_eq!(words(&found), ["killed"], "{}", coordinator.stderr());
    assert!(!found[0].contains_key("pids"), "{found:?}");
    coordinator.wait(SOON * 2).unwrap();
}

#[test]
fn a_tree_of_every_kind_ends_with_its_killed_supervisor_and_the_audit_says_killed() {
    a_killed_supervisor_leaves_nothing(|_, _, supervisor| signal(supervisor, Signal::KILL));
}

#[test]
fn a_tree_whose_supervisor_is_killed_after_flushall_is_ended_although_the_store_says_gone() {
    a_killed_supervisor_leaves_nothing(|fleet, _, supervisor| {
        fleet.redis(&["FLUSHALL"]);
        signal(supervisor, Signal::KILL);
    });
}

#[test]
fn a_tree_whose_supervisor_is_killed_while_a_store_without_persistence_restarts_is_ended() {
    a_killed_supervisor_leaves_nothing(|fleet, _, supervisor| {
        fleet.server.kill().unwrap();
        signal(supervisor, Signal::KILL);
        fleet.restart();
    });
}

#[test]
fn a_tree_is_ended_without_waiting_for_a_store_that_is_away() {
    let (mut fleet, grove) = (fleet(), Grove::new());
    grove.plan(1, &grove.tree());
    let coordinator = grove.coordinator(&fleet);
    let tree = grove.wait_for_tree();
    fleet.server.kill().unwrap();
    signal(supervisors(&coordinator)[0], Signal::KILL);
    all_gone("the end of the tree", tree);
}

#[test]
fn a_tree_whose_supervisor_is_killed_while_the_coordinator_stands_still_for_a_lease_is_ended() {
    a_killed_supervisor_leaves_nothing(|fleet, coordinator, supervisor| {
        coordinator.signal(Signal::STOP).unwrap();
        signal(supervisor, Signal::KILL);
        fleet.wait_until("a sweeper to reap both", |client| {
            client.int(&["SCARD", "agents:active"]).unwrap() == 0
        });
        coordinator.signal(Signal::CONT).unwrap();
    });
}

#[test]
fn trees_of_supervisors_that_die_together_are_all_ended_and_none_stays_a_zombie() {
    let (mut fleet, grove) = (fleet(), Grove::new());
    let stay = |how: &str, name: &str| {
        format!(
            "{how} /bin/sh {folder}/stay.sh {folder} {name}.$LIFECYCLE_TASK_ID mild",
            folder = grove.text()
        )
    };
    let first = format!("mkdir {}/$LIFECYCLE_TASK_ID || exit 0", grove.text());
    let leaves = stay("env -i setsid", "cleared");
    grove.plan(6, &format!("{first}; ({leaves} &); {}", stay("", "plain")));
    let _sweeper = fleet.sweeper();
    let coordinator = grove.coordinator(&fleet);
    let names = (0..6).flat_map(|task| [format!("cleared.t{task}"), format!("plain.t{task}")]);
    let strays: Vec<u32> = names.map(|name| grove.wait_for(&name)).collect();
    for supervisor in supervisors(&coordinator) {
        signal(supervisor, Signal::KILL);
    }
    all_gone("the end of all trees", strays.into_iter().map(|pid| ("stray", pid)));
    let found = acknowledged(&mut fleet, 6);
    assert_eq!(words(&found), ["killed"; 6]);
    let zombies =
        || descendants(coordinator.pid()).into_iter().filter(|pid| state(*pid) == Some('Z')).count();
    eventually(SOON, "adopted processes to be waited for", || Ok((zombies() == 0).then_some(()))).unwrap();
}

/// `first`, then a role that takes the shell's place, and so has children that are not its own.
fn after(fleet: &Fleet, first: &str, name: &str, grove: &Grove) -> RoleCommand {
    let shell = fleet.program("sh", Path::new("/bin/sh")).in_folder(grove.path());
    let script = format!("{first} & exec \"$@\"");
    shell.args(["-c", &script, "sh"]).arg(role_binary(name).unwrap())
}

#[test]
fn a_child_that_was_there_before_the_coordinator_is_never_ended() {
    let (mut fleet, grove) = (fleet(), Grove::new());
    grove.plan(1, &format!("[ -e begun ] && exit 0; touch begun; {}", grove.stay("mine")));
    let _sweeper = fleet.sweeper();
    let mut coordinator = after(&fleet, &grove.stay("theirs"), "coordinator", &grove)
        .args(["run", "plan.toml"])
        .spawn()
        .unwrap();
    let (theirs, mine) = (grove.wait_for("theirs"), grove.wait_for("mine"));
    signal(supervisors(&coordinator)[0], Signal::KILL);
    all_gone("the end of the supervisor's child", [("mine", mine)]);
    assert_eq!(words(&acknowledged(&mut fleet, 1)), ["killed"]);
    coordinator.wait(SOON * 2).unwrap();
    assert!(is_alive(theirs));
}

#[test]
fn whom_a_child_that_was_there_before_leaves_behind_is_not_ended_and_the_audit_says_unknown() {
    let (mut fleet, grove) = (fleet(), Grove::new());
    grove.plan(1, &format!("[ -e begun ] && exit 0; touch begun; {}", grove.stay("mine")));
    let _sweeper = fleet.sweeper();
    // It leaves its own child behind once the supervisor's is there, and is gone itself.
    let first =
        format!("(until [ -e up.mine ]; do sleep 0.02; done; setsid {} & exit)", grove.stay("theirs"));
    let mut coordinator =
        after(&fleet, &first, "coordinator", &grove).args(["run", "plan.toml"]).spawn().unwrap();
    let (mine, theirs) = (grove.wait_for("mine"), grove.wait_for("theirs"));
    eventually(SOON, "it to come to the coordinator", || {
        let status = fs::read_to_string(format!("/proc/{theirs}/status"))?;
        Ok(status.contains(&format!("PPid:\t{}\n", coordinator.pid())).then_some(()))
    })
    .unwrap();
    signal(supervisors(&coordinator)[0], Signal::KILL);
    all_gone("the end of the supervisor's child", [("mine", mine)]);
    let found = acknowledged(&mut fleet, 1);
    assert_eq!((words(&found), &found[0]["pids"]), (vec!["unknown"], &theirs.to_string()));
    coordinator.wait(SOON * 2).unwrap();
    assert!(is_alive(theirs));
}

#[test]
fn a_child_that_was_there_before_the_agent_outlives_its_command() {
    let (fleet, grove) = (fleet(), Grove::new());
    let command = format!("{} & until [ -e up.mine ]; do sleep 0.02; done", grove.stay("mine"));
    let run = ["run", "--id", "solo", "--", "sh", "-c", &command];
    let mut agent = after(&fleet, &grove.stay("theirs"), "agent", &grove).args(run).spawn().unwrap();
    let theirs = grove.wait_for("theirs");
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
    assert!(!is_alive(grove.wait_for("mine")));
    assert!(is_alive(theirs));
}

#[test]
fn adopted_processes_of_a_running_command_do_not_stay_zombies_and_its_exit_code_is_still_its_own() {
    let (fleet, grove) = (fleet(), Grove::new());
    let script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &); done; touch made; \
                  until [ -e gate ]; do sleep 0.02; done; exit 7";
    let mut agent = fleet.agent("solo", script).in_folder(grove.path()).spawn().unwrap();
    eventually(SOON, "eight orphans", || Ok(grove.path().join("made").exists().then_some(()))).unwrap();
    let is_orphan = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("Name:\tsleep") && status.contains(&format!("PPid:\t{}\n", agent.pid()))
    };
    let orphans = || descendants(agent.pid()).iter().filter(|pid| is_orphan(pid)).count();
    eventually(SOON, "all of them to be waited for", || Ok((orphans() == 0).then_some(()))).unwrap();
    fs::write(grove.path().join("gate"), "").unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(7), "{}", agent.stderr());
}

#[test]
fn a_command_that_ended_by_itself_is_released_as_dead_and_one_that_was_ended_as_killed() {
    let (mut fleet, grove) = (fleet(), Grove::new());
    let mut released = |script: &str| {
        let mut agent = fleet.agent("solo", script).in_folder(grove.path()).spawn().unwrap();
        assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
        let entry = fleet.log().remove(0);
        (entry["type"].clone(), entry["process"].clone())
    };
    assert_eq!(released("exit 0"), ("release".into(), "dead".into()));
    let leaves = format!("(env -i setsid {} &); until [ -e up.a ]; do sleep 0.02; done", grove.stay("a"));
    assert_eq!(released(&leaves), ("release".into(), "killed".into()));
}

/// A program that becomes another user, root, for good: nobody else may signal it then.
fn becomes_root(folder: &Path) -> PathBuf {
    let program = folder.join("becomes-root");
    let setpriv = lifecycle_tests::program::on_path("setpriv").expect("setpriv, of util-linux, is installed");
    fs::copy(setpriv, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    program
}

#[test]
fn a_process_that_may_not_be_ended_is_left_with_its_pid_and_never_called_killed() {
    if !rustix::process::geteuid().is_root() {
        // Only root can plant a process that others may not end. What is decided then is tested in endings.rs and process_fate.rs.
        return;
    }
    let (mut fleet, grove) = (fleet(), Grove::new());
    fs::set_permissions(grove.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = becomes_root(grove.path());
    let root = format!("{} --reuid=0 --regid=0 --clear-groups {}", program.display(), grove.stay("root"));
    grove.plan(1, &format!("[ -e begun ] && exit 0; touch begun; {root} & {}", grove.stay("mine")));
    let _sweeper = fleet.sweeper();
    let setpriv = lifecycle_tests::program::on_path("setpriv").unwrap();
    let coordinator = fleet
        .program("coordinator", &setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(role_binary("coordinator").unwrap())
        .args(["run", "plan.toml"])
        .in_folder(grove.path())
        .spawn()
        .unwrap();
    let (mine, root) = (grove.wait_for("mine"), grove.wait_for("root"));
    signal(supervisors(&coordinator)[0], Signal::KILL);
    all_gone("the end of what may be ended", [("mine", mine)]);
    let found = acknowledged(&mut fleet, 1);
    // Beside it there may be what it waits for.
    let pids: Vec<&str> = found[0]["pids"].split(' ').collect();
    assert!(words(&found) == ["left"] && pids.contains(&root.to_string().as_str()), "{found:?}");
    let said = coordinator.wait_for_line(|line| line.contains("left: processes"), SOON).unwrap();
    assert!(said.contains(&root.to_string()), "{said}");
    assert!(is_alive(root));
    signal(root, Signal::KILL);
}
