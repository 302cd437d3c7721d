//! `agent run`: any command as an agent.
#![cfg(target_os = "linux")]

use std::time::Duration;

use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_tests::process::MARKER_VARIABLE;
use lifecycle_tests::{Role, eventually, processes_with_env};
use rustix::process::Signal;

use crate::fleet::{Fleet, SOON};

fn no_process_left(role: &Role) {
    eventually(SOON, "the last process of the tree to vanish", || {
        let left = processes_with_env(MARKER_VARIABLE, role.marker());
        Ok(left.iter().all(|pid| *pid == role.pid()).then_some(()))
    })
    .unwrap();
}

#[test]
fn the_exit_code_is_the_commands_and_no_key_is_left() {
    let mut fleet = Fleet::new();
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
        let mut agent = fleet.agent("coder-1", script).spawn().unwrap();
        assert_eq!(agent.wait(SOON).unwrap().code(), Some(code), "{script}: {}", agent.stderr());
        assert_eq!(fleet.residue(), [""; 0]);
    }
}

#[test]
fn an_agent_says_nothing_around_its_command_unless_it_is_asked_to() {
    let fleet = Fleet::new();
    let mut agent = fleet.agent("coder-1", "echo out; echo err >&2").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0));
    assert_eq!((agent.stdout().as_str(), agent.stderr().as_str()), ("out", "err"));
    let mut agent = fleet.agent("coder-1", "true").env("LIFECYCLE_LOG__LEVEL", "info").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0));
    assert!(
        agent.stderr().contains("registered") && agent.stderr().contains("released"),
        "{}",
        agent.stderr()
    );
}

/// Without a store there is nobody to register with, so whoever asks for one first does not end with 127.
#[test]
fn a_program_that_is_not_there_is_found_before_the_agent_registers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes"), "not a program").unwrap();
    for (command, code) in [("no-such-program", 127), ("/no/such/program", 127), ("./notes", 126)] {
        for more in [&[][..], &["--sprint", "api"]] {
            let role = Role::command("agent").unwrap().args(["run", "--id", "a"]).args(more.iter().copied());
            let role = role.args(["--", command]).in_folder(folder.path());
            let mut agent = role.env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1").spawn().unwrap();
            assert_eq!(agent.wait(SOON).unwrap().code(), Some(code), "{command}: {}", agent.stderr());
            assert!(agent.stderr().contains(&format!("cannot start \"{command}\"")), "{}", agent.stderr());
        }
    }
}

