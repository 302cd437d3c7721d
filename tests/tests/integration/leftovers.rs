//! What is left on a host is found, and only what is proven over is ended: real processes, ledgers and a real store.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_sdk::process::{Ledger, ProcessId, TOKEN_VARIABLE, ledgers, token};
use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_redis::Life;
use lifecycle_tests::eventually;
use lifecycle_tests::process::RoleCommand;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fleet::SOON;
use crate::site::Site;

/// A process that nobody started any more: its parent has ended. It ends with the test.
struct Orphan(ProcessId);

impl Orphan {
    fn start(token: Option<&str>) -> Self {
        Self::of(Path::new("sleep"), token)
    }

    fn of(program: &Path, token: Option<&str>) -> Self {
        let orphan = Self::started(program, token);
        orphan.wait_until_it_is(program);
        orphan
    }

    fn started(program: &Path, token: Option<&str>) -> Self {
        let mut shell = Command::new("setsid");
        let script = "\"$0\" 600 < /dev/null > /dev/null 2>&1 & echo $!";
        shell.args(["--wait", "sh", "-c", script]).arg(program).stderr(Stdio::inherit());
        if let Some(token) = token {
            shell.env(TOKEN_VARIABLE, token);
        }
        let said = shell.output().unwrap();
        let pid = String::from_utf8(said.stdout).unwrap().trim().parse().unwrap();
        Self(ProcessId::of(pid).unwrap())
    }

    /// A shell's child is that shell until it has become what it was told to run.
    fn wait_until_it_is(&self, program: &Path) {
        let line = format!("/proc/{}/cmdline", self.0.pid);
        eventually(SOON, "the program to run", || {
            let line = std::fs::read(&line)?;
            Ok(line.starts_with(program.as_os_str().as_encoded_bytes()).then_some(()))
        })
        .unwrap();
    }

    fn lives(&self) -> bool {
        self.0.is_alive()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.lives() {
            let _ = kill_process(Pid::from_raw(i32::try_from(self.0.pid).unwrap()).unwrap(), Signal::KILL);
        }
    }
}

/// A ledger on this host, which goes with the test.
struct Kept(Ledger);

impl Kept {
    /// The ledger of a life whose supervisor has ended.
    fn of_the_dead(site: &Site, life: (&str, u64), processes: &[ProcessId]) -> Self {
        Self::write(site, life, ended_process(), processes)
    }

    fn write(site: &Site, (id, life): (&str, u64), supervisor: ProcessId, processes: &[ProcessId]) -> Self {
        let store = site.store.settings().redis.address();
        let mut ledger = Ledger::new(AgentId::new(id).unwrap(), Incarnation(life), store).unwrap();
        ledger.supervisor = supervisor;
        ledger.processes = processes.to_vec();
        ledger.containment = "none".into();
        ledger.write().unwrap();
        Self(ledger)
    }

    fn is_there(&self) -> bool {
        ledgers().iter().any(|ledger| ledger.id == self.0.id && ledger.incarnation == self.0.incarnation)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

/// A process that was there and is not any more.
fn ended_process() -> ProcessId {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    // What a life starts is younger than its supervisor, as here all is younger than this test.
    ProcessId { pid, start: ProcessId::own().unwrap().start }
}

/// An id that no other test has.
fn id(name: &str) -> String {
    format!("left-{name}-{}", std::process::id())
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{}{}", self.stdout, self.stderr))
    }

    /// The row of this process, if it is listed.
    fn row(&self, orphan: &Orphan) -> Option<Value> {
        let rows = self.json()["processes"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["pid"] == orphan.0.pid)
    }
}

fn said(command: RoleCommand) -> Said {
    let mut role = command.spawn().unwrap();
    let code = role.wait(SOON * 2).unwrap().code();
    Said { code, stdout: role.stdout(), stderr: role.stderr() }
}

impl Site {
    fn lifecyclectl(&self, args: &[&str]) -> Said {
        said(self.role("lifecyclectl").args(args.iter().copied()))
    }

    fn left(&self) -> Said {
        self.lifecyclectl(&["processes", "--output", "json"])
    }

