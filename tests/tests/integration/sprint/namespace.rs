//! Agents in other namespaces. In a network namespace, with an address of its own: an agent joins, is cut off for longer than
//! its lease, and comes back. In a PID namespace, as on another host: agents are known by their lease alone.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use lifecycle_tests::{Role, binaries::role_binary, eventually, process::descendants, program::on_path};
use rustix::process::{Pid, Signal, kill_process};

use super::{SPRINT, Stage, finish, nothing_is_left, sprint, until};
use crate::fleet::{Fleet, SOON};

/// A network namespace that reaches this host over one link, and on it a way to the store.
struct Elsewhere {
    name: String,
    link: String,
    /// Where the store is, seen from there.
    store: String,
}

impl Elsewhere {
    /// `None` where this user may not make one, or there is no `ip`.
    fn make(fleet: &Fleet) -> Option<Self> {
        on_path("ip")?;
        let number = std::process::id();
        let (name, link, peer) = (format!("lc{number}"), format!("lca{number}"), format!("lcb{number}"));
        let net = format!("10.{}.{}", 100 + number / 250 % 100, number % 250);
        if !ip(&["netns", "add", &name]) {
            return None;
        }
        let mut made = Self { name, link, store: String::new() };
        let steps: &[&[&str]] = &[
            &["link", "add", &made.link, "type", "veth", "peer", "name", &peer],
            &["link", "set", &peer, "netns", &made.name],
            &["addr", "add", &format!("{net}.1/24"), "dev", &made.link],
            &["link", "set", &made.link, "up"],
            &["-n", &made.name, "addr", "add", &format!("{net}.2/24"), "dev", &peer],
            &["-n", &made.name, "link", "set", &peer, "up"],
            &["-n", &made.name, "link", "set", "lo", "up"],
        ];
        if !steps.iter().all(|step| ip(step)) {
            return None;
        }
        made.store = format!("redis://{}", forward(&format!("{net}.1:0"), fleet.server.port()).ok()?);
        Some(made)
    }

    /// Cuts the link, or mends it.
    fn set_link(&self, state: &str) {
        assert!(ip(&["link", "set", &self.link, state]), "the link could not be set {state}");
    }

    fn join(&self, fleet: &Fleet, stage: &Stage, id: &str, script: &str) -> Role {
        let agent = role_binary("agent").unwrap();
        let command = fleet.program("agent", &on_path("ip").unwrap());
        let command = command.args(["netns", "exec", &self.name]).arg(agent);
        let command =
            command.args(["run", "--epic", "shop", "--sprint", "api", "--pool", "hands", "--id", id]);
        let command = command.args(["--", "sh", "-c", script]).env("LIFECYCLE_REDIS__URL", &self.store);
        command.in_folder(stage.folder.path()).spawn().unwrap()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // The link goes with one of its ends.
        ip(&["netns", "del", &self.name]);
        ip(&["link", "del", &self.link]);
    }
}

fn ip(args: &[&str]) -> bool {
    let quiet = Command::new("ip").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Passes connections on to a port of this host, for as long as the test runs. Returns where it listens.
fn forward(address: &str, port: u16) -> io::Result<String> {
    let listener = TcpListener::bind(address)?;
    let listens_at = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for there in listener.incoming().flatten() {
            let Ok(here) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let (Ok(mut from_there), Ok(mut from_here)) = (there.try_clone(), here.try_clone()) else {
                continue;
            };
            let (mut there, mut here) = (there, here);
            thread::spawn(move || io::copy(&mut from_there, &mut here));
            thread::spawn(move || io::copy(&mut from_here, &mut there));
        }
    });
    Ok(listens_at)
}