#[test]
fn an_id_outside_the_grammar_is_refused_at_registration_naming_the_character() {
    let mut fleet = Fleet::new();
    let long = "a".repeat(129);
    for (id, named) in [
        ("a*", "'*'"),
        ("a?", "'?'"),
        ("[ab]", "'['"),
        ("x:y", "':'"),
        ("a\nb", "'\\n'"),
        (long.as_str(), "129"),
    ] {
        let mut agent = fleet.agent(id, "exit 0").spawn().unwrap();
        assert_eq!(agent.wait(SOON).unwrap().code(), Some(2), "{id:?}");
        let said = agent.stderr();
        assert!(said.contains(named) && said.lines().count() == 1, "{id:?}: {said}");
    }
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn the_command_finds_itself_in_its_environment_and_arguments_never_meet_a_shell() {
    let fleet = Fleet::new();
    let mut agent = fleet
        .role("agent")
        .args(["run", "--id", "coder-1", "--", "printf", "%s\n", "$HOME; {task} `id`"])
        .spawn()
        .unwrap();
    agent.wait(SOON).unwrap();
    assert_eq!(agent.stdout(), "$HOME; {task} `id`");
    let mut agent = fleet.agent("coder-1", "echo $LIFECYCLE_AGENT_ID $LIFECYCLE_TOKEN").spawn().unwrap();
    agent.wait(SOON).unwrap();
    assert!(agent.stdout().starts_with("coder-1 coder-1:"), "{}", agent.stdout());
}

#[test]
fn processes_that_left_their_parent_session_and_group_end_with_the_command() {
    let fleet = Fleet::new();
    let script =
        "setsid sh -c 'sleep 600 & sleep 600' & (sh -c 'sleep 600 &' &); echo up; wait_is_over=1; exit 0";
    let mut agent = fleet.agent("coder-1", script).spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
    no_process_left(&agent);
}

#[test]
fn a_signal_is_passed_on_and_the_command_may_finish_its_way() {
    let mut fleet = Fleet::new();
    let script = "trap 'echo finishing; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let mut agent = fleet.agent("coder-1", script).spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    agent.signal(Signal::TERM).unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(7), "{}", agent.stderr());
    assert!(agent.stdout().contains("finishing"));
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn a_second_signal_hurries_a_command_that_ignores_the_first() {
    let mut fleet = Fleet::new().set("LIFECYCLE_LOG__LEVEL", "info");
    let mut agent =
        fleet.agent("coder-1", "trap '' TERM; echo up; while :; do sleep 0.05; done").spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    agent.signal(Signal::TERM).unwrap();
    agent.wait_for_line(|line| line.contains("passing the signal on"), SOON).unwrap();
    agent.signal(Signal::TERM).unwrap();
    assert_ne!(agent.wait(SOON).unwrap().code(), Some(0));
    no_process_left(&agent);
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn a_command_that_ignores_its_end_is_killed_after_the_drain_timeout() {
    let fleet = Fleet::new()
        .set("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "200ms")
        .set("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "100ms");
    let mut agent =
        fleet.agent("coder-1", "trap '' TERM; echo up; while :; do sleep 0.05; done").spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    agent.signal(Signal::TERM).unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(143), "{}", agent.stderr());
    no_process_left(&agent);
}

#[test]
fn a_living_id_is_refused_naming_its_holder_and_a_takeover_fences_it() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(10));
    let mut first = fleet.agent("coder-1", "echo up; sleep 600").spawn().unwrap();
    first.wait_for_line(|line| line == "up", SOON).unwrap();
    fleet.wait_for_beat("coder-1");
    let old = fleet.incarnation("coder-1");

    let mut second = fleet.agent("coder-1", "exit 0").spawn().unwrap();
    assert_eq!(second.wait(SOON).unwrap().code(), Some(73));
    assert!(second.stderr().contains(&format!("pid {}", first.pid())), "{}", second.stderr());
    assert_eq!(fleet.incarnation("coder-1"), old);

    let takeover = ["run", "--id", "coder-1", "--takeover", "--", "sh", "-c", "echo mine; sleep 600"];
    let third = fleet.role("agent").args(takeover).spawn().unwrap();
    third.wait_for_line(|line| line == "mine", SOON).unwrap();
    assert_eq!(first.wait(SOON).unwrap().code(), Some(70), "{}", first.stderr());
    no_process_left(&first);
    let new = fleet.incarnation("coder-1");
    assert!(new > old, "{new:?} after {old:?}");
}

#[test]
fn after_a_kill_9_the_same_id_may_start_at_once_on_the_same_machine() {
    let mut fleet = Fleet::new();
    let mut first = fleet.agent("coder-1", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("coder-1");
    first.kill().unwrap();
    // Its lease runs for another two minutes, but its process is proven gone; what it left running is ended.
    let mut second = fleet.agent("coder-1", "exit 0").spawn().unwrap();
    assert_eq!(second.wait(SOON).unwrap().code(), Some(0), "{}", second.stderr());
    no_process_left(&first);
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn an_agent_frozen_past_its_lease_and_reaped_ends_its_command_creates_no_key_and_exits_70() {
    let mut fleet = Fleet::with_lease(Duration::from_millis(500));
    let mut agent = fleet.agent("coder-1", "echo up; sleep 600").spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    fleet.wait_for_beat("coder-1");
    agent.signal(Signal::STOP).unwrap();
    let sweeper = fleet.sweeper();
    fleet.wait_until("the sweeper to reap it", |client| !client.exists("agent:state:coder-1").unwrap());
    agent.signal(Signal::CONT).unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(70), "{}", agent.stderr());
    no_process_left(&agent);
    assert_eq!(fleet.residue(), [""; 0]);
    drop(sweeper);
}

#[test]
fn a_drain_order_lets_the_work_finish_and_takes_effect_before_the_next_beat_is_due() {
    let mut fleet = Fleet::new();
    let mut agent =
        fleet.agent("coder-1", "echo up; while [ ! -e gate ]; do sleep 0.05; done; exit 4").spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    fleet.wait_for_beat("coder-1");
    let mut drain = fleet.role("lifecyclectl").args(["drain", "coder-1"]).spawn().unwrap();
    assert_eq!(drain.wait(SOON).unwrap().code(), Some(0), "{}", drain.stderr());
    // Beats come every 30 s here: the order came with the event.
    fleet.wait_until("the agent to drain", |client| {
        client.text(&["HGET", "agent:state:coder-1", "state"]).unwrap().as_deref() == Some("draining")
    });
    std::fs::write(agent.folder().join("gate"), "").unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(4), "{}", agent.stderr());
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn a_terminate_order_ends_the_work_at_once() {
    let mut fleet = Fleet::new();
    let mut agent = fleet.agent("coder-1", "echo up; sleep 600").spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    fleet.wait_for_beat("coder-1");
    let mut stop = fleet.role("lifecyclectl").args(["stop", "coder-1"]).spawn().unwrap();
    assert_eq!(stop.wait(SOON).unwrap().code(), Some(0), "{}", stop.stderr());
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(143), "{}", agent.stderr());
    no_process_left(&agent);
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn a_tree_over_its_memory_limit_is_ended_and_the_alert_and_the_log_say_so() {
    let fleet = Fleet::new();
    let mut alerts = fleet.server.client().unwrap().subscribe(&["system:alerts"]).unwrap();
    // tail holds 200 MB for as long as nobody reads what it would write.
    let script = "head -c 200000000 /dev/zero | tail -c 200000000 | sleep 600";
    let mut agent = fleet
        .role("agent")
        .args(["run", "--id", "hungry", "--memory-limit", "64MiB", "--", "sh", "-c", script])
        .spawn()
        .unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(137), "{}", agent.stderr());
    let (_, alert) = alerts.next(SOON).unwrap().unwrap();
    let alert: Event = decode(&alert).unwrap();
    let Payload::MemoryLimitExceeded { reason, limit, .. } = alert.payload else { panic!("{alert:?}") };
    assert_eq!((limit, reason.as_deref()), (Some(64 << 20), Some("hard")));
    let events = fleet.role("lifecyclectl").args(["events"]).spawn().unwrap();
    let released = events.wait_for_line(|line| line.contains("hungry"), SOON).unwrap();
    assert!(released.contains("release") && released.contains("reason=memory_limit"), "{released}");
    no_process_left(&agent);
}

#[test]
fn a_tree_whose_processes_share_their_memory_is_not_ended_for_counting_it_nine_times() {
    let mut fleet = Fleet::new().set("LIFECYCLE_HEARTBEAT__INTERVAL", "200ms");
    let folder = tempfile::tempdir().unwrap();
    // 40 MB that eight children share with their parent.
    let script = "x=$(head -c 40000000 /dev/zero | tr '\\0' a); i=0; while [ $i -lt 8 ]; do i=$((i + 1)); \
                  (until [ -e gate ]; do sleep 0.05; done) & done; wait; echo ${#x}";
    let limit: u64 = 160 << 20;
    let mut agent = fleet
        .role("agent")
        .args(["run", "--id", "forked", "--memory-limit", &format!("{limit}B"), "--", "sh", "-c", script])
        .in_folder(folder.path())
        .spawn()
        .unwrap();
    let figure = |client: &mut lifecycle_tests::PlainClient, name: &str| {
        let text = client.text(&["HGET", "agent:memory:forked", name]).unwrap();
        text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    fleet.wait_until("resident memory above the limit", |client| figure(client, "rss") > limit);
    let pss = figure(&mut fleet.client, "pss");
    assert!(pss > 0 && pss < limit, "suspicion took the closer look: {pss}");
    assert!(figure(&mut fleet.client, "processes") >= 10);
    assert_eq!(figure(&mut fleet.client, "limit"), limit);
    // A second of beats is four looks of whoever holds the limit.
    let mut seen = std::collections::BTreeSet::new();
    fleet.wait_until("six more samples", |client| {
        seen.insert(figure(client, "timestamp"));
        seen.len() > 6
    });
    std::fs::write(folder.path().join("gate"), "").unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
    assert_eq!(agent.stdout(), "40000000");
}

#[test]
fn a_soft_limit_at_or_above_the_hard_one_is_refused_in_one_line() {
    let fleet = Fleet::new();
    let limits = ["--memory-limit", "1GiB", "--memory-soft-limit", "2GiB"];
    let mut agent =
        fleet.role("agent").args(["run", "--id", "a"]).args(limits).args(["--", "true"]).spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(2));
    let said = agent.stderr();
    assert!(said.contains("--memory-soft-limit must be below") && said.lines().count() == 1, "{said}");
}

#[test]
fn no_store_at_the_url_is_one_line_and_exit_69() {
    let fleet = Fleet::new();
    let mut agent = fleet
        .agent("coder-1", "exit 0")
        .env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1")
        .env("LIFECYCLE_REDIS__START_TIMEOUT", "300ms")
        .spawn()
        .unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(69));
    let said = agent.stderr();
    assert!(said.lines().count() == 1 && said.contains("start Redis or Valkey"), "{said}");
}

#[test]
fn a_missing_command_and_a_missing_sprint_are_one_line_each() {
    let mut fleet = Fleet::new();
    let mut agent = fleet.role("agent").args(["run", "--id", "a", "--", "no-such-program"]).spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(127));
    assert!(agent.stderr().contains("cannot start \"no-such-program\""), "{}", agent.stderr());
    let mut agent =
        fleet.role("agent").args(["run", "--id", "a", "--sprint", "none", "--", "true"]).spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(1));
    assert!(agent.stderr().contains("sprint none is not running"), "{}", agent.stderr());
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn beats_are_messagepack_or_json_as_the_fleet_is_set() {
    for (format, first) in [("msgpack", 0x80..=0x8f), ("json", b'{'..=b'{')] {
        let mut fleet = Fleet::new().set("LIFECYCLE_WIRE__FORMAT", format);
        let _agent = fleet.agent("coder-1", "sleep 600").spawn().unwrap();
        fleet.wait_for_beat("coder-1");
        let beat = fleet.client.command(&[b"GET", b"agent:heartbeat:coder-1"]).unwrap();
        let lifecycle_tests::Reply::Bulk(bytes) = beat else { panic!("{beat:?}") };
        assert!(first.contains(&bytes[0]), "{format}: {bytes:?}");
        let beat: lifecycle_core::wire::record::Heartbeat =
            lifecycle_core::wire::codec::decode(&bytes).unwrap();
        assert_eq!(beat.agent_id, "coder-1");
        assert!(beat.memory_usage.unwrap().rss > 1_000_000, "the tree's memory travels with the beat");
        assert!((1..=180).contains(&fleet.client.int(&["TTL", "agent:heartbeat:coder-1"]).unwrap()));
    }
}