    fn end_left(&self) -> Said {
        let role = self.role("lifecyclectl").env("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "300ms");
        said(role.args(["processes", "--end", "--output", "json"]))
    }

    fn life_and_its_token(&self, name: &str) -> (Life, String) {
        let life = self.register(&id(name));
        let token = token(life.id.as_str(), life.incarnation);
        (life, token)
    }
}

fn pids(rows: &Value) -> BTreeSet<u64> {
    rows.as_array().unwrap().iter().map(|row| row["pid"].as_u64().unwrap()).collect()
}

const EACH: usize = 10;

/// Lives that are over, of every kind in which a process can be recognised, and what they left.
fn true_leftovers(site: &Site) -> (Vec<Orphan>, Vec<Kept>) {
    let (mut orphans, mut kept) = (Vec::new(), Vec::new());
    for number in 0..2 * EACH {
        let id = id(&format!("noted-{number}"));
        orphans.push(Orphan::start(None));
        kept.push(Kept::of_the_dead(site, (&id, 100), &[orphans[orphans.len() - 1].0]));
    }
    for number in 0..2 * EACH {
        let id = id(&format!("kept-{number}"));
        orphans.push(Orphan::start(Some(&format!("{id}:100"))));
        kept.push(Kept::of_the_dead(site, (&id, 100), &[]));
    }
    for number in 0..EACH {
        let (life, token) = site.life_and_its_token(&format!("reaped-{number}"));
        orphans.push(Orphan::start(Some(&token)));
        site.reap_by_force(&life);
    }
    (orphans, kept)
}

/// Living processes that look like those.
fn doubles(site: &Site) -> (Vec<Orphan>, Vec<Kept>) {
    let (mut orphans, mut kept) = (Vec::new(), Vec::new());
    for number in 0..EACH {
        // The same command, and nothing that marks it.
        orphans.push(Orphan::start(None));
        // The token of a life of the same id; it begins with that of the one that is over.
        orphans.push(Orphan::start(Some(&format!("{}:1000", id(&format!("kept-{number}"))))));
        // A life that is registered and beats, of which no ledger tells.
        let (_, token) = site.life_and_its_token(&format!("living-{number}"));
        orphans.push(Orphan::start(Some(&token)));
        // A supervisor that runs: this test.
        let held = id(&format!("held-{number}"));
        orphans.push(Orphan::start(Some(&format!("{held}:100"))));
        let noted = [orphans[orphans.len() - 1].0];
        kept.push(Kept::write(site, (&held, 100), ProcessId::own().unwrap(), &noted));
        // A pid that was used again: the ledger's process is another one.
        orphans.push(Orphan::start(None));
        let ProcessId { pid, start } = orphans[orphans.len() - 1].0;
        let earlier = [ProcessId { pid, start: start - 1 }];
        kept.push(Kept::of_the_dead(site, (&id(&format!("again-{number}")), 100), &earlier));
    }
    (orphans, kept)
}

#[test]
fn fifty_leftovers_are_ended_and_none_of_fifty_living_doubles_is_touched() {
    let site = Site::start();
    let (left, ledgers_of_left) = true_leftovers(&site);
    let (living, ledgers_of_living) = doubles(&site);
    assert_eq!((left.len(), living.len()), (50, 50));
    let listed = site.left();
    assert_eq!(listed.code, Some(1), "{}", listed.stderr);
    for orphan in &left {
        let row = listed.row(orphan).unwrap();
        assert_eq!(row["over"], true, "{row}");
    }
    for orphan in &living {
        assert!(listed.row(orphan).is_none_or(|row| row["over"] == false));
    }
    let ended = site.end_left();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected: BTreeSet<u64> = left.iter().map(|orphan| orphan.0.pid.into()).collect();
    assert_eq!(pids(&ended.json()["ended"]), expected);
    assert_eq!(ended.json()["left"], serde_json::json!([]));
    assert!(left.iter().all(|orphan| !orphan.lives()));
    assert!(living.iter().all(Orphan::lives));
    assert!(ledgers_of_left.iter().all(|ledger| !ledger.is_there()), "nothing is left of those lives");
    let of_held = |ledger: &&Kept| ledger.0.supervisor == ProcessId::own().unwrap();
    assert!(ledgers_of_living.iter().filter(of_held).all(Kept::is_there));
}

#[test]
fn a_life_whose_lease_still_runs_is_told_to_be_over_before_anything_of_it_is_ended() {
    let mut site = Site::start();
    let (life, token) = site.life_and_its_token("lease");
    let orphan = Orphan::start(Some(&token));
    let ledger = Kept::of_the_dead(&site, (life.id.as_str(), life.incarnation.0), &[]);
    let row = site.left().row(&orphan).unwrap();
    assert_eq!((&row["verdict"], &row["over"]), (&"unwitnessed".into(), &false.into()), "{row}");
    assert_eq!((&row["recognisedBy"], &row["supervisor"]), (&"token".into(), &"gone".into()), "{row}");
    for command in ["verify", "doctor"] {
        let asked = site.lifecyclectl(&[command]);
        assert_eq!(asked.code, Some(1), "{command}");
        let sentence = "1 process of 1 life that is over is left on this host: lifecyclectl processes";
        assert!(asked.stdout.contains(sentence), "{command}: {}", asked.stdout);
    }
    let ended = site.end_left();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!orphan.lives() && !ledger.is_there());
    let record = site.done(site.store.record(life.id.as_str())).unwrap();
    assert!(record.ended.is_some(), "{record:?}");
    let log = site.log();
    let entry = log.iter().find(|entry| entry["type"] == "acknowledge").unwrap();
    // Nothing held the processes of this life, so that none escaped is not proven.
    assert_eq!((entry["agentId"].as_str(), entry["process"].as_str()), (life.id.as_str(), "unknown"));
    assert_eq!(entry["by"], "lifecyclectl");
}

#[test]
fn without_a_store_what_is_left_is_listed_and_nothing_is_ended() {
    let site = Site::start();
    let orphan = Orphan::start(None);
    let _ledger = Kept::of_the_dead(&site, (&id("alone"), 100), &[orphan.0]);
    let nowhere = |args: &[&str]| {
        let role = site.role("lifecyclectl").env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1");
        said(role.env("LIFECYCLE_REDIS__START_TIMEOUT", "200ms").args(args.iter().copied()))
    };
    let listed = nowhere(&["processes"]);
    assert_eq!(listed.code, Some(1), "{}", listed.stderr);
    assert!(listed.stdout.contains(&id("alone")), "{}", listed.stdout);
    assert!(listed.stdout.contains("no store answered: nothing can be proven over"), "{}", listed.stdout);
    let row = nowhere(&["processes", "--output", "json"]).row(&orphan).unwrap();
    assert_eq!((&row["verdict"], &row["over"]), (&"noStore".into(), &false.into()));
    let refused = nowhere(&["processes", "--end"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(69), ""));
    assert!(refused.stderr.contains("nothing was ended"), "{}", refused.stderr);
    assert!(orphan.lives());
}

#[test]
fn what_is_of_another_store_is_listed_and_never_ended() {
    let site = Site::start();
    let other = Site::start();
    let orphan = Orphan::start(None);
    let _ledger = Kept::of_the_dead(&other, (&id("other"), 100), &[orphan.0]);
    let row = site.left().row(&orphan).unwrap();
    assert_eq!((&row["verdict"], &row["over"]), (&"anotherStore".into(), &false.into()));
    assert_eq!(row["store"], other.store.settings().redis.address());
    let ended = site.end_left();
    assert!(ended.row(&orphan).is_some() && orphan.lives(), "{}", ended.stderr);
    assert_eq!(ended.json()["ended"], serde_json::json!([]));
    assert_eq!(site.lifecyclectl(&["verify"]).code, Some(0), "it is not this store's");
    assert_eq!(pids(&other.end_left().json()["ended"]), BTreeSet::from([orphan.0.pid.into()]));
}

#[test]
fn a_life_that_released_itself_and_one_that_was_replaced_are_over() {
    let site = Site::start();
    let (released, first) = site.life_and_its_token("released");
    let left = Orphan::start(Some(&first));
    site.release(&released, StopCause::Done);
    let (replaced, second) = site.life_and_its_token("replaced");
    let earlier = Orphan::start(Some(&second));
    site.reap_by_force(&replaced);
    let (_, third) = site.life_and_its_token("replaced");
    let later = Orphan::start(Some(&third));
    let listed = site.left();
    assert_eq!(listed.row(&left).unwrap()["verdict"], "released");
    assert_eq!(listed.row(&earlier).unwrap()["verdict"], "reaped");
    assert!(listed.row(&later).is_none(), "it lives");
    let ended = pids(&site.end_left().json()["ended"]);
    assert_eq!(ended, BTreeSet::from([left.0.pid.into(), earlier.0.pid.into()]));
    assert!(later.lives());
}

/// Nothing but the namespace marks these: they have no token, and the ledger names none of them.
#[test]
fn what_runs_in_the_namespace_of_a_life_is_found_and_ended_and_that_nothing_escaped_is_proven() {
    let mut site = Site::start();
    let script =
        "unshare --pid --fork sh -c 'sleep 600 & exec sleep 600' < /dev/null > /dev/null 2>&1 & echo $!";
    let shell = Command::new("setsid").args(["--wait", "sh", "-c", script]).output().unwrap();
    let outer: u32 = String::from_utf8(shell.stdout).unwrap().trim().parse().unwrap();
    let outer = Orphan(ProcessId::of(outer).unwrap());
    let below = eventually(SOON, "the namespace, or that it is not allowed here", || {
        let below = lifecycle_tests::descendants(outer.0.pid);
        Ok((below.len() == 2 || !outer.lives()).then_some(below))
    });
    let below: Vec<Orphan> = below.unwrap().into_iter().filter_map(ProcessId::of).map(Orphan).collect();
    // Only root may, and not in every container.
    let [init, other] = below.as_slice() else { return };
    let mut ledger = Kept::of_the_dead(&site, (&id("namespace"), 100), &[]);
    ledger.0.init = Some(init.0);
    ledger.0.write().unwrap();
    for orphan in [init, other] {
        assert_eq!(site.left().row(orphan).unwrap()["recognisedBy"], "namespace");
    }
    let ended = site.end_left();
    let expected = BTreeSet::from([init.0.pid.into(), other.0.pid.into()]);
    assert_eq!(pids(&ended.json()["ended"]), expected, "{}", ended.stderr);
    let log = site.log();
    let entry = log.iter().find(|entry| entry["type"] == "acknowledge").unwrap();
    assert_eq!(entry["process"], "killed");
}

/// A control group of this test's own, where the host has such and lets us make one.
fn cgroup() -> Option<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = mounts.find(|fields| fields[2] == "cgroup2")?[1].to_owned();
    let group = Path::new(&root).join(id("group"));
    std::fs::create_dir(&group).ok()?;
    Some(group)
}

