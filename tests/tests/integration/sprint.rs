//! `coordinator run`: whole sprints of real commands, and what happens to them when something dies.
#![cfg(target_os = "linux")]

mod costs;
mod ids;
mod rollback;
mod rubbish;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_tests::process::MARKER_VARIABLE;
use lifecycle_tests::{Reply, Role, eventually, processes_with_env};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

/// A whole sprint on a busy machine.
const SPRINT: Duration = Duration::from_secs(60);

/// A folder with a plan, in which its commands run and leave their marks.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new(plan: &str) -> Self {
        Self::of_epic("shop", plan)
    }

    fn of_epic(epic: &str, plan: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lifecycle-plan-").tempdir().unwrap();
        fs::write(folder.path().join("plan.toml"), format!("[epic]\nid = {epic:?}\n{plan}")).unwrap();
        Self { folder }
    }

    fn coordinator(&self, fleet: &Fleet) -> Role {
        let command = fleet.role("coordinator").args(["run", "plan.toml", "--output", "json"]);
        command.in_folder(self.folder.path()).spawn().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn open(&self, gate: &str) {
        fs::write(self.path(gate), "").unwrap();
    }

    fn wait_for_lines(&self, name: &str, count: usize) -> Vec<String> {
        eventually(SOON, &format!("{count} lines in {name}"), || {
            let lines = self.lines(name);
            Ok((lines.len() >= count).then_some(lines))
        })
        .unwrap()
    }
}

/// One sprint; its agents are called `<id>-coder-1`, `<id>-coder-2`, …; a task is `(id, further lines)`.
fn sprint(id: &str, after: &[&str], agents: usize, script: &str, tasks: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[[sprint]]\nid = \"{id}\"\nafter = {after:?}\n[[sprint.agent]]\nid = \"{id}-coder\"\ncount = {agents}\n\
         command = [\"sh\", \"-c\", '''{script}''']\n"
    );
    for (task, more) in tasks {
        text += &format!("[[sprint.task]]\nid = \"{task}\"\n{more}\n");
    }
    text
}

/// Waits until `gate` is there.
fn until(gate: &str) -> String {
    format!("until [ -e {gate} ]; do sleep 0.02; done")
}

fn finish(coordinator: &mut Role) -> (Option<i32>, serde_json::Value) {
    let code = coordinator.wait(SPRINT).unwrap().code();
    let stdout = coordinator.stdout();
    let summary = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout:?}, {}", coordinator.stderr()));
    (code, summary)
}

fn task<'a>(summary: &'a serde_json::Value, id: &str) -> &'a serde_json::Value {
    let sprints = summary["sprints"].as_array().unwrap();
    let mut tasks = sprints.iter().flat_map(|sprint| sprint["tasks"].as_array().unwrap());
    tasks.find(|task| task["taskId"] == id).unwrap()
}

fn pid_of(fleet: &mut Fleet, agent: &str) -> Option<Pid> {
    let pid = fleet.client.text(&["HGET", &format!("agent:state:{agent}"), "pid"]).unwrap()?;
    Pid::from_raw(pid.parse().unwrap())
}

fn kill(fleet: &mut Fleet, agent: &str) {
    kill_process(pid_of(fleet, agent).unwrap(), Signal::KILL).unwrap();
}

fn nothing_is_left(fleet: &mut Fleet, coordinator: &Role) {
    eventually(SOON, "the last process of the epic to vanish", || {
        let left = processes_with_env(MARKER_VARIABLE, coordinator.marker());
        Ok(left.is_empty().then_some(()))
    })
    .unwrap();
    let mut left = Vec::new();
    let gone = eventually(SOON, "the last key of the epic to vanish", || {
        left = fleet.residue();
        Ok(left.is_empty().then_some(()))
    });
    gone.unwrap_or_else(|error| panic!("{error}: {left:?}"));
}