#[test]
fn a_registration_over_a_key_of_another_type_fails_in_one_line_and_joins_no_index() {
    let mut fleet = Fleet::new();
    fleet.redis(&["SET", "agent:state:coder-1", "somebody else's"]);
    let mut agent = fleet.agent("coder-1", "exit 0").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(1));
    assert!(
        agent.stderr().contains("agent:state:coder-1 holds a string, not a hash")
            && agent.stderr().lines().count() == 1,
        "{}",
        agent.stderr()
    );
    assert_eq!(fleet.residue(), ["agent:state:coder-1"]);
}

#[test]
fn a_living_agent_of_the_plain_protocol_keeps_its_id_until_its_heartbeat_is_over() {
    let mut fleet = Fleet::new();
    fleet.redis(&["SADD", "agents:active", "p"]);
    let now = fleet.now();
    let beat = |timestamp: i64| format!("{{\"agentId\":\"p\",\"timestamp\":{timestamp}}}");
    fleet.redis(&["SET", "agent:heartbeat:p", &beat(now)]);
    let mut agent = fleet.agent("p", "exit 0").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(73), "{}", agent.stderr());
    assert!(fleet.client.exists("agent:heartbeat:p").unwrap());
    fleet.redis(&["SET", "agent:heartbeat:p", &beat(now - 180_000)]);
    let mut agent = fleet.agent("p", "exit 0").spawn().unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{}", agent.stderr());
    assert_eq!(fleet.residue(), [""; 0]);
}

#[test]
fn a_life_that_never_heard_of_its_new_generation_is_fenced_once_it_was_reaped() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let mut agent = fleet.agent("coder-1", "echo up; sleep 600").spawn().unwrap();
    agent.wait_for_line(|line| line == "up", SOON).unwrap();
    fleet.wait_for_beat("coder-1");
    // As after a registration in a store that lost its memory whose reply was lost on the way.
    fleet.redis(&["SET", "lifecycle:generation", "new"]);
    fleet.redis(&["HSET", "agent:state:coder-1", "generation", "new"]);
    agent.wait_for_line(|line| line.contains("registered again"), SOON).unwrap();
    let mut reap = fleet.role("lifecyclectl").args(["reap", "coder-1", "--force"]).spawn().unwrap();
    assert_eq!(reap.wait(SOON).unwrap().code(), Some(0), "{}", reap.stderr());
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(70), "{}", agent.stderr());
    assert_eq!(fleet.residue(), [""; 0]);
}
