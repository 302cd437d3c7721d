//! `verify` names what has no living owner, and nothing else.

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::ids::{AgentId, EpicId, SprintId, TaskId};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::AgentState;
use lifecycle_redis::Registered;
use serde_json::Value;

use super::Site;
use crate::site::child_of_the_boss;

#[test]
fn verify_finds_nothing_in_an_empty_store() {
    let site = Site::start();
    assert_eq!(site.ok(&["verify"]), "no residue: 0 keys, 0 living agents, each key with an owner");
}

#[test]
fn verify_finds_nothing_in_a_fleet_at_work_and_counts_what_is_not_ours() {
    let mut site = Site::start();
    let boss = site.coordinator();
    let worker = site.worker("coder-1", &boss);
    assert!(site.beats(&worker));
    site.own(&worker, ["cache:coder-1"]);
    site.plain("plain-1", 30_000);
    site.redis(&["SET", "agent:task:plain-1:a:b", "x"]);
    site.redis(&["SET", "cache:coder-1", "x"]);
    site.redis(&["SET", "cart:1", "x"]);
    site.redis(&["SET", "cleanup:lock:coder-1", "token", "EX", "300"]);
    let said = site.json(&["verify"]);
    assert_eq!(said["residue"], serde_json::json!([]));
    assert_eq!((&said["livingAgents"], &said["foreignKeys"]), (&3.into(), &2.into()));
}

#[test]
fn verify_names_a_planted_stray_key_of_each_kind() {
    let mut site = Site::start();
    site.coordinator();
    let keys = KeySchema::default();
    let (epic, other) = (EpicId::new("other").unwrap(), SprintId::new("other").unwrap());
    let agent = AgentId::new("gone").unwrap();
    let planted = [
        keys.state("gone"),
        keys.heartbeat("gone"),
        keys.memory("gone"),
        keys.task(&agent, &TaskId::new("login").unwrap()),
        keys.deps("gone"),
        keys.children("gone"),
        keys.keys("gone"),
        keys.command("gone"),
        keys.cleanup_lock("gone"),
        keys.sprint_state(&other),
        keys.sprint_agents(&other),
        keys.sprint_tasks(&other),
        keys.sprint_requeue(&other),
        keys.epic_sprints(&epic),
        "agent:task:gone".into(),
        "agent:state:".into(),
    ];
    for key in &planted {
        site.redis(&["SET", key, "x"]);
        let ended = site.run(&["verify"]);
        assert_eq!(ended.code, Some(1), "{key}");
        let named = ended.stdout.lines().filter(|line| line.split_whitespace().next() == Some(key.as_str()));
        assert_eq!(named.count(), 1, "{key}: {}", ended.stdout);
        site.redis(&["DEL", key]);
    }
    assert!(site.ok(&["verify"]).starts_with("no residue"));
}

#[test]
fn verify_names_members_and_claimed_keys_whose_agent_is_gone() {
    let mut site = Site::start();
    site.coordinator();
    for (key, member) in [
        ("agent:children:shop.coordinator", "gone"),
        ("sprint:agents:api", "gone"),
        ("epic:sprints:shop", "web"),
    ] {
        site.redis(&["SADD", key, member]);
        let ended = site.run(&["verify"]);
        assert!(ended.stdout.contains(&format!("{key} ({member})")), "{key}: {}", ended.stdout);
        assert_eq!(ended.code, Some(1));
        site.redis(&["SREM", key, member]);
    }
    site.redis(&["SADD", "agents:active", "silent"]);
    site.redis(&["ZADD", "agents:leases", "9999999999999", "unlisted"]);
    site.redis(&["SADD", "agent:keys:gone", "cache:gone", "cache:never"]);
    site.redis(&["SET", "cache:gone", "x"]);
    let said = site.run(&["verify"]).stdout;
    for line in ["agents:active (silent)", "agents:leases (unlisted)", "agent:keys:gone", "cache:gone"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("cache:never"), "{said}");
}

#[test]
fn verify_names_a_key_of_another_type_and_says_what_it_holds() {
    let mut site = Site::start();
    site.coordinator();
    site.redis(&["RPUSH", "agents:log", "somebody else's"]);
    let ended = site.run(&["verify"]);
    assert_eq!(ended.code, Some(1));
    let line = ended.stdout.lines().find(|line| line.starts_with("agents:log")).unwrap();
    assert!(line.contains("wrong_type") && line.contains("it holds a list, not a stream"), "{line}");
    assert!(ended.stdout.contains("1 finding"), "{}", ended.stdout);
    let events = site.refused(&["events"], 1);
    assert!(events.contains("redis-cli RENAME agents:log agents:log.old"), "{events}");
}

#[test]
fn verify_tells_an_orphan_that_waits_for_cleanup_from_what_nobody_owns() {
    let mut site = Site::start();
    let boss = site.coordinator();
    site.worker("coder-1", &boss);
    site.expire("coder-1");
    let ended = site.run(&["verify", "--output", "json"]);
    assert_eq!(ended.code, Some(1));
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    let residue = said["residue"].as_array().unwrap();
    assert!(
        residue.iter().all(|found| found["why"] == "orphan" && found["owner"] == "agent coder-1"),
        "{said}"
    );
    assert!(residue.iter().any(|found| found["key"] == "agent:task:coder-1:login"), "{said}");
}

#[test]
fn verify_finds_the_epic_of_a_coordinator_that_came_back_in_another_life() {
    let mut site = Site::start();
    site.coordinator();
    site.redis(&["HSET", "epic:state:shop", "incarnation", "1"]);
    let ended = site.run(&["verify"]);
    assert_eq!(ended.code, Some(1));
    for key in ["sprint:state:api", "sprint:tasks:api", "epic:state:shop", "epic:sprints:shop"] {
        assert!(ended.stdout.contains(key), "{key}: {}", ended.stdout);
    }
}

/// A store is read while it is used: what is half there at the first look is in order at the second.
#[test]
fn verify_raises_no_false_alarm_while_agents_come_and_go() {
    let site = Site::start();
    site.coordinator();
    let store = site.store.clone();
    let busy = site.runtime.spawn(async move {
        for number in 0_u64.. {
            let registration = child_of_the_boss(&format!("coder-{number}"));
            let registered = store.newcomer(&registration).register(AgentState::Running, None).await.unwrap();
            let Registered::Ok(worker) = registered else { panic!("{registered:?}") };
            store.agent(&worker).own_keys(&[format!("cache:{number}")]).await.unwrap();
            store.agent(&worker).release(StopCause::Done, ProcessFate::Unknown).await.unwrap();
        }
    });
    for _ in 0..20 {
        assert!(site.ok(&["verify"]).starts_with("no residue"));
    }
    assert!(!busy.is_finished(), "the agents came and went all the time");
    busy.abort();
}
