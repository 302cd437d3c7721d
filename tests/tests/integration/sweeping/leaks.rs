//! The per-agent leak detector at work in a sweeper: fed by what agents report, told once, seen on the pages and in the
//! store. How good it is at its work is measured by `cargo xtask leak-eval`.

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::memory::leak::{Finding, Trend};
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_redis::{Life, TrendNote};
use lifecycle_tests::plain::Subscription;
use serde_json::Value;

use super::{Daemon, SOON, Site};

const MB: u64 = 1_000_000;
/// Time between two samples. They are backdated: what matters is when they say they were taken.
const STEP_MS: i64 = 300_000;
const LEAKING: &str = "lifecycle_leaking_agents{finding=\"leak\"}";

/// An agent whose samples of the last hours are played back.
struct Player {
    id: &'static str,
    at: i64,
}

impl Player {
    /// Its next sample, seen by every sweeper before it goes on.
    fn plays(&mut self, site: &mut Site, daemons: &[Daemon], rss: u64) {
        self.at += STEP_MS;
        let key = format!("agent:memory:{}", self.id);
        site.redis(&["HSET", &key, "rss", &rss.to_string(), "timestamp", &self.at.to_string()]);
        let series = format!("agent_memory_usage_bytes{{agent_id=\"{}\"}}", self.id);
        for daemon in daemons {
            #[allow(clippy::cast_precision_loss)]
            daemon.wait_for_metric(&series, rss as f64);
        }
    }
}

fn register(site: &mut Site, id: &'static str) -> (Life, Player) {
    let life = site.register(id);
    site.beat_using(&life, MemoryUsage { rss: MB, limit: Some(500_000 * MB), ..MemoryUsage::default() });
    (life, Player { id, at: site.now() - 40 * STEP_MS })
}

fn watcher(site: &Site) -> Daemon {
    site.daemon_with(&[("LIFECYCLE_MEMORY__LEAK_WINDOW", "5s"), ("LIFECYCLE_WIRE__FORMAT", "json")])
}

/// The alerts about agents so far: all that came before a message of our own.
fn about_agents(site: &mut Site, alerts: &mut Subscription) -> Vec<Value> {
    site.redis(&["PUBLISH", "system:alerts", "end"]);
    let mut found: Vec<Value> = Vec::new();
    loop {
        let (_, message) = alerts.next(SOON).unwrap().expect("our own message");
        if message == b"end" {
            return found;
        }
        let alert: Value = serde_json::from_slice(&message).unwrap();
        if alert["agentId"].is_string() {
            found.push(alert);
        }
    }
}

#[test]
fn an_agent_that_leaks_is_told_of_once_by_two_sweepers_until_it_gives_back_what_it_took() {
    let mut site = Site::start();
    let mut alerts = site.server.client().unwrap().subscribe(&["system:alerts"]).unwrap();
    let (life, mut leaky) = register(&mut site, "leaky");
    let daemons = [watcher(&site), watcher(&site)];
    for daemon in &daemons {
        daemon.wait_for_metric(LEAKING, 0.0);
    }
    for n in 1..=12 {
        leaky.plays(&mut site, &daemons, 300 * MB + n * 5_000 * MB);
    }
    for daemon in &daemons {
        daemon.wait_for_metric(LEAKING, 1.0);
    }
    let told = about_agents(&mut site, &mut alerts);
    assert_eq!(told.len(), 1, "{told:?}");
    let alert = &told[0];
    assert_eq!((&alert["type"], &alert["agentId"]), (&"memory_leak_detected".into(), &"leaky".into()));
    assert_eq!(
        (&alert["reason"], &alert["incarnation"]),
        (&"leak".into(), &life.incarnation.to_string().into())
    );
    let slope = alert["slopeBytesPerHour"].as_f64().unwrap();
    assert!((59e9..61e9).contains(&slope), "{alert}");
    assert!(alert["confidence"].as_f64() > Some(0.5) && alert["windowMs"].as_u64() > Some(0), "{alert}");
    assert!(alert["limitReachedMs"].as_i64() > Some(leaky.at), "{alert}");
    let trend = site.done(site.store.operator().trends(&["leaky"])).remove(0).unwrap();
    assert_eq!(trend.finding, Some(Finding::Leak));
    assert!(trend.floors.len() >= 8 && trend.floors.is_sorted(), "{trend:?}");

    for _ in 0..3 {
        leaky.plays(&mut site, &daemons, 300 * MB);
        leaky.plays(&mut site, &daemons, 301 * MB);
    }
    for daemon in &daemons {
        daemon.wait_for_metric(LEAKING, 0.0);
    }
    site.wait_until("the latch to open", |client| {
        client.text(&["HGET", "agent:memory:leaky", "leakSeen"]).unwrap().is_none()
    });
    assert_eq!(about_agents(&mut site, &mut alerts), [Value::Null; 0], "an end is no alert");
}

