//! A plan that lives: tasks are added, cancelled and done again while the epic runs or waits, and what they leave is handed on.

use std::fs;
use std::io::Write as _;

use lifecycle_tests::{Role, eventually, processes_with_env};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::{Stage, finish, nothing_is_left, only_the_epic_waits, pid_of, sprint, task, until};
use crate::fleet::{Fleet, SOON};

/// Runs what a task's input says.
const RUN_INPUT: &str = "eval \"$LIFECYCLE_TASK_INPUT\"";

/// A sprint that is kept open, with two agents that run what the input says.
fn open_plan(tasks: &[(&str, &str)]) -> String {
    sprint("api", &[], 2, RUN_INPUT, tasks).replace("[[sprint]]\n", "[[sprint]]\nopen = true\n")
}

/// What a command of an operator answered.
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stderr))
    }

    /// One clear line, and nothing else.
    fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{} {}", self.stdout, self.stderr);
        assert!(self.stderr.contains(words) && self.stderr.lines().count() == 1, "{}", self.stderr);
    }
}

fn ctl(fleet: &Fleet, args: &[&str]) -> Answer {
    let mut ran = fleet.role("lifecyclectl").args(args).args(["--output", "json"]).spawn().unwrap();
    let code = ran.wait(SOON).unwrap().code();
    Answer { code, stdout: ran.stdout(), stderr: ran.stderr() }
}

fn add(fleet: &Fleet, id: &str, more: &[&str]) -> Answer {
    ctl(fleet, &[&["task", "add", "shop/api", "--id", id], more].concat())
}

fn state_of(fleet: &Fleet, id: &str) -> Value {
    ctl(fleet, &["task", "show", &format!("shop/api/{id}")]).json()["state"].clone()
}

fn wait_for_state(fleet: &Fleet, id: &str, wanted: &str) {
    eventually(SOON, &format!("{id} to be {wanted}"), || Ok((state_of(fleet, id) == wanted).then_some(())))
        .unwrap();
}

fn started(fleet: &Fleet, stage: &Stage) -> Role {
    let coordinator = stage.coordinator(fleet);
    coordinator.wait_for_line(|line| line.contains("api: started"), SOON).unwrap();
    coordinator
}

fn close(fleet: &Fleet) {
    assert_eq!(ctl(fleet, &["sprint", "close", "shop/api"]).code, Some(0));
}

