//! What the pages of `sweeper run` say.

use std::time::Duration;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::event::EventKind;
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::metric;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_tests::eventually;
use serde_json::Value;

use super::{Daemon, SOON, Site};

/// Figures are read 20 times per window.
const OFTEN: (&str, &str) = ("LIFECYCLE_MEMORY__LEAK_WINDOW", "10s");
const RECONCILE: (&str, &str) = ("LIFECYCLE_SWEEP__RECONCILE_INTERVAL", "200ms");

fn usage(rss: u64, heap_used: u64, processes: u64) -> MemoryUsage {
    MemoryUsage { rss, heap_used, processes: Some(processes), ..MemoryUsage::default() }
}

impl Site {
    fn using(&self, id: &str, usage: MemoryUsage) {
        let life = self.register(id);
        self.beat_using(&life, usage);
    }
}

#[test]
fn every_metric_is_on_a_live_scrape_with_its_help_and_its_type() {
    let mut site = Site::start();
    site.using("one", usage(7, 3, 2));
    let then = site.ago(11_000);
    site.redis(&["HSET", "agent:memory:one", "timestamp", &then]);
    let daemon = site.daemon_with(&[OFTEN]);
    let mut missing = Vec::new();
    eventually(SOON, "every metric", || {
        let (_, text) = daemon.page("/metrics");
        missing = metric::ALL
            .iter()
            .filter(|(name, kind, help)| {
                let parts =
                    [format!("# HELP {name} {help}\n"), format!("# TYPE {name} {}\n{name}", kind.as_str())];
                !parts.iter().all(|part| text.contains(part.as_str()))
            })
            .collect();
        Ok(missing.is_empty().then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {missing:?}"));
}

#[test]
fn counters_begin_at_zero_for_every_value_of_their_label() {
    let site = Site::start();
    let daemon = site.daemon_with(&[]);
    let mut series: Vec<String> = Vec::new();
    let mut add = |name: &str, label: &str, values: &[&str]| {
        series.extend(values.iter().map(|value| format!("{name}{{{label}=\"{value}\"}}")));
    };
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let events: Vec<&str> = EventKind::written().map(EventKind::as_str).collect();
    add(metric::ORPHAN_CLEANUP, "reason", &reasons);
    add(metric::BUS_EVENTS, "event", &events);
    add(metric::BUS_EVENTS, "event", &["unknown"]);
    add(metric::PROCESS_PROOFS, "outcome", &["dead", "killed", "left", "unknown"]);
    add(metric::SWEEP_PASSES, "outcome", &["held", "failed"]);
    add(metric::SWEEP_HOLDS, "reason", &["mass_silence", "unwatched", "stragglers"]);
    add(metric::REAP_OUTCOMES, "outcome", &["cleaned", "refuted", "elsewhere", "failed"]);
    add(metric::RECONCILED, "finding", &["unleased", "unindexed"]);
    add(metric::BUS_RESYNCS, "reason", &["reconnected", "overrun", "lagged"]);
    series.extend(
        [metric::BEATS, metric::FENCED_WRITES, metric::KEYS_DELETED, metric::TASKS_REQUEUED].map(Into::into),
    );
    for series in series {
        assert_eq!(daemon.metric(&series), Some(0.0), "{series}\n{}", daemon.page("/metrics").1);
    }
    assert_eq!(daemon.metric("lifecycle_bus_resyncs_total{reason=\"subscribed\"}"), Some(1.0));
}

#[test]
fn three_sweepers_show_one_fleet_and_hear_the_same() {
    let mut site = Site::start();
    site.using("one", usage(7_000_000, 5_000_000, 3));
    let two = site.register("two");
    site.beat_using(&two, usage(2_000_000, 0, 1));
    site.plain("three", 0);
    site.redis(&["HSET", "agent:memory:three", "rss", "9000000", "heapUsed", "1000000"]);
    let daemons: Vec<Daemon> = (0..3).map(|_| site.daemon_with(&[OFTEN])).collect();
    for daemon in &daemons {
        for (series, value) in [
            ("agent_count_total{state=\"active\"}", 3.0),
            ("agent_count_total{state=\"orphaned\"}", 0.0),
            ("agent_memory_usage_bytes{agent_id=\"one\"}", 7_000_000.0),
            ("agent_memory_usage_bytes{agent_id=\"two\"}", 2_000_000.0),
            ("agent_memory_usage_bytes{agent_id=\"three\"}", 9_000_000.0),
            ("lifecycle_agents{state=\"busy\"}", 2.0),
            ("lifecycle_agents{state=\"plain\"}", 1.0),
            ("lifecycle_agents{state=\"stopped\"}", 0.0),
            ("lifecycle_fleet_rss_bytes", 18_000_000.0),
            ("lifecycle_fleet_heap_used_bytes", 6_000_000.0),
            ("lifecycle_fleet_processes", 4.0),
            ("lifecycle_orphans{reason=\"stale_heartbeat\"}", 0.0),
            ("lifecycle_sweep_held_agents", 0.0),
            ("memory_leak_detected{threshold=\"100MB\"}", 0.0),
        ] {
            daemon.wait_for_metric(series, value);
        }
    }
    for _ in 0..2 {
        site.beat_using(&two, usage(2_000_000, 0, 1));
    }
    for daemon in &daemons {
        daemon.wait_for_metric("lifecycle_beats_total", 2.0);
    }
}

#[test]
fn series_of_agents_that_are_gone_disappear_and_so_does_their_part_of_the_totals() {
    let mut site = Site::start();
    site.using("stays", usage(1, 0, 1));
    let leaves = site.register("leaves");
    site.beat_using(&leaves, usage(10, 0, 1));
    site.using("vanishes", usage(100, 0, 1));
    let daemon = site.daemon_with(&[OFTEN]);
    daemon.wait_for_metric("lifecycle_fleet_rss_bytes", 111.0);
    site.release(&leaves, StopCause::Done).unwrap();
    // As nobody of ours does it: no event, nothing but an entry that is not there any more.
    site.redis(&["SREM", "agents:active", "vanishes"]);
    site.redis(&["ZREM", "agents:leases", "vanishes"]);
    daemon.wait_for_metric("lifecycle_fleet_rss_bytes", 1.0);
    daemon.wait_for_metric("lifecycle_agents{state=\"busy\"}", 1.0);
    let (_, text) = daemon.page("/metrics");
    let series: Vec<&str> =
        text.lines().filter(|line| line.starts_with("agent_memory_usage_bytes{")).collect();
    assert_eq!(series, ["agent_memory_usage_bytes{agent_id=\"stays\"} 1"]);
}

#[test]
fn while_the_store_is_away_the_pages_say_so() {
    let mut site = Site::start();
    let daemon = site.daemon_with(&[]);
    daemon.wait_for_metric("lifecycle_store_up", 1.0);
    let of_the_fleet =
        ["agent_count_total{state=\"active\"}", "lifecycle_sweep_held_agents", "lifecycle_fleet_rss_bytes"];
    for series in of_the_fleet {
        daemon.wait_for_metric(series, 0.0);
    }
    assert!(daemon.metric("lifecycle_store_round_trip_seconds_count") >= Some(1.0));
    eventually(SOON, "a message to itself", || Ok(daemon.metric("lifecycle_bus_lag_seconds"))).unwrap();
    site.server.pause().unwrap();
    daemon.wait_for_metric("lifecycle_store_up", 0.0);
    // What the fleet was is not what it is; what this sweeper did, it did.
    assert_eq!(of_the_fleet.map(|series| daemon.metric(series)), [None; 3]);
    assert_eq!(daemon.metric("agent_orphan_cleanup_count{reason=\"stale_heartbeat\"}"), Some(0.0));
    let age = daemon.metric("lifecycle_sweep_last_good_age_seconds").unwrap();
    eventually(SOON, "the age of the last good pass and the lag to grow", || {
        let grown = daemon.metric("lifecycle_sweep_last_good_age_seconds") > Some(age + 0.5);
        Ok((grown && daemon.metric("lifecycle_bus_lag_seconds") > Some(1.0)).then_some(()))
    })
    .unwrap();
    site.server.resume().unwrap();
    daemon.wait_for_metric("lifecycle_store_up", 1.0);
    daemon.wait_for_metric("agent_count_total{state=\"active\"}", 0.0);
    site.redis(&["PUBLISH", "agent:lifecycle", r#"{"type":"process_exited"}"#]);
    eventually(SOON, "the next good pass and message to itself", || {
        let young = daemon.metric("lifecycle_sweep_last_good_age_seconds") < Some(age);
        Ok((young && daemon.metric("lifecycle_bus_lag_seconds") < Some(1.0)).then_some(()))
    })
    .unwrap();
}

#[test]
fn what_is_heard_on_the_bus_is_counted_once_by_what_it_means() {
    let mut site = Site::start();
    let daemon = site.daemon_with(&[]);
    for event in [
        r#"{"type":"heartbeat_sent","agentId":"a"}"#,
        r#"{"type":"agent_fenced","agentId":"a"}"#,
        r#"{"type":"cleanup_acknowledged","agentId":"a","process":"dead"}"#,
        r#"{"type":"cleanup_completed","agentId":"a","process":"dead"}"#,
        r#"{"type":"cleanup_acknowledged","agentId":"b","process":"killed"}"#,
        r#"{"type":"cleanup_completed","agentId":"c","process":"unknown"}"#,
        r#"{"type":"agent_promoted","agentId":"a"}"#,
        "rubbish",
    ] {
        site.redis(&["PUBLISH", "agent:lifecycle", event]);
    }
    site.redis(&["PUBLISH", "system:alerts", r#"{"type":"memory_limit_exceeded"}"#]);
    for (series, value) in [
        ("lifecycle_bus_events_total{event=\"memory_limit_exceeded\"}", 1.0),
        ("lifecycle_bus_events_total{event=\"cleanup_acknowledged\"}", 2.0),
        ("lifecycle_bus_events_total{event=\"unknown\"}", 2.0),
        ("lifecycle_beats_total", 1.0),
        ("lifecycle_fenced_writes_total", 1.0),
        ("lifecycle_process_proofs_total{outcome=\"dead\"}", 1.0),
        ("lifecycle_process_proofs_total{outcome=\"killed\"}", 1.0),
        ("lifecycle_process_proofs_total{outcome=\"unknown\"}", 1.0),
    ] {
        daemon.wait_for_metric(series, value);
    }
}

#[test]
fn an_agent_that_an_index_lost_is_a_finding_and_the_first_lease_of_a_plain_agent_is_none() {
    let mut site = Site::start();
    site.register("lost");
    let daemon = site.daemon_with(&[]);
    site.plain("new", 0);
    site.redis(&["ZREM", "agents:leases", "lost"]);
    site.redis(&["PUBLISH", "agent:lifecycle", r#"{"type":"process_exited"}"#]);
    daemon.wait_for_metric("lifecycle_reconciled_agents_total{finding=\"unleased\"}", 1.0);
    daemon.wait_for_metric("agent_count_total{state=\"active\"}", 2.0);
    assert_eq!(daemon.metric("lifecycle_reconciled_agents_total{finding=\"unindexed\"}"), Some(0.0));

    site.redis(&["ZREM", "agents:leases", "lost"]);
    site.redis(&["SREM", "agents:active", "lost"]);
    let other = site.daemon_with(&[RECONCILE]);
    other.wait_for_metric("lifecycle_reconciled_agents_total{finding=\"unindexed\"}", 1.0);
    assert_eq!(other.metric("lifecycle_reconciled_agents_total{finding=\"unleased\"}"), Some(0.0));
}

#[test]
fn residue_is_what_verify_finds_but_for_those_who_only_wait_for_cleanup() {
    let mut site = Site::start();
    let life = site.register("alive");
    site.own(&life, ["mine"]);
    let client = &mut site.client;
    client.run(&["SET", "mine", "1"]).unwrap();
    client.run(&["SET", "agent:task:nobody:login", "1"]).unwrap();
    client.run(&["SET", "agent:state:nobody-else", "1"]).unwrap();
    client.run(&["HSET", "sprint:tasks:lost", "a", "1"]).unwrap();
    client.run(&["SADD", "epic:sprints:lost", "lost"]).unwrap();
    client.run(&["SET", "cleanup:lock:alive", "for ever"]).unwrap();
    client.run(&["SETEX", "cleanup:lock:nobody", "300", "in progress"]).unwrap();
    client.run(&["SET", "other:program", "1"]).unwrap();
    let daemon = site.daemon_with(&[RECONCILE]);
    daemon.wait_for_metric("lifecycle_residue_keys", 5.0);
    assert_eq!(site.verified().len(), 5, "{:?}", site.verified());

    for key in site.verified() {
        site.redis(&["DEL", &key]);
    }
    daemon.wait_for_metric("lifecycle_residue_keys", 0.0);
    assert_eq!(
        site.keys(),
        ["agent:keys:alive", "agent:state:alive", "cleanup:lock:nobody", "mine", "other:program"]
    );
}

impl Site {
    /// The keys that `lifecyclectl verify` complains of.
    fn verified(&self) -> Vec<String> {
        let mut verify = self.role("lifecyclectl").args(["verify", "--output", "json"]).spawn().unwrap();
        verify.wait(SOON).unwrap();
        let findings: Value = serde_json::from_str(&verify.stdout()).unwrap();
        let residue = findings["residue"].as_array().unwrap();
        residue.iter().map(|finding| finding["key"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_used_part_of_a_lease_is_that_of_the_latest_agent() {
    let mut site = Site::start();
    site.register("fresh");
    site.register("late");
    site.lease_ends_in("late", 300_000);
    let daemon = site.daemon_with(&[OFTEN]);
    let used = eventually(SOON, "the figure", || Ok(daemon.metric("lifecycle_lease_used_ratio"))).unwrap();
    assert!((0.5..0.7).contains(&used), "{used}");
}

#[test]
fn the_processes_of_a_command_are_counted_with_its_supervisor() {
    let site = Site::start();
    let agent = site.agent("busy", "sleep 600; true").env("LIFECYCLE_HEARTBEAT__INTERVAL", "200ms");
    let _agent = agent.spawn().unwrap();
    let daemon = site.daemon_with(&[OFTEN]);
    // The supervisor, the shell and what it waits for.
    eventually(SOON, "three processes", || {
        Ok((daemon.metric("lifecycle_fleet_processes") >= Some(3.0)).then_some(()))
    })
    .unwrap();
}

#[test]
fn absurd_figures_and_keys_of_another_type_cost_a_figure_and_nothing_else() {
    let mut site = Site::start();
    site.using("sane", usage(5_000_000, 0, 1));
    for (id, rss) in [("minus", "-4"), ("huge", "1e99"), ("word", "\"much\""), ("list", "[1]")] {
        let now = site.now();
        let beat = format!(r#"{{"agentId":"{id}","timestamp":{now},"memoryUsage":{{"rss":{rss}}}}}"#);
        site.redis(&["SETEX", &format!("agent:heartbeat:{id}"), "180", &beat]);
        site.redis(&["SADD", "agents:active", id]);
    }
    for (id, rss) in [("minus", "-5"), ("huge", "18446744073709551615"), ("word", "much")] {
        site.redis(&["HSET", &format!("agent:memory:{id}"), "rss", rss, "heapUsed", rss]);
    }
    site.redis(&["SET", "agent:memory:list", "a string"]);
    site.redis(&["RPUSH", "memory:baseline", "a list"]);
    site.redis(&["DEL", "memory:stats"]);
    site.redis(&["SET", "memory:stats", "a string"]);
    let mut daemon = site.daemon_with(&[OFTEN]);
    daemon.wait_for_metric("lifecycle_agents{state=\"plain\"}", 4.0);
    assert_eq!(daemon.metric("lifecycle_fleet_rss_bytes"), Some(5_000_000.0));
    assert_eq!(daemon.metric("lifecycle_fleet_heap_used_bytes"), Some(0.0));
    let (_, text) = daemon.page("/metrics");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("agent_memory_usage_bytes{")).count(),
        1,
        "{text}"
    );
    assert!(daemon.role.wait(Duration::ZERO).is_err(), "{}", daemon.role.stderr());
}