#[test]
fn what_is_known_of_a_leak_goes_with_the_life_that_leaked() {
    let mut site = Site::start();
    let (life, mut leaky) = register(&mut site, "leaky");
    let daemons = [watcher(&site)];
    daemons[0].wait_for_metric(LEAKING, 0.0);
    for n in 1..=12 {
        leaky.plays(&mut site, &daemons, 300 * MB + n * 5_000 * MB);
    }
    daemons[0].wait_for_metric(LEAKING, 1.0);
    site.release(&life, StopCause::Done).unwrap();
    daemons[0].wait_for_metric(LEAKING, 0.0);
    let trend = site.done(site.store.operator().trends(&["leaky"])).remove(0);
    assert_eq!(trend, None, "no sweeper writes beside figures that are gone");
    assert!(!site.keys().iter().any(|key| key.starts_with("agent:memory:")));
}

fn trend(finding: Option<Finding>, slope: f64) -> Trend {
    Trend { slope_bytes_per_hour: slope, confidence: 0.5, limit_reached_at: None, finding, floors: vec![1] }
}

fn begins<'a>(id: &'a str, life: &Life, trend: &'a Trend, alert: &'a (Finding, Event)) -> TrendNote<'a> {
    let incarnation = Some(life.incarnation);
    let lasting = std::slice::from_ref(&alert.0);
    TrendNote { id, incarnation, trend, began: Some((alert.0, &alert.1)), ended: &[], lasting }
}

#[test]
fn each_finding_has_a_latch_of_its_own_which_opens_when_it_ends_or_nobody_sees_it_any_more() {
    let mut site = Site::start();
    let (life, _) = register(&mut site, "a");
    let tell = |site: &Site, note| site.done(site.store.sweeper().tell_trend(note));
    let alert = |finding| (finding, decode(br#"{"type":"memory_leak_detected"}"#).unwrap());
    let (leak, runaway) = (alert(Finding::Leak), alert(Finding::Runaway));
    let leaking = trend(Some(Finding::Leak), 5.0);
    assert!(tell(&site, begins("a", &life, &leaking, &leak)));
    assert!(tell(&site, begins("a", &life, &leaking, &runaway)), "another finding");
    assert!(!tell(&site, begins("a", &life, &leaking, &leak)), "another sweeper, the same episode");
    assert!(!tell(&site, begins("a", &life, &leaking, &runaway)));

    let quiet = TrendNote { began: None, lasting: &[], ..begins("a", &life, &leaking, &leak) };
    let nothing = trend(None, 0.0);
    assert!(!tell(&site, TrendNote { trend: &nothing, ..quiet }));
    let kept = site.done(site.store.operator().trends(&["a"])).remove(0);
    assert_eq!(kept, Some(leaking.clone()), "a sweeper that has found nothing does not write over it");

    assert!(!tell(&site, TrendNote { ended: &[Finding::Runaway], ..quiet }));
    assert!(tell(&site, begins("a", &life, &leaking, &runaway)), "the next episode");
    assert!(!tell(&site, begins("a", &life, &leaking, &leak)), "this one still goes on");
    // As if the sweepers that saw it had died.
    let long_ago = site.ago(300_001);
    site.redis(&["HSET", "agent:memory:a", "leakSeen", &long_ago]);
    assert!(tell(&site, begins("a", &life, &leaking, &leak)));

    let earlier = Some(Incarnation(life.incarnation.0 - 1));
    site.redis(&["HDEL", "agent:memory:a", "leakSeen"]);
    assert!(!tell(&site, TrendNote { incarnation: earlier, ..begins("a", &life, &leaking, &leak) }));
    let plain = TrendNote { incarnation: None, ..begins("plain", &life, &leaking, &leak) };
    assert!(tell(&site, plain), "without figures to write beside it is better to tell twice than never");
    assert!(!site.client.exists("agent:memory:plain").unwrap());
}
