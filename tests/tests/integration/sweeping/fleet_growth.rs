//! The original design's leak rule, corrected: compared with what was really there a window ago, told once.

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::memory::fleet_growth::LeakTurn;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_redis::Life;
use lifecycle_tests::plain::Subscription;
use serde_json::{Value, json};

use super::{Daemon, LONG_AGO_MS, SOON, Site, count};

const MB: u64 = 1_000_000;
const WINDOW_MS: i64 = 60_000;
/// Longer ago than the window, and for long not half a window longer.
const THEN_MS: i64 = 61_000;
const DETECTED: &str = "memory_leak_detected{threshold=\"100MB\"}";

impl Site {
    /// An agent that was there a window ago, with this much memory.
    fn there_for_long(&mut self, id: &str, rss: u64) -> Life {
        let life = self.register(id);
        self.uses(&life, rss);
        let then = self.ago(THEN_MS);
        self.redis(&["HSET", &format!("agent:memory:{id}"), "timestamp", &then]);
        life
    }

    fn uses(&self, life: &Life, rss: u64) {
        let usage = MemoryUsage { rss, heap_used: rss / 2, ..MemoryUsage::default() };
        self.beat_using(life, usage);
    }

    fn watcher(&self) -> Daemon {
        self.daemon_with(&[("LIFECYCLE_MEMORY__LEAK_WINDOW", "60s"), ("LIFECYCLE_WIRE__FORMAT", "json")])
    }

    /// The alerts so far: all that came before a message of our own.
    fn alerts(&mut self, alerts: &mut Subscription) -> Vec<Value> {
        self.redis(&["PUBLISH", "system:alerts", "end"]);
        let mut found = Vec::new();
        loop {
            let (_, message) = alerts.next(SOON).unwrap().expect("our own message");
            if message == b"end" {
                return found;
            }
            found.push(serde_json::from_slice(&message).unwrap());
        }
    }
}

#[test]
fn two_sweepers_see_a_leak_and_one_alert_tells_of_it_and_of_the_next_one() {
    let mut site = Site::start();
    let mut alerts = site.server.client().unwrap().subscribe(&["system:alerts"]).unwrap();
    let leaky = site.there_for_long("leaky", 50 * MB);
    let steady = site.there_for_long("steady", 30 * MB);
    let daemons = [site.watcher(), site.watcher()];
    for daemon in &daemons {
        daemon.wait_for_metric("memory_growth_bytes", 0.0);
        assert_eq!(daemon.metric(DETECTED), Some(0.0));
    }
    let baseline: Value =
        serde_json::from_str(&site.client.text(&["GET", "memory:baseline"]).unwrap().unwrap()).unwrap();
    assert_eq!((&baseline["totalAgents"], &baseline["totalRSS"]), (&json!(2), &json!(80 * MB)));
    let left = site.client.int(&["PTTL", "memory:baseline"]).unwrap();
    assert!((1..=WINDOW_MS * 2).contains(&left), "{left}");

    let newcomer = site.register("newcomer");
    site.uses(&newcomer, 1_000 * MB);
    site.uses(&leaky, 250 * MB);
    site.uses(&steady, 29 * MB);
    for daemon in &daemons {
        daemon.wait_for_metric("memory_growth_bytes", (199 * MB) as f64);
        daemon.wait_for_metric(DETECTED, 1.0);
        daemon.wait_for_metric("lifecycle_fleet_rss_bytes", (1_279 * MB) as f64);
    }
    let told = site.alerts(&mut alerts);
    assert_eq!(told.len(), 1, "{told:?}");
    let alert = &told[0];
    assert_eq!(alert["type"], "memory_leak_detected");
    assert_eq!(alert["growth"], 199 * MB);
    assert_eq!(alert["growthPct"], 248.75);
    assert_eq!(
        (&alert["baseline"]["totalRSS"], &alert["current"]["totalRSS"]),
        (&json!(80 * MB), &json!(279 * MB))
    );
    assert_eq!(alert["current"]["totalHeapUsed"], json!(279 * MB / 2));
    assert_eq!(alert["current"]["totalAgents"], 2, "the newcomer is no growth");
    assert!(alert["current"]["redisMemory"].as_u64() > Some(0), "{alert}");
    assert_eq!(alert["agents"], json!([{"agentId": "leaky", "growth": 200 * MB}]));

    site.release(&leaky, StopCause::Done).unwrap();
    for daemon in &daemons {
        daemon.wait_for_metric(DETECTED, 0.0);
    }
    let again = site.there_for_long("again", MB);
    for daemon in &daemons {
        daemon.wait_for_metric("agent_memory_usage_bytes{agent_id=\"again\"}", MB as f64);
    }
    site.uses(&again, 201 * MB);
    for daemon in &daemons {
        daemon.wait_for_metric(DETECTED, 1.0);
    }
    let told = site.alerts(&mut alerts);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["agents"][0]["agentId"], "again");
}

