//! What an agent owns beside keys is undone by whoever ends its life, and nothing is lost that is nowhere else: real
//! repositories, files and processes.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use agent_sdk::process::{ProcessId, ledgers};
use agent_sdk::{Agent, AgentSettings, StopCause, ThingKind};
use lifecycle_core::settings::Settings;
use lifecycle_redis::Store;
use lifecycle_tests::{Role, eventually, role_binary};
use rand::RngExt as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

type Entry = std::collections::BTreeMap<String, String>;

/// A folder with a repository in it, in which commands of agents own things.
struct Yard {
    folder: TempDir,
}

impl Yard {
    fn new() -> Self {
        // Names as the system resolves them are those that are noted.
        let yard = Self { folder: tempfile::Builder::new().prefix("lifecycle-things-").tempdir().unwrap() };
        git(yard.path(), &["init", "--quiet", "repo"]);
        git(&yard.path().join("repo"), &["commit", "--quiet", "--allow-empty", "--message", "first"]);
        yard
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn worktree(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        git(&self.at("repo"), &["worktree", "add", "--quiet", "-b", name, path.to_str().unwrap()]);
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn wait_for(&self, name: &str) {
        let path = self.at(name);
        eventually(SOON, &format!("{name} to be there"), || Ok(path.exists().then_some(()))).unwrap();
    }

    fn wait_until_gone(&self, name: &str) {
        let path = self.at(name);
        let gone = || Ok(fs::symlink_metadata(&path).is_err().then_some(()));
        eventually(SOON, &format!("{name} to be gone"), gone).unwrap();
    }

    /// An agent whose command runs this in the yard, with `own` for `lifecyclectl own`.
    fn agent(&self, fleet: &Fleet, id: &str, script: &str) -> Role {
        let program = role_binary("lifecyclectl").unwrap();
        let script = format!("set -e; ctl={}; own() {{ $ctl own \"$@\"; }}; {script}", program.display());
        fleet.agent(id, &script).in_folder(self.path()).spawn().unwrap()
    }

    /// The same, to its end.
    fn lived(&self, fleet: &Fleet, id: &str, script: &str) -> Role {
        let mut agent = self.agent(fleet, id, script);
        let status = agent.wait(SOON).unwrap();
        assert!(status.success(), "{}{}", agent.stdout(), agent.stderr());
        agent
    }
}

fn git(folder: &Path, words: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-C"]).arg(folder).args(words);
    let said = command.output().unwrap();
    assert!(said.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// An id that no other test has.
fn id(name: &str) -> String {
    format!("owns-{name}-{}", std::process::id())
}

fn fleet() -> Fleet {
    Fleet::with_lease(Duration::from_secs(2))
}

/// The audit's entries that tell of this agent's things, once there is one.
fn told(fleet: &mut Fleet, id: &str) -> Vec<Entry> {
    let mut seen = Vec::new();
    fleet.wait_until("the audit to tell of things", |client| {
        let entries = client.entries("agents:log").unwrap();
        seen = entries
            .into_iter()
            .filter(|entry| entry["agentId"] == id && entry["type"] == "acknowledge")
            .collect();
        seen.iter().any(|entry| entry.contains_key("things"))
    });
    seen
}

fn ended(mut role: Role) -> Role {
    role.wait(SOON).unwrap();
    role
}

fn listed(fleet: &Fleet, id: &str) -> Vec<(String, String)> {
    let role = fleet.role("lifecyclectl").args(["own", "list", id, "--output", "json"]);
    let said = ended(role.spawn().unwrap()).stdout();
    let said: Value = serde_json::from_str(&said).unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    said["things"].as_array().unwrap().iter().map(|row| (text(row, "thing"), text(row, "state"))).collect()
}

fn end_left(fleet: &Fleet) -> Role {
    ended(fleet.role("lifecyclectl").args(["processes", "--end"]).spawn().unwrap())
}

/// Whether a ledger of this agent is in the folder of these roles.
fn has_ledger(fleet: &Fleet, id: &str) -> bool {
    ledgers_of(fleet).iter().any(|name| name.starts_with(&format!("{id}@")))
}

fn ledgers_of(fleet: &Fleet) -> Vec<String> {
    let lives = fs::read_dir(fleet.runtime().join("lifecycle/lives")).into_iter().flatten().flatten();
    lives.map(|file| file.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_clean_worktree_is_removed_and_one_with_work_that_is_nowhere_else_is_parked() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("worktrees"));
    for name in ["clean", "dirty", "unpushed", "pushed", "hidden"] {
        yard.worktree(name);
    }
    let script = "for name in clean dirty unpushed pushed hidden; do own worktree $name; done
        commit() { git -C $1 -c user.name=a -c user.email=a@b commit -q --allow-empty -m $1; }
        echo x > dirty/new; commit unpushed; commit pushed; git -C repo branch copy pushed
        git -C hidden config status.showUntrackedFiles no; echo x > hidden/new";
    yard.lived(&fleet, &id, script);
    assert!(!yard.at("clean").exists() && !yard.at("pushed").exists());
    assert_eq!((yard.read("dirty/new"), yard.read("hidden/new")), ("x\n".into(), "x\n".into()));
    assert!(yard.at("unpushed/.git").exists());
    let entries = told(&mut fleet, &id);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["things"], "2 undone, 3 parked");
    let parked: Value = serde_json::from_str(&entries[0]["thingsParked"]).unwrap();
    assert_eq!(parked[format!("worktree {}", yard.text("dirty"))], "it has changes that are not committed");
    let unpushed = "it has commits that no other branch, tag or remote has";
    assert_eq!(parked[format!("worktree {}", yard.text("unpushed"))], unpushed);
    let parked = |name: &str| (format!("worktree {}", yard.text(name)), "parked".to_owned());
    assert_eq!(listed(&fleet, &id), ["dirty", "hidden", "unpushed"].map(parked));
    fs::remove_dir_all(yard.at("dirty")).unwrap();
    assert_eq!(listed(&fleet, &id), ["hidden", "unpushed"].map(parked), "somebody has dealt with it");
    assert!(!has_ledger(&fleet, &id));
    let things = format!("agent:things:{id}");
    assert!(!fleet.residue().contains(&things), "the list goes with the life");
}

#[test]
fn the_very_file_that_was_owned_is_removed_and_not_one_that_took_its_place() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("files"));
    let script = "touch same replaced precious given; mkdir empty full; touch full/x; ln -s precious link
        for name in same replaced given empty full link; do own file $name; done
        rm replaced; echo mine > replaced; $ctl disown file given";
    yard.lived(&fleet, &id, script);
    for gone in ["same", "empty", "link"] {
        assert!(fs::symlink_metadata(yard.at(gone)).is_err(), "{gone}");
    }
    assert_eq!(yard.read("replaced"), "mine\n");
    for there in ["precious", "given", "full/x"] {
        assert!(yard.at(there).exists(), "{there}");
    }
    assert_eq!(told(&mut fleet, &id)[0]["things"], "3 undone, 2 parked");
}

#[test]
fn a_command_runs_once_where_it_was_owned_without_our_settings_and_nothing_of_it_stays() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("run"));
    fs::create_dir(yard.at("sub")).unwrap();
    let command = "echo $LIFECYCLE_AGENT_ID ${LIFECYCLE_REDIS__URL-none} >> ran; setsid sh -c \"echo \\$\\$ > daemon; exec sleep 600\" & \
                   while ! [ -s daemon ]; do sleep 0.01; done";
    let script =
        format!("cd sub; own run '{command}'; own run '{command}'; own run 'exit 3'; own run 'sleep 600'");
    yard.lived(&fleet, &id, &script);
    assert_eq!(yard.read("sub/ran"), format!("{id} none\n"));
    let daemon = yard.read("sub/daemon").trim().parse().unwrap();
    assert!(ProcessId::of(daemon).is_none_or(|process| !process.is_alive()));
    let entries = told(&mut fleet, &id);
    assert_eq!(entries[0]["things"], "1 undone, 2 left");
    let left: Value = serde_json::from_str(&entries[0]["thingsLeft"]).unwrap();
    assert_eq!(left["run exit 3"], "exit status: 3");
    assert_eq!(left["run sleep 600"], "it did not end within 1s");
}

