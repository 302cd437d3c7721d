//! `sweeper run`: when it looks, what it holds, what it says of itself.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lifecycle_core::wire::record::Registration;
use lifecycle_redis::{Life, Store};
use lifecycle_tests::eventually;

use super::{Daemon, LONG_AGO_MS, SOON, Site};
use crate::site::{beat, registration};

#[test]
fn it_starts_before_the_store_says_so_and_becomes_ready_when_it_comes() {
    let mut site = Site::start();
    site.server.kill().unwrap();
    let daemon = site.daemon();
    daemon.role.wait_for_line(|line| line.contains("no pass could be made"), SOON).unwrap();
    let (code, why) = daemon.page("/readyz");
    assert_eq!((code, why.lines().count()), (503, 1), "{why}");
    assert!(why.contains("does not answer"), "{why}");
    assert_eq!(daemon.page("/healthz").0, 200, "it is alive, there is only nothing to sweep");

    site.server.restart().unwrap();
    daemon.wait_until_ready();
    site.client = site.server.client().unwrap();
    assert!(site.client.exists("sweep:watermark").unwrap());
    let complaints = daemon.role.stderr().lines().filter(|line| line.contains("WARN")).count();
    assert_eq!(complaints, 1, "one line for the outage:\n{}", daemon.role.stderr());

    site.server.pause().unwrap();
    eventually(SOON, "the sweeper not to be ready", || Ok((daemon.page("/readyz").0 == 503).then_some(())))
        .unwrap();
    site.server.resume().unwrap();
    daemon.wait_until_ready();
}

#[test]
fn evidence_of_exit_is_acted_on_at_once_and_not_at_the_next_timer() {
    let mut site = Site::start();
    let daemon = site.daemon();
    daemon.wait_until_ready();
    let life = site.register("crashed");
    site.prove_exit(&life);
    // The lease had 600 s to go and the backstop comes every 60 s.
    site.wait_until("the cleanup", |client| client.int(&["XLEN", "agents:log"]).unwrap() == 1);
    let entry = &site.log()[0];
    assert_eq!((entry["reason"].as_str(), entry["process"].as_str()), ("process_exited", "unknown"));
    site.wait_until("the metric", |_| {
        daemon.metric("agent_orphan_cleanup_count{reason=\"process_exited\"}") == Some(1.0)
    });
}

#[test]
fn it_wakes_for_the_next_lease_to_end_even_of_an_agent_that_registered_later() {
    let mut site = Site::start();
    let daemon = site.daemon();
    daemon.wait_until_ready();
    site.register_as(&Registration { lease: Duration::from_millis(1_500), ..registration("short") });
    // The backstop comes every 60 s.
    site.wait_until("the cleanup", |client| client.int(&["XLEN", "agents:log"]).unwrap() == 1);
    assert_eq!(site.log()[0]["reason"], "missing_heartbeat");
}

#[test]
fn a_port_that_is_taken_costs_the_pages_until_it_is_free_and_not_the_sweeping() {
    let mut site = Site::start();
    site.plain("gone", LONG_AGO_MS);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sweeper = site.sweeper_command(&["run", "--listen", &address]).spawn().unwrap();
    let complaint = sweeper.wait_for_line(|line| line.contains("http.listen"), SOON).unwrap();
    for part in [address.as_str(), "in use", "sweeping goes on", "trying again"] {
        assert!(complaint.contains(part), "{part} in {complaint}");
    }
    site.wait_until("the cleanup", |client| client.int(&["XLEN", "agents:log"]).unwrap() == 1);

    drop(taken);
    let daemon = Daemon::of(sweeper);
    assert_eq!(daemon.address, address);
    daemon.wait_until_ready();
    let complaints = daemon.role.stderr().lines().filter(|line| line.contains("ERROR")).count();
    assert_eq!(complaints, 1, "one line for all tries:\n{}", daemon.role.stderr());
}

#[test]
fn an_address_that_is_none_is_a_mistake_of_whoever_wrote_it_and_exit_2() {
    let site = Site::start();
    let by_flag = site.sweeper_command(&["run", "--listen", "nowhere"]);
    let by_variable = site.sweeper_command(&["run"]).env("LIFECYCLE_HTTP__LISTEN", "nowhere");
    for command in [by_flag, by_variable] {
        let mut sweeper = command.spawn().unwrap();
        assert_eq!(sweeper.wait(SOON).unwrap().code(), Some(2), "{}", sweeper.stderr());
        assert!(sweeper.stderr().contains("listen"), "{}", sweeper.stderr());
    }
}