#[test]
fn an_agent_that_was_cut_off_for_longer_than_its_lease_comes_back_and_no_task_is_done_twice() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2)).set("LIFECYCLE_REDIS__COMMAND_TIMEOUT", "1s");
    let Some(elsewhere) = Elsewhere::make(&fleet) else {
        println!("skipped: no network namespace can be made here");
        return;
    };
    let plan = "[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"hands\"\nspawn = false\n[[sprint.task]]\nid = \"a\"\n\
                [[sprint.task]]\nid = \"b\"\nneeds = [\"a\"]\n";
    let stage = Stage::new(plan);
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    let script =
        format!("echo $LIFECYCLE_TASK_ID >> begun; {}; echo $LIFECYCLE_TASK_ID >> ended", until("gate"));
    let mut far = elsewhere.join(&fleet, &stage, "shop.far", &script);
    stage.wait_for_lines("begun", 1);
    let (life, boss) = (fleet.incarnation("shop.far"), fleet.incarnation("shop.coordinator"));
    elsewhere.set_link("down");
    fleet.wait_until("it to be reaped", |client| !client.exists("agent:state:shop.far").unwrap());
    elsewhere.set_link("up");
    let back = eventually(SPRINT, "it to come back", || {
        let now = fleet.incarnation("shop.far");
        Ok((now.is_some() && now != life).then_some(()))
    });
    back.unwrap_or_else(|error| panic!("{error}: {}", far.stderr()));
    assert_eq!(fleet.incarnation("shop.coordinator"), boss, "no coordinator was restarted");
    stage.wait_for_lines("begun", 2);
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    let first = &summary["sprints"][0]["tasks"][0];
    assert_eq!(
        (&first["crashes"], &first["attempts"]),
        (&1.into(), &1.into()),
        "a lost connection is no failure"
    );
    assert_eq!(stage.lines("ended"), ["a", "b"], "the first run of a was ended before its second began");
    assert_eq!(far.wait(SOON).unwrap().code(), Some(0), "{}", far.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

/// The coordinator that runs in another PID namespace, seen from here.
fn coordinator_below(role: &Role) -> Option<Pid> {
    let is_coordinator = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "coordinator")
    };
    let found = descendants(role.pid()).into_iter().find(is_coordinator)?;
    Pid::from_raw(i32::try_from(found).ok()?)
}

#[test]
fn living_agents_of_a_coordinator_on_another_host_are_adopted_by_their_lease() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    if !rustix::process::getuid().is_root() || on_path("unshare").is_none() {
        println!("skipped: no PID namespace can be made here");
        return;
    }
    let script = format!("echo {{task}} >> begun; {}; echo {{task}} >> ended", until("gate"));
    let stage = Stage::new(&sprint("api", &[], 2, &script, &[("a", ""), ("b", ""), ("c", "")]));
    let _sweeper = fleet.sweeper();
    let run = format!("{} run plan.toml & exec sleep 600", role_binary("coordinator").unwrap().display());
    let command = fleet.program("elsewhere", &on_path("unshare").unwrap());
    let command = command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]).arg(run);
    let mut elsewhere = command.in_folder(stage.folder.path()).spawn().unwrap();
    stage.wait_for_lines("begun", 2);
    let agents = ["shop.api-coder-1", "shop.api-coder-2"];
    let lives = agents.map(|agent| fleet.incarnation(agent));
    kill_process(coordinator_below(&elsewhere).unwrap(), Signal::KILL).unwrap();
    let run = fleet.role("coordinator").args(["run", "plan.toml", "--wait", "--output", "json"]);
    let mut second = run.in_folder(stage.folder.path()).spawn().unwrap();
    for agent in agents {
        second.wait_for_line(|line| line.contains(&format!("{agent} adopted, on ")), SOON).unwrap();
    }
    assert_eq!(agents.map(|agent| fleet.incarnation(agent)), lives, "they live on");
    stage.open("gate");
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", second.stderr());
    assert_eq!((stage.lines("begun").len(), stage.lines("ended").len()), (3, 3), "each task once");
    nothing_is_left(&mut fleet, &second);
    elsewhere.kill().unwrap();
}