#[test]
fn the_latch_lets_one_alert_through_and_opens_by_itself_when_nobody_looks_any_more() {
    let mut site = Site::start();
    let alert: Event = decode(br#"{"type":"memory_leak_detected"}"#).unwrap();
    let latch = |site: &Site, turn| {
        let alert = (turn == LeakTurn::Began).then_some(&alert);
        site.done(site.store.sweeper().latch_leak(turn, alert))
    };
    assert!(latch(&site, LeakTurn::Began));
    assert!(!latch(&site, LeakTurn::Began), "another sweeper saw it too");
    assert!(!latch(&site, LeakTurn::Lasts));
    // As if all sweepers had died a window ago.
    let long_ago = site.ago(300_001);
    site.redis(&["HSET", "memory:stats", "leakSeen", &long_ago]);
    assert!(latch(&site, LeakTurn::Began));
    assert!(!latch(&site, LeakTurn::Ended));
    assert!(latch(&site, LeakTurn::Began), "another episode");
    let ahead = site.ahead(3_600_000);
    site.redis(&["HSET", "memory:stats", "leakSeen", &ahead]);
    assert!(latch(&site, LeakTurn::Began), "the server's clock was set back");
    site.redis(&["DEL", "memory:stats"]);
    site.redis(&["SET", "memory:stats", "a string"]);
    assert!(latch(&site, LeakTurn::Began), "better twice than never");
    assert!(!latch(&site, LeakTurn::Lasts) && !latch(&site, LeakTurn::Ended));
}

#[test]
fn the_counters_of_the_fleet_are_kept_true_by_registration_and_by_every_way_to_go() {
    let mut site = Site::start();
    let leaves = site.register("leaves");
    assert!(site.beats(&leaves));
    site.register("dies");
    site.register("stays");
    let agents = |site: &mut Site| site.client.text(&["HGET", "memory:stats", "agents"]).unwrap();
    assert_eq!(agents(&mut site).as_deref(), Some("3"));
    site.release(&leaves, StopCause::Done).unwrap();
    assert_eq!(agents(&mut site).as_deref(), Some("2"));
    site.plain("plain", LONG_AGO_MS);
    site.expire("dies");
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 2);
    assert_eq!(agents(&mut site).as_deref(), Some("1"), "a plain agent was never counted in");
    let deleted = |site: &mut Site| site.client.text(&["HGET", "memory:stats", "keysDeleted"]).unwrap();
    // Record, heartbeat and memory; a record; a heartbeat.
    assert_eq!(deleted(&mut site).as_deref(), Some("5"));

    // A plain agent that takes itself off the list, as the original design's shutdown does, and leaves its memory behind.
    site.plain("goes", 0);
    site.redis(&["HSET", "agent:memory:goes", "rss", "1"]);
    site.sweep();
    site.redis(&["SREM", "agents:active", "goes"]);
    site.redis(&["DEL", "agent:heartbeat:goes"]);
    site.sweep();
    assert_eq!(deleted(&mut site).as_deref(), Some("6"));
}

#[test]
fn counters_that_somebody_overwrote_keep_no_cleanup_from_its_end() {
    let mut site = Site::start();
    site.register("dies");
    site.expire("dies");
    site.redis(&["DEL", "memory:stats"]);
    site.redis(&["SET", "memory:stats", "a string"]);
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 1);
    assert_eq!(site.log().len(), 1);
    assert_eq!(site.keys(), [""; 0]);
}