#[test]
fn a_container_is_removed_by_the_engine_that_is_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("container"));
    let fake = "#!/bin/sh\necho \"$@\" >> \"${0%/*}/../said\"\n[ $3 != gone ] || { echo 'Error: No such container: gone' >&2; exit 1; }\n[ $3 != stuck ] || { echo 'cannot be removed' >&2; exit 1; }\n";
    fs::create_dir(yard.at("bin")).unwrap();
    fs::write(yard.at("bin/docker"), fake).unwrap();
    fs::set_permissions(yard.at("bin/docker"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", yard.text("bin"), std::env::var("PATH").unwrap());
    let ctl = role_binary("lifecyclectl").unwrap();
    let script = format!("for name in web gone stuck; do {} own container $name; done", ctl.display());
    let agent = fleet.agent(&id, &script).in_folder(yard.path()).env("PATH", path);
    let status = agent.spawn().unwrap().wait(SOON).unwrap();
    assert!(status.success());
    assert_eq!(yard.read("said"), "rm -f web\nrm -f gone\nrm -f stuck\n");
    let entry = &told(&mut fleet, &id)[0];
    assert_eq!(entry["things"], "2 undone, 1 left");
    assert!(entry["thingsLeft"].contains("cannot be removed"), "{entry:?}");
}

/// Owns one thing of each kind, and stays.
const OWNS_THREE: &str =
    "touch file; own file file; own worktree tree; own run 'echo ran >> ran'; touch ready; sleep 600";

#[test]
fn what_a_killed_supervisor_owned_is_undone_by_the_next_one_on_its_host() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("killed"));
    yard.worktree("tree");
    let mut killed = yard.agent(&fleet, &id, OWNS_THREE);
    yard.wait_for("ready");
    killed.kill().unwrap();
    assert_eq!([has_ledger(&fleet, &id), yard.at("file").exists(), yard.at("tree").exists()], [true; 3]);
    let mut next = yard.agent(&fleet, &format!("{id}-next"), "sleep 600");
    yard.wait_until_gone("file");
    yard.wait_until_gone("tree");
    let entries = told(&mut fleet, &id);
    assert_eq!((entries.len(), entries[0]["things"].as_str()), (1, "3 undone"), "{entries:?}");
    assert_eq!(entries[0]["by"], format!("{id}-next"));
    next.stop(SOON).unwrap();
    eventually(SOON, "the ledger to go", || Ok((!has_ledger(&fleet, &id)).then_some(()))).unwrap();
    assert_eq!(yard.read("ran"), "ran\n");
}