#[test]
fn a_result_is_kept_shown_and_handed_to_the_tasks_that_need_it() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[])));
    let mut coordinator = started(&fleet, &stage);
    add(&fleet, "write", &["--input", "printf 'two words\\n' > $LIFECYCLE_TASK_RESULT"]);
    let input = "echo \"[{result:write}]\" > argument; cp $LIFECYCLE_TASK_RESULTS/write.txt file";
    let added = add(&fleet, "read", &["--needs", "write", "--input", input]);
    assert_eq!(added.json(), serde_json::json!({ "sprint": "shop.api", "added": 1, "unchanged": 0 }));
    wait_for_state(&fleet, "read", "completed");
    assert_eq!(stage.lines("argument"), ["[two words]"]);
    assert_eq!(fs::read_to_string(stage.path("file")).unwrap(), "two words\n");
    let shown = ctl(&fleet, &["task", "show", "shop/api/write"]).json();
    assert_eq!((&shown["result"], &shown["detail"]), (&"two words\n".into(), &"exit 0".into()));
    let log = ctl(&fleet, &["task", "logs", "shop/api/read"]);
    assert_eq!((log.code, log.stdout.as_str()), (Some(0), ""));
    close(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_result_that_is_too_long_or_no_text_is_cut_or_mended_and_that_is_told() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[])));
    let mut coordinator = started(&fleet, &stage);
    add(&fleet, "long", &["--input", "head -c 66560 /dev/zero | tr '\\0' x > $LIFECYCLE_TASK_RESULT"]);
    add(&fleet, "bytes", &["--input", "printf 'a\\377b' > $LIFECYCLE_TASK_RESULT"]);
    add(&fleet, "fifo", &["--input", "mkfifo $LIFECYCLE_TASK_RESULT"]);
    for id in ["long", "bytes", "fifo"] {
        wait_for_state(&fleet, id, "completed");
    }
    let long = ctl(&fleet, &["task", "show", "shop/api/long"]).json();
    assert_eq!(long["result"].as_str().map(str::len), Some(64 * 1024));
    assert_eq!(long["detail"], "exit 0, result cut to 65536 of 66560 bytes");
    let bytes = ctl(&fleet, &["task", "show", "shop/api/bytes"]).json();
    assert_eq!(bytes["result"], "a\u{fffd}b");
    assert!(bytes["detail"].as_str().unwrap().contains("no UTF-8 text"), "{bytes}");
    let fifo = ctl(&fleet, &["task", "show", "shop/api/fifo"]).json();
    assert!(fifo["detail"].as_str().unwrap().contains("could not be read"), "{fifo}");
    close(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &task(&summary, "long")["exitCode"]), (Some(0), &0.into()));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_cancelled_task_is_ended_what_needs_it_fails_and_both_can_be_done_after_all() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[])));
    let mut coordinator = started(&fleet, &stage);
    let waits = format!("echo x >> begun; {}; echo x >> ended", until("gate"));
    add(&fleet, "hangs", &["--input", &waits]);
    add(&fleet, "needs", &["--needs", "hangs", "--input", "echo x >> ended"]);
    stage.wait_for_lines("begun", 1);
    let agent = ctl(&fleet, &["task", "show", "shop/api/hangs"]).json()["agentId"].clone();
    let cancelled = ctl(&fleet, &["task", "cancel", "shop/api/hangs"]).json();
    assert_eq!((&cancelled["agentId"], &cancelled["already"]), (&agent, &false.into()));
    eventually(SOON, "its processes to end", || {
        let left = processes_with_env("LIFECYCLE_TASK_ID", "hangs");
        Ok(left.is_empty().then_some(()))
    })
    .unwrap();
    wait_for_state(&fleet, "needs", "failed");
    let agent = agent.as_str().unwrap();
    fleet.wait_until("its agent to be free", |client| {
        client.text(&["HGET", &format!("agent:state:{agent}"), "state"]).unwrap().as_deref()
            == Some("running")
    });
    assert_eq!(ctl(&fleet, &["task", "cancel", "shop/api/hangs"]).json()["already"], true);
    stage.open("gate");
    assert_eq!(ctl(&fleet, &["task", "retry", "shop/api/hangs"]).json()["retried"], 2);
    wait_for_state(&fleet, "needs", "completed");
    ctl(&fleet, &["task", "cancel", "shop/api/needs"]).refused(1, "task needs is completed");
    ctl(&fleet, &["task", "retry", "shop/api/needs"]).refused(1, "task needs is completed");
    assert_eq!(stage.lines("ended").len(), 2);
    close(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn what_was_asked_is_kept_when_the_coordinator_goes_and_obeyed_by_the_next() {
    let mut fleet = Fleet::new().set("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "500ms");
    let stage = Stage::new(&open_plan(&[("planned", "input = \"echo planned >> ended\"")]));
    let _sweeper = fleet.sweeper();
    let mut first = started(&fleet, &stage);
    stage.wait_for_lines("ended", 1);
    assert_eq!(ctl(&fleet, &["sprint", "pause", "shop/api"]).json()["already"], false);
    first.wait_for_line(|line| line.contains("paused by an operator"), SOON).unwrap();
    add(&fleet, "early", &["--input", "echo early >> ended"]);
    first.wait_for_line(|line| line.contains("1 task added"), SOON).unwrap();
    first.kill().unwrap();
    only_the_epic_waits(&mut fleet, &first);
    assert_eq!(add(&fleet, "late", &["--input", "echo late >> ended"]).json()["added"], 1);
    add(&fleet, "unwanted", &["--input", "echo unwanted >> ended"]);
    assert_eq!(ctl(&fleet, &["task", "cancel", "shop/api/unwanted"]).code, Some(0));
    let epics = ctl(&fleet, &["epics"]).json();
    assert_eq!((&epics["epics"][0]["tasks"], &epics["epics"][0]["status"]), (&4.into(), &"waiting".into()));
    let mut second = stage.coordinator(&fleet);
    second.wait_for_line(|line| line.contains("going on with epic shop: 1 of 4 tasks"), SOON).unwrap();
    fleet.wait_until("an agent to be idle", |client| {
        client.text(&["HGET", "agent:state:shop.api-coder-1", "state"]).unwrap().as_deref() == Some("running")
    });
    assert_eq!(
        ctl(&fleet, &["task", "list", "shop", "--state", "pending"]).json()["tasks"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(ctl(&fleet, &["sprint", "resume", "shop/api"]).json()["state"], "resumed");
    close(&fleet);
    let (code, summary) = finish(&mut second);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", second.stderr());
    let mut ended = stage.lines("ended");
    ended.sort_unstable();
    assert_eq!(ended, ["early", "late", "planned"]);
    nothing_is_left(&mut fleet, &second);
}

#[test]
fn a_store_that_loses_its_memory_is_told_again_what_was_added_and_asked() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[])));
    let mut coordinator = started(&fleet, &stage);
    add(&fleet, "hold", &["--input", &format!("echo x >> begun; {}", until("gate"))]);
    add(&fleet, "after", &["--needs", "hold", "--input", "echo x >> ended"]);
    stage.wait_for_lines("begun", 1);
    close(&fleet);
    coordinator.wait_for_line(|line| line.contains("closed by an operator"), SOON).unwrap();
    fleet.redis(&["FLUSHALL"]);
    coordinator.wait_for_line(|line| line.contains("lost its memory"), SOON).unwrap();
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    assert_eq!((stage.lines("begun").len(), stage.lines("ended").len()), (1, 1));
    nothing_is_left(&mut fleet, &coordinator);
}