#[test]
fn what_is_in_the_cgroup_of_a_life_is_ended_and_the_group_is_removed_with_the_ledger() {
    let mut site = Site::start();
    let Some(group) = cgroup() else { return };
    let inner = group.join("inner");
    std::fs::create_dir(&inner).unwrap();
    let (member, lower, outside) = (Orphan::start(None), Orphan::start(None), Orphan::start(None));
    for (group, orphan) in [(&group, &member), (&inner, &lower)] {
        std::fs::write(group.join("cgroup.procs"), orphan.0.pid.to_string()).unwrap();
    }
    let mut ledger = Kept::of_the_dead(&site, (&id("cgroup"), 100), &[member.0]);
    ledger.0.cgroup = Some(group.clone());
    ledger.0.write().unwrap();
    for orphan in [&member, &lower] {
        assert_eq!(site.left().row(orphan).unwrap()["recognisedBy"], "cgroup");
    }
    let ended = site.end_left();
    let expected = BTreeSet::from([member.0.pid.into(), lower.0.pid.into()]);
    assert_eq!(pids(&ended.json()["ended"]), expected, "{}", ended.stderr);
    assert!(outside.lives() && !ledger.is_there() && !group.exists());
    let log = site.log();
    assert_eq!(log.iter().find(|entry| entry["type"] == "acknowledge").unwrap()["process"], "killed");
}