#[test]
fn what_a_killed_supervisor_owned_is_undone_by_the_daemon_of_its_host() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("daemon"));
    yard.worktree("tree");
    let mut daemon = fleet.role("agent").arg("host").spawn().unwrap();
    fleet
        .wait_until("the daemon", |client| !client.texts(&["SMEMBERS", "agents:active"]).unwrap().is_empty());
    let mut killed = yard.agent(&fleet, &id, OWNS_THREE);
    yard.wait_for("ready");
    killed.kill().unwrap();
    let entries = told(&mut fleet, &id);
    assert!(entries.iter().any(|entry| entry.get("things").is_some_and(|things| things == "3 undone")));
    assert!(!yard.at("file").exists() && !yard.at("tree").exists());
    daemon.stop(SOON).unwrap();
    assert_eq!(yard.read("ran"), "ran\n");
}

#[test]
fn what_a_life_owned_that_a_sweeper_reaped_is_named_and_then_undone_by_its_host() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("reaped"));
    yard.worktree("tree");
    let mut killed = yard.agent(&fleet, &id, OWNS_THREE);
    yard.wait_for("ready");
    killed.kill().unwrap();
    let reaped = ended(fleet.role("lifecyclectl").args(["reap", &id, "--force"]).spawn().unwrap());
    let entry = fleet
        .log()
        .into_iter()
        .find(|entry| entry["type"] == "cleanup")
        .unwrap_or_else(|| panic!("{}", reaped.stderr()));
    assert_eq!(entry["host"], agent_sdk::host());
    let left: Value = serde_json::from_str(&entry["thingsLeft"]).unwrap();
    assert_eq!(left.as_object().unwrap().len(), 3, "{left}");
    assert_eq!(listed(&fleet, &id).len(), 3);
    let said = end_left(&fleet);
    assert!(
        said.stdout().contains(&format!("of what {id} owned: 3 undone")),
        "{}{}",
        said.stdout(),
        said.stderr()
    );
    assert!(!yard.at("file").exists() && !yard.at("tree").exists() && !has_ledger(&fleet, &id));
    assert_eq!((yard.read("ran").as_str(), listed(&fleet, &id).len()), ("ran\n", 0));
    end_left(&fleet);
    assert_eq!(yard.read("ran"), "ran\n", "once");
}