/// All tasks are done and the agents are told to leave. One of them does not leave yet, so the end is under way for long.
#[test]
fn a_task_that_comes_while_the_sprint_is_about_to_end_is_done() {
    let input =
        format!("input = \"echo $LIFECYCLE_AGENT_ID >> begun; {}; echo only >> ended\"", until("gate"));
    let plan = sprint("api", &[], 2, RUN_INPUT, &[("only", &input)]);
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan));
    let mut coordinator = stage.coordinator(&fleet);
    let at_work = stage.wait_for_lines("begun", 1).remove(0);
    let agents = ["shop.api-coder-1", "shop.api-coder-2"];
    let idle = agents.into_iter().find(|agent| *agent != at_work).unwrap();
    let stopped = eventually(SOON, "the idle agent", || Ok(pid_of(&mut fleet, idle))).unwrap();
    kill_process(stopped, Signal::STOP).unwrap();
    stage.open("gate");
    fleet.wait_until("the other agent to have left", |client| {
        client.entries("agents:log").unwrap().iter().any(|entry| entry["agentId"] == at_work)
    });
    assert_eq!(add(&fleet, "late", &["--input", "echo late >> ended"]).code, Some(0));
    kill_process(stopped, Signal::CONT).unwrap();
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &2.into()), "{}", coordinator.stderr());
    assert_eq!(stage.lines("ended"), ["only", "late"]);
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_task_that_failed_waits_before_it_is_tried_again_and_longer_each_time() {
    let times = "input = \"date +%s%3N >> times; exit 1\"\nattempts = 3\nretry_backoff = \"300ms\"";
    let (mut fleet, stage) =
        (Fleet::new(), Stage::new(&sprint("api", &[], 1, RUN_INPUT, &[("fails", times)])));
    let mut coordinator = stage.coordinator(&fleet);
    let (code, _) = finish(&mut coordinator);
    assert_eq!(code, Some(1));
    let times: Vec<u64> = stage.lines("times").iter().map(|time| time.parse().unwrap()).collect();
    // The server counts whole milliseconds.
    assert!(times[1] - times[0] >= 299 && times[2] - times[1] >= 599, "{times:?}");
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn rubbish_from_operators_gets_one_clear_line_and_nothing_is_half_done() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[("planned", "input = \"true\"")])));
    let mut coordinator = started(&fleet, &stage);
    wait_for_state(&fleet, "planned", "completed");
    let keys = fleet.residue();
    ctl(&fleet, &["task", "show", "shop/api/nobody"]).refused(1, "has no task nobody");
    ctl(&fleet, &["task", "list", "nowhere"]).refused(1, "no epic nowhere");
    ctl(&fleet, &["sprint", "pause", "shop/nowhere"])
        .refused(1, "epic shop has no sprint nowhere: it has api");
    add(&fleet, "planned", &["--input", "other"]).refused(1, "a task planned already");
    add(&fleet, "orphan", &["--needs", "nobody"]).refused(1, "needs nobody");
    add(&fleet, "zero", &["--attempts", "0"]).refused(2, "attempts is 0: use 1 to 100");
    let lines = stage.path("tasks.jsonl");
    fs::write(&lines, "{\"id\":\"one\"}\n{\"id\":\"two\",\"atempts\":1}\n{\"id\":\"three\"}\n").unwrap();
    let from = ["task", "add", "shop/api", "--from", lines.to_str().unwrap()];
    ctl(&fleet, &from).refused(2, "line 2: no task in JSON: unknown field `atempts`");
    fs::write(&lines, b"{\"id\":\"one\"}\n{\"id\":\"\xff\"}\n").unwrap();
    ctl(&fleet, &from).refused(2, "line 2: not UTF-8");
    fs::write(&lines, "{\"id\":\"one\"}\n{\"id\":\"planned\",\"input\":\"x\"}\n").unwrap();
    ctl(&fleet, &from).refused(1, "line 2: there is a task planned already");
    assert_eq!(fleet.residue(), keys, "nothing was added");
    close(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &1.into()), "{}", coordinator.stderr());
    ctl(&fleet, &["task", "list", "shop"]).refused(1, "no epic shop at work or waiting");
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_hundred_thousand_tasks_are_added_at_once_and_go_with_their_epic() {
    const TASKS: usize = 100_000;
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[])));
    let mut coordinator = started(&fleet, &stage);
    assert_eq!(ctl(&fleet, &["sprint", "pause", "shop/api"]).code, Some(0));
    let lines = stage.path("tasks.jsonl");
    let mut file = std::io::BufWriter::new(fs::File::create(&lines).unwrap());
    (0..TASKS).for_each(|number| writeln!(file, "{{\"id\":\"t{number}\"}}").unwrap());
    file.into_inner().unwrap().sync_all().unwrap();
    let from = ["task", "add", "shop/api", "--from", lines.to_str().unwrap()];
    assert_eq!(ctl(&fleet, &from).json()["added"], TASKS);
    assert_eq!(ctl(&fleet, &from).json()["unchanged"], TASKS, "the same again");
    fleet.wait_until("the coordinator to know them all", |client| {
        client.int(&["HLEN", "sprint:tasks:shop.api"]).unwrap() == TASKS as i64
    });
    assert_eq!(ctl(&fleet, &["epic", "cancel", "shop"]).code, Some(0));
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksLeft"]), (Some(1), &TASKS.into()));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_task_that_is_cancelled_and_done_again_at_once_does_not_meet_itself() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&open_plan(&[])));
    let mut coordinator = started(&fleet, &stage);
    // It ignores TERM, so that its end takes a while. Its lock is the kernel's, which holds as long as one process of the
    // first run has it open.
    let input = "trap '' TERM; exec 9>lock; flock -n 9 || echo x >> met; echo x >> begun; \
                 until [ -e gate ]; do sleep 0.02; done; echo x >> ended";
    add(&fleet, "slow", &["--input", input]);
    stage.wait_for_lines("begun", 1);
    assert_eq!(ctl(&fleet, &["task", "cancel", "shop/api/slow"]).code, Some(0));
    assert_eq!(ctl(&fleet, &["task", "retry", "shop/api/slow"]).code, Some(0));
    stage.wait_for_lines("begun", 2);
    stage.open("gate");
    wait_for_state(&fleet, "slow", "completed");
    assert_eq!(stage.lines("met").len(), 0);
    close(&fleet);
    assert_eq!(finish(&mut coordinator).0, Some(0));
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn nothing_is_acknowledged_for_a_sprint_that_will_not_run() {
    let plan = sprint("api", &[], 1, RUN_INPUT, &[("bad", "attempts = 1\ninput = \"exit 1\"")])
        + &sprint("next", &["api"], 1, RUN_INPUT, &[("never", "input = \"true\"")])
        + &sprint("long", &[], 1, RUN_INPUT, &[("hold", &format!("input = \"{}\"", until("gate")))]);
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan));
    let mut coordinator = stage.coordinator(&fleet);
    coordinator.wait_for_line(|line| line.contains("next: not run: sprint shop.api failed"), SOON).unwrap();
    ctl(&fleet, &["task", "add", "shop/next", "--id", "late"])
        .refused(1, "sprint next of epic shop has ended");
    ctl(&fleet, &["sprint", "pause", "shop/next"]).refused(1, "sprint next of epic shop has ended");
    ctl(&fleet, &["task", "cancel", "shop/next/never"]).refused(1, "sprint next of epic shop has ended");
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksFailed"]), (Some(1), &2.into()), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn an_epic_that_was_cancelled_while_its_coordinator_was_dead_is_ended_by_the_next() {
    let (mut fleet, stage) =
        (Fleet::new(), Stage::new(&open_plan(&[("one", "input = \"echo x >> begun; sleep 600\"")])));
    let mut first = started(&fleet, &stage);
    stage.wait_for_lines("begun", 1);
    first.kill().unwrap();
    // Its lease runs for long: the epic does not wait yet.
    assert_eq!(ctl(&fleet, &["epic", "cancel", "shop"]).code, Some(0));
    let mut second = stage.coordinator(&fleet);
    assert_eq!(second.wait(SOON).unwrap().code(), Some(1));
    assert!(second.stderr().contains("an operator has cancelled epic shop"), "{}", second.stderr());
    let history = fleet.client.entries("epics:history").unwrap();
    assert_eq!(
        (history[0]["outcome"].as_str(), history[0]["reason"].as_str()),
        ("cancelled", "cancelled by an operator")
    );
    nothing_is_left(&mut fleet, &first);
}

