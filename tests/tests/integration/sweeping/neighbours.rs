//! A cleanup removes exactly what is the dead agent's own.

use super::{LONG_AGO_MS, Site, count, result};

fn fleet() -> Vec<String> {
    (0..=20).map(|n| format!("agent-{n}")).collect()
}

fn is_of_agent_1(key: &str) -> bool {
    key.split(':').any(|part| part == "agent-1")
}

#[test]
fn reaping_agent_1_of_21_plain_agents_removes_exactly_its_own_keys() {
    let mut site = Site::start();
    for id in fleet() {
        site.plain(&id, if id == "agent-1" { 180_000 } else { 0 });
        site.redis(&["SET", &format!("agent:task:{id}"), "in flight"]);
        site.redis(&["HSET", &format!("agent:task:{id}:t1"), "task", "t1"]);
        site.redis(&["SADD", &format!("agent:deps:{id}"), "a"]);
        site.redis(&["RPUSH", &format!("agent:deps:{id}:late"), "b"]);
        site.redis(&["SET", &format!("agent:state:{id}"), "busy"]);
        site.redis(&["HSET", &format!("agent:memory:{id}"), "rss", "1"]);
    }
    let expected: Vec<String> = site.keys().into_iter().filter(|key| !is_of_agent_1(key)).collect();

    let result = site.sweep();

    assert_eq!((count(&result, "orphansCleaned"), count(&result, "healthyAgents")), (1, 20));
    assert_eq!(count(&result, "keysDeleted"), 7, "heartbeat, two tasks, two deps, state, memory");
    assert_eq!(site.keys(), expected);
}

#[test]
fn reaping_agent_1_of_21_registered_agents_removes_exactly_its_own_keys() {
    let mut site = Site::start();
    for id in fleet() {
        let life = site.register(&id);
        assert!(site.beats(&life));
        let own = [format!("cache:{id}"), format!("cache:{id}:x")];
        site.own(&life, own.clone());
        for key in &own {
            site.redis(&["SET", key, "1"]);
        }
        site.depend_on(&life, "schema");
    }
    site.redis(&["SET", "cache:agent-1:not-declared", "1"]);
    site.expire("agent-1");
    let mut expected: Vec<String> = site.keys().into_iter().filter(|key| !is_of_agent_1(key)).collect();
    expected.push("cache:agent-1:not-declared".into());
    expected.sort();

    let result = site.sweep();

    assert_eq!((count(&result, "orphansCleaned"), count(&result, "healthyAgents")), (1, 20));
    assert_eq!(site.keys(), expected);
    let entry = &site.log()[0];
    assert_eq!((entry["agentId"].as_str(), entry["reason"].as_str()), ("agent-1", "stale_heartbeat"));
    assert!(entry["keys"].contains("cache:agent-1:x") && !entry["keys"].contains("agent-10"), "{entry:?}");
}

#[test]
fn strange_ids_in_the_index_harm_nobody() {
    let mut site = Site::start();
    for id in ["a", "a1", "ab", "b", "x", "n", "l"] {
        site.plain(id, 0);
        site.redis(&["SET", &format!("agent:task:{id}"), "1"]);
        site.redis(&["SET", &format!("agent:task:{id}:y"), "1"]);
        site.redis(&["SET", &format!("agent:deps:{id}:y"), "1"]);
    }
    let neighbours = site.keys();
    let long = "z".repeat(129);
    let strange = ["a*", "a?", "[ab]", "*", "x:y", "n\nl", long.as_str(), ""];
    for id in strange {
        site.redis(&["SADD", "agents:active", id]);
        site.redis(&["SET", &format!("agent:memory:{id}"), "1"]);
    }
    site.client.command(&[b"SADD", b"agents:active", b"bad-\xff\xfe"]).unwrap();

    let first = site.sweep();
    let second = site.sweep();

    assert_eq!(count(&first, "healthyAgents"), 7, "{first}");
    assert_eq!(
        count(&first, "orphansCleaned"),
        6,
        "all but the two that could be mistaken, and the unreadable one"
    );
    assert_eq!(count(&second, "orphansDetected"), 0, "{second}");
    let left: Vec<String> = site.keys().into_iter().filter(|key| !neighbours.contains(key)).collect();
    assert_eq!(left, ["agent:memory:", "agent:memory:x:y"], "left alone, as nobody can say whose they are");
    assert!(neighbours.iter().all(|key| site.client.exists(key).unwrap()));
}

#[test]
fn a_registered_agent_that_the_index_lost_is_found_again_and_judged_by_a_whole_lease() {
    let mut site = Site::start();
    let life = site.register("lost");
    site.redis(&["DEL", "agents:leases", "agents:active"]);
    let result = result(&mut site.sweep_command().arg("--reconcile").spawn().unwrap());
    assert_eq!((count(&result, "healthyAgents"), count(&result, "orphansDetected")), (1, 0));
    assert_eq!(site.active(), ["lost"]);
    assert!(site.beats(&life));
    site.expire("lost");
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 1);
    assert_eq!(site.keys(), [""; 0]);
}

#[test]
fn a_task_of_a_dead_agent_without_a_sprint_goes_with_it() {
    let mut site = Site::start();
    site.plain("alone", LONG_AGO_MS);
    site.redis(&["HSET", "agent:task:alone:t", "task", "t"]);
    let result = site.sweep();
    assert_eq!((count(&result, "orphansCleaned"), count(&result, "tasksRequeued")), (1, 0));
    assert_eq!(site.keys(), [""; 0]);
}

#[test]
fn a_plain_agent_that_left_by_itself_is_no_orphan_and_what_it_left_behind_goes() {
    let mut site = Site::start();
    for n in 0..12 {
        site.plain(&format!("agent-{n}"), 0);
    }
    assert_eq!(count(&site.sweep(), "healthyAgents"), 12);
    // The original design's own shutdown, which forgets tasks and dependencies.
    for n in 0..6 {
        site.redis(&["SREM", "agents:active", &format!("agent-{n}")]);
        site.redis(&["DEL", &format!("agent:heartbeat:agent-{n}")]);
        site.redis(&["SET", &format!("agent:task:agent-{n}:t"), "1"]);
    }
    // The lease of some is over when they are missed, that of others is not.
    site.expire("agent-0");
    let swept = site.sweep();
    assert_eq!((count(&swept, "orphansDetected"), count(&swept, "healthyAgents")), (0, 6), "{swept}");
    assert_eq!(count(&swept, "keysDeleted"), 6);
    assert_eq!(site.client.int(&["ZCARD", "agents:leases"]).unwrap(), 6);
    let left: Vec<String> = (6..12).map(|n| format!("agent:heartbeat:agent-{n}")).collect();
    assert_eq!(site.keys().len(), left.len(), "{:?}", site.keys());
}

#[test]
fn plain_agents_that_come_and_go_are_counted_right_by_a_daemon() {
    let mut site = Site::start();
    site.plain("early", 0);
    let daemon = site.daemon();
    daemon.wait_until_ready();
    site.redis(&["SREM", "agents:active", "early"]);
    site.redis(&["DEL", "agent:heartbeat:early"]);
    site.plain("late", 0);
    site.expire("early");
    site.redis(&["PUBLISH", "agent:lifecycle", r#"{"type":"process_exited"}"#]);
    site.wait_until("the lease of the one that left to go", |client| {
        client.text(&["ZSCORE", "agents:leases", "early"]).unwrap().is_none()
    });
    assert_eq!(site.client.int(&["XLEN", "agents:log"]).unwrap(), 0, "it left, it was not reaped");
}