#[test]
fn sprints_run_side_by_side_unless_after_orders_them() {
    let meet = |own: &str, other: &str| {
        format!("touch {own}.up; {}; touch {own}.done", until(&format!("{other}.up")))
    };
    let plan = [
        sprint("ship", &["api", "web"], 1, "test -e api.done && test -e web.done", &[("go", "attempts = 1")]),
        sprint("api", &[], 1, &meet("api", "web"), &[("a", "")]),
        sprint("web", &[], 1, &meet("web", "api"), &[("w", "")]),
    ];
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan.concat()));
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_task_begins_once_all_it_needs_is_complete_and_its_output_is_kept() {
    let tasks = [
        ("third", "needs = [\"first\", \"second\"]"),
        ("second", "needs = [\"first\"]"),
        ("first", "input = 'say $HOME'"),
    ];
    let script = "echo {task} >> order; printf '%s\n' \"$LIFECYCLE_TASK_INPUT\"";
    let (fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 3, script, &tasks)));
    let mut coordinator = stage.coordinator(&fleet);
    assert_eq!(finish(&mut coordinator).0, Some(0));
    assert_eq!(stage.lines("order"), ["first", "second", "third"]);
    assert_eq!(stage.lines("runs/shop/api/first.log"), ["say $HOME"]);
}

#[test]
fn a_task_that_needs_a_failed_one_fails_unrun_and_the_sprint_completes_with_exit_1() {
    let tasks = [
        ("bad", "attempts = 2"),
        ("next", "needs = [\"bad\"]"),
        ("last", "needs = [\"next\"]"),
        ("good", ""),
    ];
    let script = "echo {task} >> begun; test {task} != bad";
    let plan = sprint("api", &[], 1, script, &tasks) + &sprint("ship", &["api"], 1, script, &[("go", "")]);
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan));
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(code, Some(1));
    for (id, state, attempts, detail) in [
        ("bad", "failed", 2, "exit 1"),
        ("next", "failed", 0, "needs bad, which failed"),
        ("last", "failed", 0, "needs next, which failed"),
        ("good", "completed", 1, "exit 0"),
        ("go", "failed", 0, "not run: sprint shop.api failed"),
    ] {
        let task = task(&summary, id);
        assert_eq!(
            (&task["state"], &task["attempts"], &task["detail"]),
            (&state.into(), &attempts.into(), &detail.into())
        );
    }
    let mut begun = stage.lines("begun");
    begun.sort();
    assert_eq!(begun, ["bad", "bad", "good"]);
    nothing_is_left(&mut fleet, &coordinator);
}

/// The audit entry of an agent's cleanup, names and values in turn.
fn cleanup_of(fleet: &mut Fleet, agent: &str) -> Vec<String> {
    let Reply::Array(entries) = fleet.client.run(&["XRANGE", "agents:log", "-", "+"]).unwrap() else {
        return vec![];
    };
    let fields = entries.iter().map(|entry| match entry {
        Reply::Array(parts) => parts[1].texts(),
        _ => vec![],
    });
    let mut cleanups = fields.filter(|fields| {
        let says = |name: &str, value: &str| fields.windows(2).any(|pair| pair == [name, value]);
        says("type", "cleanup") && says("agentId", agent)
    });
    cleanups.next().unwrap_or_default()
}

/// Hangs in the first attempt, completes in any other.
fn hang_once() -> String {
    format!(
        "echo $LIFECYCLE_AGENT_ID >> begun; [ $LIFECYCLE_TASK_ATTEMPT -gt 1 ] || {{ {}; }}",
        until("never")
    )
}

#[test]
fn an_agent_over_its_soft_memory_limit_finishes_its_task_and_a_fresh_one_does_the_next() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(5));
    let mut alerts = fleet.server.client().unwrap().subscribe(&["system:alerts"]).unwrap();
    let script = "[ $LIFECYCLE_TASK_ID = small ] || x=$(head -c 60000000 /dev/zero | tr '\\0' a); \
                  echo $LIFECYCLE_TASK_ID $LIFECYCLE_TOKEN >> lives; until [ -e gate ]; do sleep 0.02; done";
    let plan = sprint("s", &[], 1, script, &[("large", ""), ("small", "needs = [\"large\"]")]);
    let stage = Stage::new(&plan.replace("count = 1", "count = 1\nmemory_soft_limit = \"40MiB\""));
    let mut coordinator = stage.coordinator(&fleet);
    let (_, alert) = alerts.next(SOON).unwrap().unwrap();
    let alert: Event = decode(&alert).unwrap();
    assert_eq!(alert.agent_id.as_deref(), Some("shop.s-coder"));
    assert!(
        matches!(alert.payload, Payload::MemoryLimitExceeded { reason: Some(limit), .. } if limit == "soft")
    );
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(code, Some(0), "{summary}");
    for id in ["large", "small"] {
        assert_eq!(
            (&task(&summary, id)["state"], &task(&summary, id)["attempts"]),
            (&"completed".into(), &1.into())
        );
    }
    let lives = stage.lines("lives");
    let token = |index: usize| lives[index].split(' ').nth(1).unwrap().to_owned();
    assert!(lives.len() == 2 && token(0) != token(1), "two lives of one id: {lives:?}");
    nothing_is_left(&mut fleet, &coordinator);
}

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
    let cleanup = cleanup_of(&mut fleet, &first);
    assert!(cleanup.windows(2).any(|pair| pair == ["reason", "process_exited"]), "{cleanup:?}");
}