#[test]
fn what_was_asked_of_a_sprint_that_waits_survives_a_store_that_loses_its_memory() {
    let plan = sprint("first", &[], 1, RUN_INPUT, &[("hold", &format!("input = \"{}\"", until("gate")))])
        + &sprint(
            "api",
            &["first"],
            1,
            RUN_INPUT,
            &[
                ("planned", "input = \"echo planned >> ended\""),
                ("unwanted", "input = \"echo unwanted >> ended\""),
            ],
        );
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan));
    let mut coordinator = stage.coordinator(&fleet);
    coordinator.wait_for_line(|line| line.contains("first: started"), SOON).unwrap();
    assert_eq!(add(&fleet, "extra", &["--input", "echo extra >> ended"]).code, Some(0));
    assert_eq!(ctl(&fleet, &["task", "cancel", "shop/api/unwanted"]).code, Some(0));
    coordinator.wait_for_line(|line| line.contains("unwanted cancelled by an operator"), SOON).unwrap();
    fleet.redis(&["FLUSHALL"]);
    fleet.wait_until("the added task to be back", |client| {
        client.exists("sprint:added:shop.api").unwrap() && client.exists("sprint:tasks:shop.api").unwrap()
    });
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    let counts = (&summary["tasksCompleted"], &summary["tasksCancelled"]);
    assert_eq!((code, counts), (Some(0), (&3.into(), &1.into())), "{}", coordinator.stderr());
    assert_eq!(stage.lines("ended"), ["planned", "extra"]);
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_sprint_that_did_not_run_goes_with_its_epic_and_runs_once_a_merge_lets_it() {
    let plan = |bad: &str| {
        sprint("api", &[], 1, RUN_INPUT, &[("bad", bad)])
            + &sprint("next", &["api"], 1, RUN_INPUT, &[("later", "input = \"echo later >> ended\"")])
            + &sprint("long", &[], 1, RUN_INPUT, &[("hold", &format!("input = \"{}\"", until("gate")))])
    };
    let mut fleet = Fleet::new().set("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "300ms");
    let stage = Stage::new(&plan("attempts = 1\ninput = \"exit 1\""));
    let paused = |fleet: &Fleet| {
        let mut coordinator = stage.coordinator(fleet);
        coordinator.wait_for_line(|line| line.contains("next: not run"), SOON).unwrap();
        coordinator.signal(Signal::TERM).unwrap();
        assert_eq!(finish(&mut coordinator).0, Some(143));
        coordinator
    };
    let first = paused(&fleet);
    assert_eq!(ctl(&fleet, &["epic", "cancel", "shop"]).code, Some(0));
    nothing_is_left(&mut fleet, &first);
    paused(&fleet);
    stage.write_plan("shop", &plan("attempts = 1\ninput = \"true\""));
    stage.open("gate");
    let merge = fleet.role("coordinator").args(["run", "plan.toml", "--merge", "--output", "json"]);
    let mut last = merge.in_folder(stage.folder.path()).spawn().unwrap();
    let (code, summary) = finish(&mut last);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", last.stderr());
    assert_eq!(stage.lines("ended"), ["later"]);
    nothing_is_left(&mut fleet, &last);
}