#[test]
fn nobody_owns_anything_in_the_name_of_another_life() {
    let (mut fleet, yard) = (fleet(), Yard::new());
    let (victim, forger) = (id("victim"), id("forger"));
    fs::write(yard.at("file"), "x").unwrap();
    let mut alive = yard.agent(&fleet, &victim, "echo $LIFECYCLE_TOKEN > token; sleep 600");
    yard.wait_for("token");
    let script = "refused() { ! LIFECYCLE_TOKEN=$1 $ctl own file file 2>> said; }
        refused $(cat token); refused nobody:7; refused nonsense; refused x:y:7; refused \"${LIFECYCLE_TOKEN}0\"
        (unset LIFECYCLE_TOKEN; ! $ctl own file file 2>> said)
        ! own worktree repo 2>> said; ! own file none 2>> said; ! own container --all 2>> said; ! $ctl disown file file 2>> said";
    yard.lived(&fleet, &forger, script);
    let said = yard.read("said");
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 10, "{said}");
    assert!(said.contains("is not of the life"), "{said}");
    assert_eq!(listed(&fleet, &victim), []);
    // Nor from outside of any.
    let token = yard.read("token").trim().to_owned();
    let outside = fleet.role("lifecyclectl").args(["own", "file", "file"]).in_folder(yard.path());
    let outside = ended(outside.env("LIFECYCLE_TOKEN", token).spawn().unwrap());
    assert!(outside.stderr().contains("is not of the life"), "{}", outside.stderr());
    alive.stop(SOON).unwrap();
    assert_eq!(yard.read("file"), "x");
    assert!(fleet.log().iter().all(|entry| !entry.contains_key("things")));
}

#[test]
fn without_a_store_at_hand_the_ledger_is_enough_and_the_output_says_so() {
    let (mut fleet, yard, id) = (fleet(), Yard::new(), id("ledger"));
    // The store answers nobody while the command says what it owns.
    let agent = yard.agent(&fleet, &id, "touch file; while ! [ -e go ]; do sleep 0.01; done; own file file > said; touch done; while [ -e go ]; do sleep 0.01; done");
    yard.wait_for("file");
    fleet.server.pause().unwrap();
    fs::write(yard.at("go"), "").unwrap();
    yard.wait_for("done");
    fleet.server.resume().unwrap();
    let said = yard.read("said");
    assert!(
        said.contains("written to the ledger of this host, which is enough; not to the store ("),
        "{said}"
    );
    fs::remove_file(yard.at("go")).unwrap();
    ended(agent);
    assert!(!yard.at("file").exists());
    assert_eq!(told(&mut fleet, &id)[0]["things"], "1 undone");
}

/// The ledgers of agents in this very process are in its own folder.
fn is_written_here(id: &str) -> bool {
    ledgers().iter().any(|ledger| ledger.id.as_str() == id)
}

