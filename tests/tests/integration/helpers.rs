//! `agent run --with-parent`: helpers of an agent, such as MCP servers. Real ones, started by a real agent's command, to which
//! a client speaks over real pipes.
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lifecycle_tests::process::{MARKER_VARIABLE, RoleCommand};
use lifecycle_tests::{Role, eventually, processes_with_env, role_binary};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

const PARENT: &str = "shop.coder-1";

/// An agent's folder, with the settings that its command's helpers find.
struct Workshop {
    fleet: Fleet,
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        Self::held_by("auto")
    }

    fn held_by(mode: &'static str) -> Self {
        let fleet = Fleet::with_lease(Duration::from_secs(5)).set("LIFECYCLE_CONTAINMENT__MODE", mode);
        let folder = tempfile::Builder::new().prefix("lifecycle-helper-").tempdir().unwrap();
        let settings = format!(
            "[redis]\nurl = \"{}\"\n[heartbeat]\ninterval = \"1s\"\n[sweep]\norphan_threshold = \"5s\"\n[shutdown]\n\
             kill_timeout = \"300ms\"\n[containment]\nmode = \"{mode}\"\n",
            fleet.server.url()
        );
        fs::write(folder.path().join("lifecycle.toml"), settings).unwrap();
        Self { fleet, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The agent, whose command is a script. In it `helper NAME OPTIONS -- CMD` starts a helper whose client is a [`Client`], and
    /// leaves its exit code in `NAME.code`.
    fn agent(&self, script: &str) -> Role {
        let functions = format!(
            "helper() {{ name=$1; shift\n {} run --with-parent \"$@\" < $name.in > $name.out 2> $name.err\n \
             echo $? > $name.code.tmp; mv $name.code.tmp $name.code; }}\n",
            role_binary("agent").unwrap().display()
        );
        let role = self.fleet.agent(PARENT, &(functions + script));
        // What ends the agent's own tree has longer than what ends its helpers'.
        role.env("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "5s").in_folder(self.folder.path()).spawn().unwrap()
    }

    /// `agent run --with-parent` outside of any agent.
    fn outside(&self) -> RoleCommand {
        self.fleet.role("agent").args(["run", "--with-parent"]).in_folder(self.folder.path())
    }

    /// The ids of the helpers, once there are so many.
    fn helpers(&mut self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        self.fleet.wait_until("the helpers to register", |client| {
            found = client.texts(&["SMEMBERS", &format!("agent:children:{PARENT}")]).unwrap();
            found.len() == count
        });
        found.sort();
        found
    }

    fn wait_for(&self, name: &str) {
        eventually(SOON, name, || Ok(self.path(name).exists().then_some(()))).unwrap();
    }

    /// How the helper of this name ended.
    fn code(&self, name: &str) -> String {
        self.wait_for(&format!("{name}.code"));
        let said = fs::read_to_string(self.path(&format!("{name}.err"))).unwrap();
        fs::read_to_string(self.path(&format!("{name}.code"))).unwrap().trim().to_owned() + &said
    }

    /// Why this agent was removed, by the audit log.
    fn reason(&mut self, id: &str) -> String {
        let mut reason = None;
        self.fleet.wait_until("an entry of the audit log", |client| {
            let log = client.entries("agents:log").unwrap();
            let entry = log.into_iter().find(|entry| {
                entry["agentId"] == id && ["release", "cleanup"].contains(&entry["type"].as_str())
            });
            reason = entry.map(|entry| entry["reason"].clone());
            reason.is_some()
        });
        reason.unwrap()
    }

    fn is_registered(&mut self, id: &str) -> bool {
        self.fleet.client.exists(&format!("agent:state:{id}")).unwrap()
    }

    fn nothing_left(&mut self) {
        let mut left = Vec::new();
        let gone = eventually(SOON, "every key to go", || {
            left = self.fleet.residue();
            Ok(left.is_empty().then_some(()))
        });
        gone.unwrap_or_else(|error| panic!("{error}: {left:?}"));
    }
}

/// The program that speaks to a helper: it has the other ends of the helper's pipes.
struct Client {
    input: Option<File>,
    output: File,
}

impl Client {
    fn new(folder: &Path, name: &str) -> Self {
        let pipe = |end: &str| {
            let path = folder.join(format!("{name}.{end}"));
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        // Neither waits for the helper to open the other end.
        let input = OpenOptions::new().read(true).write(true).open(pipe("in")).unwrap();
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let output = OpenOptions::new().read(true).custom_flags(nonblocking).open(pipe("out")).unwrap();
        Self { input: Some(input), output }
    }

    fn hears(&mut self, expected: &[u8]) {
        let mut heard = Vec::new();
        eventually(SOON, "the helper's answer", || {
            let mut part = [0; 64 * 1024];
            // Nobody has opened the other end yet, or nothing was written.
            while let Ok(read @ 1..) = self.output.read(&mut part) {
                heard.extend_from_slice(&part[..read]);
            }
            Ok((heard.len() >= expected.len()).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {} of {} bytes came", heard.len(), expected.len()));
        assert!(heard == expected, "other bytes came than were sent");
    }

    /// Says it, and hears it again from an echo.
    fn echoes(&mut self, bytes: &[u8]) {
        let mut input = self.input.as_ref().unwrap().try_clone().unwrap();
        let said = bytes.to_vec();
        // An echo that is not listened to stops listening.
        let speaker = std::thread::spawn(move || input.write_all(&said).unwrap());
        self.hears(bytes);
        speaker.join().unwrap();
    }

    /// Says so much that it cannot all be on its way: more than the pipe to the helper and that to its command hold.
    fn speak_in_vain(&mut self, folder: &Path, name: &str) {
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let path = folder.join(format!("{name}.in"));
        let mut input = OpenOptions::new().write(true).custom_flags(nonblocking).open(path).unwrap();
        let mut taken = 0;
        eventually(SOON, "a pipe full of what the command does not read", || {
            match input.write(&[7; 4096]) {
                Ok(written) => taken += written,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            Ok((taken > 2 * 64 * 1024).then_some(()))
        })
        .unwrap();
    }

    fn hang_up(&mut self) {
        self.input = None;
    }
}

fn no_process_left(role: &Role) {
    eventually(SOON, "the last process of the tree to vanish", || {
        let left = processes_with_env(MARKER_VARIABLE, role.marker());
        Ok(left.iter().all(|pid| *pid == role.pid()).then_some(()))
    })
    .unwrap();
}

/// Bytes of every value that repeat in no pattern a pipe could hide.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn every_byte_passes_unchanged_and_at_once_in_both_directions_until_the_client_hangs_up() {
    let mut workshop = Workshop::new();
    let mut clients = ["plain", "watched"].map(|name| Client::new(workshop.folder.path(), name));
    let _agent = workshop.agent("helper plain -- cat & helper watched --idle 1h -- cat & wait");
    let helpers = workshop.helpers(2);
    for client in &mut clients {
        for said in [&b"a"[..], b"\n", b"\0\xff\xfe", b"{\"jsonrpc\":\"2.0\"}\n"] {
            client.echoes(said);
        }
        client.echoes(&(0..=255).collect::<Vec<u8>>());
        client.echoes(&bytes(1024 * 1024));
        client.hang_up();
    }
    assert_eq!([workshop.code("plain"), workshop.code("watched")], ["0", "0"]);
    for helper in helpers {
        assert_eq!(workshop.reason(&helper), "done");
    }
}

#[test]
fn what_a_command_says_last_reaches_the_client_that_is_slow_to_listen() {
    let workshop = Workshop::new();
    let last = bytes(40_000);
    fs::write(workshop.path("last"), &last).unwrap();
    let mut client = Client::new(workshop.folder.path(), "mcp");
    let _agent = workshop.agent("helper mcp --idle 1h -- sh -c 'cat last last; exit 3'");
    client.hears(&[&last[..], &last[..]].concat());
    assert_eq!(workshop.code("mcp"), "3");
}

/// One that does not even read, so that what the client said last stays on its way.
#[test]
fn a_command_that_goes_on_after_its_client_has_gone_is_ended() {
    let mut workshop = Workshop::new();
    let mut client = Client::new(workshop.folder.path(), "mcp");
    let agent = workshop
        .agent("helper mcp -- sh -c 'trap \"\" TERM; touch up; while :; do sleep 0.05; done' & wait; touch over; sleep 600");
    let helper = workshop.helpers(1).remove(0);
    workshop.wait_for("up");
    client.speak_in_vain(workshop.folder.path(), "mcp");
    client.hang_up();
    let code = workshop.code("mcp");
    assert!(code.starts_with("143") && code.contains("was stopped"), "{code}");
    assert_eq!(workshop.reason(&helper), "input_ended");
    workshop.wait_for("over");
    assert!(!workshop.is_registered(&helper) && workshop.is_registered(PARENT));
    drop(agent);
}

#[test]
fn a_helper_ends_once_nothing_was_said_for_as_long_as_it_was_given() {
    let mut workshop = Workshop::new();
    let mut client = Client::new(workshop.folder.path(), "mcp");
    let _agent = workshop.agent("helper mcp --idle 300ms -- cat; sleep 600");
    client.echoes(b"still there?");
    let helper = workshop.helpers(1).remove(0);
    assert_eq!(workshop.code("mcp"), "143");
    assert_eq!(workshop.reason(&helper), "idle");
}

/// In a session of its own and without any client that could hang up.
const FORGOTTEN: &str =
    "setsid sh -c 'exec 3<>mcp.in; exec AGENT run --with-parent -- sh -c \"touch up; cat\" <&3' &";

impl Workshop {
    fn agent_that_forgets(&self, script: &str) -> (Client, Role) {
        let client = Client::new(self.folder.path(), "mcp");
        let forgotten = FORGOTTEN.replace("AGENT", &role_binary("agent").unwrap().display().to_string());
        let agent = self.agent(&format!("{forgotten}\nuntil [ -e up ]; do sleep 0.02; done\n{script}"));
        self.wait_for("up");
        (client, agent)
    }
}

#[test]
fn a_clean_release_of_the_parent_leaves_no_helper() {
    for mode in ["auto", "none"] {
        let mut workshop = Workshop::held_by(mode);
        let (_client, mut agent) =
            workshop.agent_that_forgets("until [ -e go ]; do sleep 0.02; done; exit 0");
        let helper = workshop.helpers(1).remove(0);
        fs::write(workshop.path("go"), "").unwrap();
        assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{mode}: {}", agent.stderr());
        assert_eq!(workshop.fleet.residue(), [""; 0], "{mode}: without any sweeper");
        no_process_left(&agent);
        let log = workshop.fleet.log();
        let released = log.iter().any(|entry| entry["agentId"] == helper && entry["type"] == "release");
        assert!(released, "{mode}: {log:?}");
    }
}

/// The parent gives its tree, which the helper and its command are a part of, just as long as the helper its command.
#[test]
fn a_helper_whose_command_will_not_go_is_released_before_its_parent_kills_it() {
    let mut workshop = Workshop::new();
    let settings = fs::read_to_string(workshop.path("lifecycle.toml")).unwrap();
    fs::write(workshop.path("lifecycle.toml"), settings.replace("300ms", "5s")).unwrap();
    let mut client = Client::new(workshop.folder.path(), "mcp");
    let mut agent = workshop.agent(
        "helper mcp -- sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.05; done' &
         until [ -e go ]; do sleep 0.02; done; exit 0",
    );
    client.hears(b"up\n");
    let helper = workshop.helpers(1).remove(0);
    fs::write(workshop.path("go"), "").unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
    assert_eq!(workshop.reason(&helper), "SIGTERM");
    assert_eq!(workshop.fleet.residue(), [""; 0]);
    no_process_left(&agent);
}

#[test]
fn a_parent_that_is_killed_takes_its_helpers_along() {
    for mode in ["auto", "guard", "none"] {
        let mut workshop = Workshop::held_by(mode);
        let _sweeper = workshop.fleet.sweeper();
        let (_client, mut agent) = workshop.agent_that_forgets("sleep 600");
        let helper = workshop.helpers(1).remove(0);
        agent.kill().unwrap();
        if mode != "none" {
            no_process_left(&agent);
        }
        workshop.nothing_left();
        assert_eq!(processes_with_env("LIFECYCLE_AGENT_ID", helper), [0; 0], "{mode}");
        // Who sees the same pids as its parent bears witness of its end.
        if mode != "auto" {
            assert_eq!(workshop.reason(PARENT), "process_exited", "{mode}");
        }
    }
}

/// The parent's supervisor is stopped, so that only the store says so.
#[test]
fn a_helper_of_a_reaped_parent_ends() {
    let mut workshop = Workshop::new();
    let (_client, agent) = workshop.agent_that_forgets("sleep 600");
    let helper = workshop.helpers(1).remove(0);
    agent.signal(Signal::STOP).unwrap();
    let mut reap = workshop.fleet.role("lifecyclectl").args(["reap", PARENT, "--force"]).spawn().unwrap();
    assert_eq!(reap.wait(SOON).unwrap().code(), Some(0), "{}", reap.stderr());
    assert_eq!(workshop.reason(&helper), "coordinator_lost");
    workshop.nothing_left();
}

/// Nobody tells the helper: that happened in a store that went back in time.
#[test]
fn a_helper_ends_when_another_life_has_its_parents_id() {
    let mut workshop = Workshop::new();
    let (_client, agent) = workshop.agent_that_forgets("sleep 600");
    let helper = workshop.helpers(1).remove(0);
    agent.signal(Signal::STOP).unwrap();
    workshop.fleet.redis(&["HINCRBY", &format!("agent:state:{PARENT}"), "incarnation", "1"]);
    assert_eq!(workshop.reason(&helper), "coordinator_lost");
}

#[test]
fn several_helpers_have_ids_of_their_own_below_their_parent_in_a_listing() {
    let mut workshop = Workshop::new();
    let names = ["one", "two", "three", "four"];
    let _clients = names.map(|name| Client::new(workshop.folder.path(), name));
    let _agent = workshop.agent("for name in one two three four; do helper $name -- cat & done; wait");
    let helpers = workshop.helpers(4);
    assert!(helpers.iter().all(|id| id.starts_with("shop.coder-1.helper-")), "{helpers:?}");

    let mut list = workshop.fleet.role("lifecyclectl").args(["ps", "--tree"]).spawn().unwrap();
    assert_eq!(list.wait(SOON).unwrap().code(), Some(0), "{}", list.stderr());
    let drawn: Vec<String> = list.stdout().lines().skip(1).take(5).map(Into::into).collect();
    assert!(drawn[0].starts_with("shop.coder-1 "), "{drawn:#?}");
    for (line, helper) in drawn[1..].iter().zip(&helpers) {
        let stroke = if Some(helper) == helpers.last() { "`- " } else { "|- " };
        assert!(line.starts_with(&format!("{stroke}{helper}  cat ")), "{drawn:#?}");
    }

    let mut list =
        workshop.fleet.role("lifecyclectl").args(["ps", "--tree", "--output", "json"]).spawn().unwrap();
    assert_eq!(list.wait(SOON).unwrap().code(), Some(0), "{}", list.stderr());
    let listing: Value = serde_json::from_str(&list.stdout()).unwrap();
    let agents = listing["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 5);
    let of_parent = agents.iter().filter(|agent| agent["parent"] == PARENT && agent["kind"] == "cat");
    assert_eq!(of_parent.count(), 4);
}

#[test]
fn an_agent_in_an_agents_command_that_does_not_ask_for_a_parent_has_none() {
    let mut workshop = Workshop::new();
    let agent = role_binary("agent").unwrap();
    let _agent =
        workshop.agent(&format!("{} run --id shop.other -- sh -c 'touch up; sleep 600'", agent.display()));
    workshop.wait_for("up");
    assert!(workshop.is_registered("shop.other"));
    assert_eq!(workshop.fleet.client.text(&["HGET", "agent:state:shop.other", "parent"]).unwrap(), None);
}

#[test]
fn a_helper_of_nobody_is_refused_before_anything_is_started() {
    let mut workshop = Workshop::new();
    let none = workshop.outside();
    let rubbish = workshop.outside().env("LIFECYCLE_TOKEN", "shop.coder-1");
    for (role, named) in [(none, "no agent's token"), (rubbish, "<id>:<incarnation>")] {
        let mut helper = role.args(["--", "touch", "started"]).spawn().unwrap();
        assert_eq!(helper.wait(SOON).unwrap().code(), Some(2), "{}", helper.stderr());
        let said = helper.stderr();
        assert!(said.contains(named) && said.contains("--id") && said.lines().count() == 1, "{said}");
    }

    let gone = workshop.outside().env("LIFECYCLE_TOKEN", "shop.coder-1:17");
    let mut helper = gone.args(["--", "touch", "started"]).spawn().unwrap();
    assert_eq!(helper.wait(SOON).unwrap().code(), Some(1), "{}", helper.stderr());
    let said = helper.stderr();
    assert!(
        said.contains("shop.coder-1") && said.contains("--redis-url") && said.lines().count() == 1,
        "{said}"
    );

    let nowhere = workshop.outside().env("LIFECYCLE_TOKEN", "shop.coder-1:17");
    let nowhere = nowhere
        .env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1")
        .env("LIFECYCLE_REDIS__START_TIMEOUT", "200ms");
    let mut helper = nowhere.args(["--", "touch", "started"]).spawn().unwrap();
    assert_eq!(helper.wait(SOON).unwrap().code(), Some(69), "{}", helper.stderr());
    assert!(!workshop.path("started").exists());
    assert_eq!(workshop.fleet.residue(), [""; 0]);
}

#[test]
fn a_helper_of_an_earlier_life_is_refused_and_leaves_nothing() {
    let mut workshop = Workshop::new();
    let _agent = workshop.agent("touch up; sleep 600");
    workshop.wait_for("up");
    let stale = workshop.outside().env("LIFECYCLE_TOKEN", format!("{PARENT}:17"));
    let mut helper = stale.args(["--id", "shop.late", "--", "touch", "started"]).spawn().unwrap();
    assert_eq!(helper.wait(SOON).unwrap().code(), Some(1), "{}", helper.stderr());
    assert!(!workshop.path("started").exists() && !workshop.is_registered("shop.late"));
    assert_eq!(workshop.reason("shop.late"), "coordinator_lost");
}