#[test]
fn a_task_begins_again_only_once_what_its_killed_agent_left_running_has_ended() {
    let stubborn = format!("trap '' TERM HUP; echo $$ > pid; echo up >> begun; {}", until("never"));
    let script = format!(
        "if [ $LIFECYCLE_TASK_ATTEMPT -gt 1 ]; then ! grep -q '^State:.[RSD]' /proc/$(cat pid)/status; else {stubborn}; fi"
    );
    let stage = Stage::new(&sprint("api", &[], 2, &script, &[("t", "attempts = 1")]));
    let mut fleet = Fleet::with_lease(Duration::from_secs(5));
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
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, script, &tasks)));
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
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, "kill -9 $PPID", &tasks)));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["agentRestarts"]), (Some(1), &3.into()), "{}", coordinator.stderr());
    let deadly = task(&summary, "deadly");
    assert_eq!((&deadly["crashes"], &deadly["detail"]), (&4.into(), &"no agent left to run it".into()));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_coordinator_that_is_killed_leaves_no_process_and_no_key_within_seconds() {
    let script = format!("echo {{task}} >> begun; setsid sleep 600 & {}", until("never"));
    let plan = sprint("api", &[], 2, &script, &[("a", ""), ("b", "")])
        + &sprint("web", &[], 1, &script, &[("c", "")]);
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 3);
    coordinator.kill().unwrap();
    nothing_is_left(&mut fleet, &coordinator);
}

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
    fleet.client.run(&["FLUSHALL"]).unwrap();
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
fn an_interrupted_coordinator_ends_its_agents_removes_everything_and_exits_with_the_signals_code() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let script = format!("echo {{task}} >> begun; {}", until("never"));
        let (mut fleet, stage) =
            (Fleet::new(), Stage::new(&sprint("api", &[], 2, &script, &[("a", ""), ("b", "")])));
        let mut coordinator = stage.coordinator(&fleet);
        stage.wait_for_lines("begun", 2);
        coordinator.signal(signal).unwrap();
        let (exit, summary) = finish(&mut coordinator);
        assert_eq!(
            (exit, &summary["outcome"], &summary["tasksLeft"]),
            (Some(code), &"interrupted".into(), &2.into())
        );
        nothing_is_left(&mut fleet, &coordinator);
    }
}