#[test]
fn an_agent_in_rust_owns_things_as_a_command_does() {
    let (mut fleet, yard, id) = (Fleet::new(), Yard::new(), id("sdk"));
    let tree = yard.worktree("tree");
    fs::write(yard.at("file"), "x").unwrap();
    let mut settings = Settings::default();
    settings.redis.url = fleet.server.url();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let wanted = AgentSettings::new(&id).unwrap().settings(settings.clone());
        let agent = Agent::register(wanted).await.unwrap();
        for (kind, what) in [(ThingKind::Worktree, tree), (ThingKind::File, yard.at("file"))] {
            let thing = Agent::thing(kind, what.to_str().unwrap()).await.unwrap();
            agent.own_thing(thing).await.unwrap();
        }
        let kept = Agent::thing(ThingKind::Run, "exit 1").await.unwrap();
        agent.own_thing(kept).await.unwrap();
        assert!(agent.disown_thing(ThingKind::Run, "exit 1").await.unwrap());
        assert!(Agent::thing(ThingKind::File, yard.text("none")).await.is_err());
        let store = Store::connect(&settings).await.unwrap();
        assert_eq!(store.things(&id).await.unwrap().len(), 2);
        assert!(is_written_here(&id));
        agent.shutdown(StopCause::Done).await.unwrap();
    });
    assert!(!yard.at("tree").exists() && !yard.at("file").exists() && !is_written_here(&id));
    assert_eq!(told(&mut fleet, &id)[0]["things"], "2 undone");
}

/// How many are killed; more by hand: `THINGS_KILLS=1000 cargo xtask test -- random_moments`.
fn kills() -> usize {
    std::env::var("THINGS_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(30)
}

/// Owns three things, of which the worktree may be dirty, and writes down each of which that is certain.
const OWNS_AND_SAYS: &str = "n=$1; mkdir $n; git -C repo worktree add -q --detach ../$n/tree
        [ $2 = clean ] || echo precious > $n/tree/work
        own worktree $n/tree; touch $n/said.tree; touch $n/file; own file $n/file; touch $n/said.file
        own run \"echo ran >> $n/ran\"; touch $n/said.run; sleep 600";

#[test]
fn nothing_that_was_owned_is_left_and_no_work_is_lost_whenever_its_supervisor_is_killed() {
    let (fleet, yard) = (fleet(), Yard::new());
    let mut random = rand::rng();
    let mut dirty = Vec::new();
    for batch in (0..kills()).collect::<Vec<_>>().chunks(6) {
        let mut roles = Vec::new();
        for number in batch {
            let (name, is_dirty) = (number.to_string(), random.random_bool(0.3));
            dirty.push(is_dirty);
            let how = if is_dirty { "dirty" } else { "clean" };
            let script = format!("set -- {name} {how}; {OWNS_AND_SAYS}");
            roles.push((
                yard.agent(&fleet, &id(&format!("random-{name}")), &script),
                random.random_range(0..2_000),
            ));
        }
        roles.sort_by_key(|(_, after)| *after);
        let begun = std::time::Instant::now();
        for (role, after) in &mut roles {
            // Any moment will do; there is nothing to wait for.
            std::thread::sleep(Duration::from_millis(*after).saturating_sub(begun.elapsed()));
            role.kill().unwrap();
        }
        // What the guards hold has its moment to end.
        let left = || {
            end_left(&fleet);
            Ok(ledgers_of(&fleet).is_empty().then_some(()))
        };
        eventually(SOON, "nothing to be left", left)
            .unwrap_or_else(|error| panic!("{error}: {:?}", ledgers_of(&fleet)));
    }
    for (number, is_dirty) in dirty.into_iter().enumerate() {
        let said = |what: &str| yard.at(&format!("{number}/said.{what}")).exists();
        let at = |what: &str| yard.at(&format!("{number}/{what}"));
        if is_dirty && at("tree").exists() {
            let work = fs::read_to_string(at("tree/work"));
            assert!(!said("tree") || work.is_ok_and(|work| work == "precious\n"), "{number}");
        }
        assert!(!(said("tree") && is_dirty) || at("tree").exists(), "{number}: a dirty tree is lost");
        assert!(!said("tree") || is_dirty || !at("tree").exists(), "{number}: a clean tree is left");
        assert!(!said("file") || !at("file").exists(), "{number}: a file is left");
        assert!(
            !said("run") || yard.read(&format!("{number}/ran")) == "ran\n",
            "{number}: it did not run once"
        );
        assert!(!has_ledger(&fleet, &id(&format!("random-{number}"))), "{number}");
    }
}
