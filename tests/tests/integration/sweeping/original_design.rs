//! The original design's own tests, translated literally: agents write JSON heartbeats with a plain client. Instead of
//! waiting three minutes, heartbeats are dated back by three minutes.

use std::hash::{BuildHasher as _, RandomState};

use super::{Site, count};

#[test]
fn should_detect_agents_with_stale_heartbeats() {
    let mut site = Site::start();
    let timestamp = site.now() - 180_000;
    let beat = format!(r#"{{"agentId":"stale-agent","timestamp":{timestamp}}}"#);
    site.redis(&["SET", "agent:heartbeat:stale-agent", &beat]);
    site.redis(&["SADD", "agents:active", "stale-agent"]);

    let result = site.sweep();

    assert_eq!(count(&result, "orphansDetected"), 1);
    assert_eq!(count(&result, "orphansCleaned"), 1);
    let orphan = &result["orphans"][0];
    assert_eq!((&orphan["agentId"], &orphan["reason"]), (&"stale-agent".into(), &"stale_heartbeat".into()));
    assert_eq!(orphan["lastSeen"].as_i64(), Some(timestamp));
    assert!(orphan["idleTime"].as_u64().unwrap() >= 180_000, "{orphan}");
    assert_eq!(site.client.int(&["SISMEMBER", "agents:active", "stale-agent"]).unwrap(), 0);
    assert_eq!(site.keys(), [""; 0]);
}

#[test]
fn should_not_cleanup_healthy_agents() {
    let mut site = Site::start();
    let timestamp = site.now() - 30_000;
    let beat = format!(r#"{{"agentId":"healthy-agent","timestamp":{timestamp}}}"#);
    site.redis(&["SET", "agent:heartbeat:healthy-agent", &beat]);
    site.redis(&["SADD", "agents:active", "healthy-agent"]);

    let result = site.sweep();

    assert_eq!(count(&result, "orphansDetected"), 0);
    assert_eq!(count(&result, "healthyAgents"), 1);
    assert_eq!(site.client.int(&["SISMEMBER", "agents:active", "healthy-agent"]).unwrap(), 1);
}

#[test]
fn an_agent_without_a_heartbeat_was_never_seen() {
    let mut site = Site::start();
    site.redis(&["SADD", "agents:active", "silent-agent"]);
    let result = site.sweep();
    let orphan = &result["orphans"][0];
    assert_eq!(
        (&orphan["reason"], &orphan["lastSeen"]),
        (&"missing_heartbeat".into(), &serde_json::Value::Null)
    );
    assert_eq!(site.active(), [""; 0]);
}

#[test]
fn should_cleanup_agents_after_random_crashes() {
    let mut site = Site::start();
    let random = RandomState::new();
    let agents: Vec<String> = (0..10).map(|n| format!("agent-{n}")).collect();
    let (crashed, healthy): (Vec<&String>, Vec<&String>) =
        agents.iter().partition(|agent| random.hash_one(agent) % 10 < 3);
    for agent in &crashed {
        site.plain(agent, 180_000);
    }
    for agent in &healthy {
        site.plain(agent, 0);
    }

    let result = site.sweep();

    assert_eq!(count(&result, "orphansCleaned"), crashed.len() as u64, "{crashed:?} in {result}");
    assert_eq!(count(&result, "healthyAgents"), healthy.len() as u64, "{crashed:?} in {result}");
    assert_eq!(site.active(), healthy.into_iter().cloned().collect::<Vec<_>>());
}

#[test]
fn a_dry_run_says_who_would_go_and_writes_nothing() {
    let mut site = Site::start();
    site.plain("gone", 180_000);
    site.plain("here", 0);
    let before = site.client.keys().unwrap();
    let mut sweep = site.sweeper_command(&["sweep", "--dry-run", "--output", "json"]).spawn().unwrap();
    let result = super::result(&mut sweep);
    assert_eq!((count(&result, "orphansDetected"), count(&result, "orphansCleaned")), (1, 0));
    assert_eq!(count(&result, "healthyAgents"), 1);
    assert_eq!(result["orphans"][0]["outcome"], "detected");
    assert_eq!(site.client.keys().unwrap(), before);
}