#[test]
fn a_second_signal_ends_even_commands_that_ignore_the_first() {
    let script = format!("trap '' TERM INT HUP; echo {{task}} >> begun; {}", until("never"));
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &[("a", "")])));
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    coordinator.signal(Signal::INT).unwrap();
    coordinator.wait_for_line(|line| line.contains("no more work is handed out"), SOON).unwrap();
    coordinator.signal(Signal::INT).unwrap();
    assert_eq!(finish(&mut coordinator).0, Some(130));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_drained_coordinator_finishes_the_tasks_in_flight_and_begins_no_more() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let tasks = [("a", ""), ("b", "needs = [\"a\"]")];
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &tasks)));
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    let mut order = fleet.role("lifecyclectl").args(["drain", "shop.coordinator"]).spawn().unwrap();
    order.wait(SOON).unwrap();
    coordinator.wait_for_line(|line| line.contains("no more work is handed out"), SOON).unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(
        (code, &task(&summary, "a")["state"], &task(&summary, "b")["state"]),
        (Some(1), &"completed".into(), &"pending".into())
    );
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_second_coordinator_of_the_epic_is_refused_naming_the_first_until_it_takes_over() {
    let script = format!("echo {{task}} >> begun; {}", until("gate"));
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, &script, &[("a", "")])));
    let _sweeper = fleet.sweeper();
    let mut first = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 1);
    let mut second = stage.coordinator(&fleet);
    assert_eq!(second.wait(SOON).unwrap().code(), Some(1));
    let said = second.stderr();
    assert!(said.lines().count() == 1 && said.contains(&format!("pid {}", first.pid())), "{said}");

    let takeover = fleet.role("coordinator").args(["run", "plan.toml", "--output", "json", "--takeover"]);
    let mut third = takeover.in_folder(stage.folder.path()).spawn().unwrap();
    assert_eq!(first.wait(SPRINT).unwrap().code(), Some(70), "{}", first.stderr());
    stage.wait_for_lines("begun", 2);
    stage.open("gate");
    assert_eq!(finish(&mut third).0, Some(0), "{}", third.stderr());
    nothing_is_left(&mut fleet, &first);
    nothing_is_left(&mut fleet, &third);
}

fn refused(fleet: &Fleet, plan: &str) -> String {
    let stage = Stage::new(plan);
    let mut lines = Vec::new();
    for command in ["run", "check"] {
        let role = fleet.role("coordinator").args([command, "plan.toml"]).in_folder(stage.folder.path());
        let mut coordinator = role.spawn().unwrap();
        assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(2), "{plan}: {}", coordinator.stderr());
        assert_eq!(coordinator.stdout(), "");
        lines.push(coordinator.stderr());
    }
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[0].lines().count(), 1, "{}", lines[0]);
    lines.remove(0)
}

#[test]
fn a_bad_plan_is_refused_in_one_line_with_exit_2_and_nothing_is_started() {
    let mut fleet = Fleet::new();
    let good = |tasks: &[(&str, &str)]| sprint("api", &[], 1, "true", tasks);
    for (plan, named) in [
        (good(&[("a", "needs = [\"b\"]"), ("b", "needs = [\"a\"]")]), "a"),
        (good(&[("a", ""), ("a", "")]), "unique"),
        (good(&[("a", "atempts = 2")]), "atempts"),
        (good(&[("a", "needs = [\"nobody\"]")]), "nobody"),
        (
            "[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"c\"\n[[sprint.task]]\nid = \"t\"\n".into(),
            "command",
        ),
        (good(&[("a", "")]).replace("[\"sh\"", "[\"no-such-program\""), "no-such-program"),
        ("[[sprint]".into(), "line 3"),
    ] {
        let said = refused(&fleet, &plan);
        assert!(said.starts_with("error: plan.toml: ") && said.contains(named), "{named}: {said}");
    }
    let mut coordinator = fleet.role("coordinator").args(["run", "missing.toml"]).spawn().unwrap();
    assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(2));
    assert_eq!(coordinator.stderr().lines().count(), 1, "{}", coordinator.stderr());
    assert_eq!(fleet.client.keys().unwrap(), [""; 0]);
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

#[test]
fn a_signal_is_passed_on_to_the_command_at_work_and_to_none_before_it() {
    let script = format!("echo {{task}} >> begun; [ {{task}} != last ] || {}", until("never"));
    let tasks = [("a", ""), ("b", ""), ("last", "needs = [\"a\", \"b\"]")];
    let stage = Stage::new(&sprint("api", &[], 1, &script, &tasks));
    // What agents do besides warning of something is in their logs where it is asked for.
    let mut fleet = Fleet::new().set("LIFECYCLE_LOG__LEVEL", "info");
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 3);
    coordinator.signal(Signal::TERM).unwrap();
    assert_eq!(finish(&mut coordinator).0, Some(143));
    let log = fs::read_to_string(stage.path("runs/shop/api/agents/api-coder.log")).unwrap();
    // The groups of commands that have ended may be somebody else's by now.
    assert_eq!(log.matches("passing the signal on").count(), 1, "{log}");
    nothing_is_left(&mut fleet, &coordinator);
}