/// The inner agent's supervisor was started by the outer one's command, so it carries that one's token.
#[test]
fn what_a_living_agent_holds_is_not_ended_with_the_life_in_which_it_was_started() {
    let site = Site::start();
    let (outer, inner) = (id("outer"), id("inner"));
    let token = format!("{outer}:100");
    let folder = tempfile::tempdir().unwrap();
    let holder = folder.path().join("holder");
    std::fs::write(&holder, "#!/bin/sh\nsleep 600 &\necho $! > $0.new; mv $0.new $0.up\nwait\n").unwrap();
    std::fs::set_permissions(&holder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let supervisor = Orphan::started(&holder, Some(&token));
    let held = eventually(SOON, "the inner process", || {
        let pid = std::fs::read_to_string(folder.path().join("holder.up")).ok();
        Ok(pid.and_then(|pid| ProcessId::of(pid.trim().parse().ok()?)).map(Orphan))
    });
    let held = held.unwrap();
    let left = Orphan::start(Some(&token));
    let _inner = Kept::write(&site, (&inner, 100), supervisor.0, &[]);
    let _outer = Kept::of_the_dead(&site, (&outer, 100), &[]);
    let listed = site.left();
    assert!(listed.row(&supervisor).is_none() && listed.row(&held).is_none(), "{}", listed.stdout);
    assert_eq!(pids(&site.end_left().json()["ended"]), BTreeSet::from([left.0.pid.into()]));
    assert!(supervisor.lives() && held.lives());
}

#[test]
fn a_stranger_is_ended_only_if_its_pid_is_named() {
    let site = Site::start();
    let folder = tempfile::tempdir().unwrap();
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|sleep| Path::new(sleep).exists()).unwrap();
    let claude = folder.path().join("claude");
    std::os::unix::fs::symlink(sleep, &claude).unwrap();
    let (named, other) = (Orphan::of(&claude, None), Orphan::of(&claude, None));
    // One that somebody holds is no stranger.
    let mut held = Command::new(&claude).arg("600").spawn().unwrap();
    let listed = site.lifecyclectl(&["processes", "--strangers", "--output", "json"]).json();
    let strangers = pids(&listed["strangers"]);
    assert!(strangers.contains(&named.0.pid.into()) && strangers.contains(&other.0.pid.into()), "{listed}");
    assert!(!strangers.contains(&held.id().into()));
    assert_eq!(site.lifecyclectl(&["processes", "--strangers", "--end"]).code, Some(0));
    let (pid, wrong) = (named.0.pid.to_string(), held.id().to_string());
    let refused = site.lifecyclectl(&["processes", "--strangers", "--end", &pid, &wrong]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(named.lives() && other.lives(), "nothing was ended");
    assert_eq!(site.lifecyclectl(&["processes", "--end", &pid]).code, Some(2), "it needs --strangers too");
    let ended = site.lifecyclectl(&["processes", "--strangers", "--end", &pid]);
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("ended {pid} (claude)")), "{}", ended.stderr);
    assert!(!named.lives() && other.lives() && held.try_wait().unwrap().is_none());
    held.kill().unwrap();
    held.wait().unwrap();
}

/// Below the first process of a machine is everything.
#[test]
fn a_ledger_that_names_what_is_older_than_its_supervisor_claims_nothing() {
    let site = Site::start();
    let (forged, parent) = (id("forged"), rustix::process::getppid().unwrap().as_raw_nonzero().get());
    let older = [1, u32::try_from(parent).unwrap()].map(|pid| ProcessId::of(pid).unwrap());
    let _kept = Kept::of_the_dead(&site, (&forged, 100), &older);
    // Only listed: should this fail, nothing may be ended.
    let listed = site.left();
    assert!(!listed.stdout.contains(&forged), "{}", listed.stdout);
}
