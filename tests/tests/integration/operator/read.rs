//! `ps`, `inspect`, `events`, `hold` and `doctor` show what is so, whatever others wrote into the store.

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_tests::PlainClient;
use rustix::process::Signal;
use serde_json::Value;

use super::{SOON, Site};
use crate::site::{BOSS, child_of_the_boss};

#[test]
fn ps_lists_registered_and_plain_agents_by_id_with_what_matters() {
    let mut site = Site::start();
    let boss = site.coordinator();
    site.worker("coder-1", &boss);
    site.register_as(&child_of_the_boss("coder-2"));
    site.lease_ends_in("coder-2", -12_000);
    site.plain("plain-1", 30_000);
    let said = site.ok(&["ps"]);
    let lines: Vec<&str> = said.lines().collect();
    let row = |id: &str| *lines.iter().find(|line| line.starts_with(id)).unwrap();
    assert!(row("coder-1").contains("builder:4242") && row("coder-1").contains("in 9m"), "{said}");
    assert!(row("coder-1").contains("api") && row("coder-1").contains(BOSS), "{said}");
    assert!(row("coder-2").contains("over by 12s"), "{said}");
    assert!(row("plain-1").contains("plain") && row("plain-1").contains("in 1m"), "{said}");
    assert!(said.contains("4 agents: 3 alive, 1 whose lease is over (1 on the plain protocol)"), "{said}");
    assert!(lines.last().unwrap().contains("no sweeper ever made a pass"), "{said}");

    let found = site.json(&["ps", "--sprint", "api"]);
    let ids: Vec<&str> =
        found["agents"].as_array().unwrap().iter().map(|agent| agent["agentId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["coder-1", "coder-2"]);
    assert!(found["agents"][0]["leaseEnd"].as_i64().unwrap() > site.now());
    assert_eq!(site.json(&["ps", "--state", "draining"])["agents"], serde_json::json!([]));
}

#[test]
fn ps_and_inspect_escape_what_others_wrote() {
    let mut site = Site::start();
    let hostile = "evil\u{1b}[2J\nid";
    site.redis(&["SADD", "agents:active", hostile, "a*", "x:y"]);
    site.client.command(&[b"SADD", b"agents:active", b"no\xfftext"]).unwrap();
    site.client.command(&[b"SET", b"agent:heartbeat:a*", b"\xc1 rubbish"]).unwrap();
    site.redis(&["LPUSH", "agent:heartbeat:x:y", "a list"]);
    for said in [site.ok(&["ps"]), site.ok(&["inspect", hostile]), site.run(&["verify"]).stdout] {
        assert!(said.contains("evil\\u{1b}[2J\\nid"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    assert!(site.ok(&["ps"]).contains("4 agents"));
}

#[test]
fn ids_that_look_alike_are_shown_apart() {
    let mut site = Site::start();
    site.redis(&["SADD", "agents:active", "coder", "co\u{200b}der", "\u{202e}redoc", "\u{feff}coder"]);
    for said in [site.ok(&["ps"]), site.run(&["verify"]).stdout] {
        for shown in ["co\\u{200b}der", "\\u{202e}redoc", "\\u{feff}coder"] {
            assert!(said.contains(shown), "{shown}: {said}");
        }
        assert!(!said.contains(['\u{200b}', '\u{202e}', '\u{feff}']), "{said:?}");
    }
}

#[test]
fn inspect_shows_all_that_is_known_of_an_agent() {
    let mut site = Site::start();
    let boss = site.coordinator();
    let worker = site.worker("coder-1", &boss);
    assert!(site.beats(&worker));
    site.redis(&["SET", "agent:command:coder-1", "drain operator"]);
    let said = site.ok(&["inspect", "coder-1"]);
    for part in ["builder:4242", "drain operator", "login of api, attempt 1 of 3: write the login"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let known = site.json(&["inspect", "coder-1"]);
    assert_eq!(known["agentId"], "coder-1");
    assert_eq!(known["incarnation"], worker.incarnation.to_string());
    assert_eq!(known["ownedKeys"], serde_json::json!(["agent:task:coder-1:login"]));
    assert_eq!(site.json(&["inspect", BOSS])["children"], serde_json::json!(["coder-1"]));
}

#[test]
fn inspect_of_an_agent_that_is_gone_says_what_became_of_it() {
    let mut site = Site::start();
    let never = site.refused(&["inspect", "never"], 1);
    assert!(never.contains("there is no agent \"never\""), "{never}");
    site.register("coder-1");
    site.expire("coder-1");
    site.ok(&["reap", "coder-1"]);
    let gone = site.refused(&["inspect", "coder-1"], 1);
    assert!(gone.contains("cleaned up") && gone.contains("operator"), "{gone}");
}

#[test]
fn a_hold_is_shown_and_released() {
    let mut site = Site::start();
    assert_eq!(site.ok(&["hold"]), "reaping is not held");
    let since = site.now().to_string();
    site.redis(&["HSET", "sweep:hold", "since", &since, "reason", "6 of 10 fell silent", "agents", "6"]);
    assert!(site.ok(&["hold"]).contains("held for 6 agents"));
    assert!(site.ok(&["ps"]).contains("reaping is held"));
    let released = site.json(&["hold", "release"]);
    assert_eq!((&released["held"], &released["released"]), (&false.into(), &true.into()));
    assert!(site.ok(&["hold"]).contains("6 of 10 fell silent"));
    assert!(!site.ok(&["ps"]).contains("reaping is held"));
}

#[test]
fn the_latest_log_entries_come_oldest_first() {
    let site = Site::start();
    for id in ["a", "b", "c"] {
        let life = site.register(id);
        site.release(&life, StopCause::Done).unwrap();
    }
    let said = site.ok(&["events", "--count", "2", "--output", "json"]);
    let agents: Vec<Value> =
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["agentId"].clone()).collect();
    assert_eq!(agents, ["b", "c"]);
}

#[test]
fn events_are_followed_live_without_beats_until_interrupted() {
    let mut site = Site::start();
    let mut follow = site.spawn(&["events", "--follow", "--output", "json"]);
    follow.wait_for_line(|line| line.starts_with("note: following"), SOON).unwrap();
    let life = site.register("coder-1");
    assert!(site.beats(&life));
    site.redis(&["PUBLISH", "agent:lifecycle", "\u{1b}[2J no event"]);
    site.release(&life, StopCause::Done).unwrap();
    follow.wait_for_line(|line| line.contains("agent_shutdown"), SOON).unwrap();
    follow.signal(Signal::INT).unwrap();
    assert_eq!(follow.wait(SOON).unwrap().code(), Some(0));
    let kinds: Vec<Value> = follow
        .stdout()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(kinds, ["agent_registered", "agent_shutdown"]);
    assert!(follow.stderr().contains("is no event"), "{}", follow.stderr());
}

#[test]
fn a_doctor_finds_a_store_that_evicts_and_a_fleet_that_nobody_sweeps() {
    let mut site = Site::start();
    let ended = site.run(&["doctor"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("no sweeper ever made a pass"), "{}", ended.stdout);
    site.was_just_swept();
    assert!(site.ok(&["doctor"]).contains("all is well"));
    site.redis(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    assert!(site.run(&["doctor"]).stdout.contains("volatile-lru"));
}

#[test]
fn a_doctor_misses_a_sweeper_that_left_at_once_and_not_while_another_is_at_work() {
    let mut site = Site::start();
    let sweeper = |site: &Site| site.role("sweeper").arg("run").spawn().unwrap();
    let passes = |site: &mut Site, wanted: usize| {
        lifecycle_tests::eventually(SOON, "a pass of each sweeper", || {
            let fields = site.client.texts(&["HKEYS", "sweep:watermark"])?;
            Ok((fields.iter().filter(|field| field.starts_with("pass:")).count() == wanted).then_some(()))
        })
        .unwrap();
    };
    let mut first = sweeper(&site);
    passes(&mut site, 1);
    let mut second = sweeper(&site);
    passes(&mut site, 2);
    assert_eq!(first.stop(SOON).unwrap().code(), Some(0));
    assert!(site.ok(&["doctor"]).contains("all is well"));
    assert_eq!(second.stop(SOON).unwrap().code(), Some(0));
    let ended = site.run(&["doctor"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("no sweeper is at work: the last one, "), "{}", ended.stdout);
}

#[test]
fn json_escapes_what_a_terminal_would_act_on() {
    let mut site = Site::start();
    let hostile = "evil\u{9b}2J\u{202e}";
    site.redis(&["SADD", "agents:active", hostile]);
    let said = site.ok(&["ps", "--output", "json"]);
    assert!(said.contains(r"evil\u009b2J\u202e"), "{said}");
    let read: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(read["agents"][0]["agentId"], hostile);
}

#[test]
fn a_mistyped_word_leads_to_no_command_that_ends_work() {
    let site = Site::start();
    let said = site.refused(&["top"], 2);
    assert!(!said.contains("stop"), "{said}");
    let said = site.refused(&["inspekt", "x"], 2);
    assert!(said.contains("'inspect'"), "{said}");
}

/// In bytes, as the server counts them.
fn used_memory(client: &mut PlainClient) -> u64 {
    let info = client.text(&["INFO", "memory"]).unwrap().unwrap();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse().unwrap()
}

#[test]
fn a_doctor_finds_a_store_that_is_nearly_full_or_full() {
    let mut site = Site::start();
    site.was_just_swept();
    assert!(site.ok(&["doctor"]).contains("used, no maxmemory"));
    // 16 MiB, so that what a connection takes is nothing. Sent as they are, they would be in the server's buffers too.
    site.redis(&["SETRANGE", "ballast", "16777216", "x"]);
    let used = used_memory(&mut site.client);
    for (maxmemory, words) in [
        (used * 2, None),
        (used * 100 / 95, Some("nearly full, and once it is full it refuses registrations and new tasks")),
        (used / 2, Some("the store is full and refuses registrations and new tasks; raise maxmemory")),
    ] {
        site.redis(&["CONFIG", "SET", "maxmemory", &maxmemory.to_string()]);
        let ended = site.run(&["doctor", "--output", "json"]);
        assert_eq!(ended.code, Some(i32::from(words.is_some())), "{}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let memory = checks.iter().find(|check| check["name"] == "memory").unwrap();
        assert_eq!(memory["ok"], words.is_none(), "{memory}");
        assert!(memory["detail"].as_str().unwrap().contains(words.unwrap_or("MiB used")), "{memory}");
    }
}