const OUTAGE_LEASE: Duration = Duration::from_secs(1);
const AGENTS: usize = 12;

/// Agents that beat five times per lease, unless they are told that the store is away.
async fn keep_beating(store: Store, lives: Vec<Life>, away: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(OUTAGE_LEASE / 5);
    loop {
        ticks.tick().await;
        for life in &lives {
            if !away.load(Ordering::Relaxed) {
                let _ = beat(&store, life, OUTAGE_LEASE).await;
            }
        }
    }
}

fn short_leases(site: &Site) -> Daemon {
    Daemon::from(
        site.sweeper_command(&["run"])
            .env("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", "1s")
            .env("LIFECYCLE_HEARTBEAT__INTERVAL", "200ms")
            .env("LIFECYCLE_SWEEP__INTERVAL", "1s"),
    )
}

fn register_short(site: &Site) -> Vec<Life> {
    let agent = |n| Registration { lease: OUTAGE_LEASE, ..registration(&format!("agent-{n}")) };
    (0..AGENTS).map(|n| site.register_as(&agent(n))).collect()
}

#[test]
fn after_an_outage_of_five_leases_nobody_is_reaped_and_the_reason_is_said() {
    let mut site = Site::start();
    let away = Arc::new(AtomicBool::new(false));
    let lives = register_short(&site);
    site.runtime.spawn(keep_beating(site.store.clone(), lives.clone(), Arc::clone(&away)));
    let mut daemon = short_leases(&site);
    daemon.wait_until_ready();
    let good = site.client.text(&["HGET", "sweep:watermark", "good"]).unwrap();
    site.wait_until("a pass over the living", |client| {
        client.text(&["HGET", "sweep:watermark", "good"]).unwrap() > good
    });

    site.server.pause().unwrap();
    away.store(true, Ordering::Relaxed);
    // Time has to pass here: the server's own clock is what runs on.
    daemon.role.wait(OUTAGE_LEASE * 5).expect_err("the sweeper does not exit");
    site.server.resume().unwrap();

    // Nobody beats until the sweeper has looked: the worst case.
    let held = daemon.role.wait_for_line(|line| line.contains("reaping is held"), SOON).unwrap();
    assert!(held.contains("fell silent together") || held.contains("was not watched"), "{held}");
    site.wait_until("the hold", |client| client.exists("sweep:hold").unwrap());
    away.store(false, Ordering::Relaxed);
    daemon.role.wait_for_line(|line| line.contains("reaping goes on"), SOON).unwrap();
    assert_eq!(site.client.int(&["XLEN", "agents:log"]).unwrap(), 0, "nobody was reaped");
    assert_eq!(site.active().len(), AGENTS);
    for life in &lives {
        assert!(site.beats(life));
    }
}

#[test]
fn what_is_held_is_not_reaped_until_an_operator_says_so() {
    let mut site = Site::start();
    let lives = register_short(&site);
    let away = Arc::new(AtomicBool::new(false));
    let beating = site.runtime.spawn(keep_beating(site.store.clone(), lives.clone(), Arc::clone(&away)));
    let daemon = short_leases(&site);
    daemon.wait_until_ready();
    away.store(true, Ordering::Relaxed);
    beating.abort();
    // No beat is on its way any more once another one after it was answered. Then all of them end together.
    assert!(site.beats(&lives[0]));
    let end = site.ahead(200);
    let mut command = vec!["ZADD", "agents:leases", "XX"];
    command.extend(lives.iter().flat_map(|life| [end.as_str(), life.id.as_str()]));
    site.redis(&command);
    daemon.role.wait_for_line(|line| line.contains("reaping is held"), SOON).unwrap();
    let crashed = &lives[0];
    site.prove_exit(crashed);
    site.wait_until("the one whose end is proven", |client| {
        client.int(&["XLEN", "agents:log"]).unwrap() == 1
    });
    assert_eq!(site.log()[0]["agentId"], crashed.id.as_str());
    let held = AGENTS as f64 - 1.0;
    daemon.wait_for_metric("lifecycle_sweep_held_agents", held);
    daemon.wait_for_metric("lifecycle_orphans{reason=\"missing_heartbeat\"}", 0.0);
    daemon.wait_for_metric("lifecycle_orphans{reason=\"stale_heartbeat\"}", held);
    daemon.wait_for_metric("lifecycle_sweep_holds_total{reason=\"mass_silence\"}", 1.0);

    assert!(site.release_hold());
    site.wait_until("the rest", |client| client.int(&["XLEN", "agents:log"]).unwrap() == AGENTS as i64);
}
