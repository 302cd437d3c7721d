//! Several sweepers on one store.

use std::collections::HashSet;
use std::time::Duration;

use lifecycle_redis::Life;

use super::{LONG_AGO_MS, SOON, Site, count, result};
use crate::fleet::Fleet;

const ORPHANS: usize = 500;
const SWEEPERS: usize = 4;

/// Half of them registered with a key of their own, half on the plain protocol with a task.
fn plant(site: &mut Site) {
    for n in 0..ORPHANS / 2 {
        site.register(&format!("registered-{n}"));
        site.expire(&format!("registered-{n}"));
        site.plain(&format!("plain-{n}"), LONG_AGO_MS);
        site.redis(&["SET", &format!("agent:task:plain-{n}:t"), "1"]);
    }
}

#[test]
fn four_sweepers_clean_500_orphans_once_each_and_their_counts_add_up() {
    let mut site = Site::start();
    plant(&mut site);
    let mut sweeps: Vec<_> = (0..SWEEPERS).map(|_| site.sweep_command().spawn().unwrap()).collect();
    let results: Vec<_> = sweeps.iter_mut().map(result).collect();

    for result in &results {
        let parts = ["orphansCleaned", "refuted", "held", "elsewhere", "failed"];
        let sum: u64 = parts.iter().map(|name| count(result, name)).sum();
        assert_eq!(count(result, "orphansDetected"), sum);
        assert_eq!((count(result, "refuted"), count(result, "failed")), (0, 0));
    }
    let cleaned: u64 = results.iter().map(|result| count(result, "orphansCleaned")).sum();
    assert_eq!(cleaned, ORPHANS as u64);
    let keys: u64 = results.iter().map(|result| count(result, "keysDeleted")).sum();
    assert_eq!(keys, ORPHANS as u64 / 2 * 3, "a record each, or a heartbeat and a task each");
    let log = site.log();
    let ids: HashSet<&String> = log.iter().map(|entry| &entry["agentId"]).collect();
    assert_eq!((log.len(), ids.len()), (ORPHANS, ORPHANS), "one audit entry each");
    assert_eq!(site.keys(), [""; 0]);
    assert_eq!(site.active(), [""; 0]);
}

#[test]
fn a_sweeper_killed_while_it_holds_locks_blocks_nobody_for_long() {
    let mut site = Site::start();
    site.plain("one", LONG_AGO_MS);
    site.register("two");
    site.expire("two");
    let mut victim = site.sweep_command().env("LIFECYCLE_SWEEP__GRACE", "60s").spawn().unwrap();
    site.wait_until("the locks", |client| {
        client.exists("cleanup:lock:one").unwrap() && client.exists("cleanup:lock:two").unwrap()
    });
    victim.kill().unwrap();

    assert_eq!(count(&site.sweep(), "elsewhere"), 2, "for a moment they count as somebody else's work");
    // As if 11 s had gone by since: far less than the 300 s that the locks last.
    for id in ["one", "two"] {
        site.redis(&["PEXPIRE", &format!("cleanup:lock:{id}"), "289000"]);
    }
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 2);
    assert_eq!(site.keys(), [""; 0], "the locks are gone too");
}

#[test]
fn a_daemon_takes_over_from_a_sweeper_that_was_killed() {
    let mut site = Site::start();
    site.plain("one", LONG_AGO_MS);
    let mut victim = site.sweep_command().env("LIFECYCLE_SWEEP__GRACE", "60s").spawn().unwrap();
    site.wait_until("the lock", |client| client.exists("cleanup:lock:one").unwrap());
    victim.kill().unwrap();
    let daemon = site.daemon();
    daemon.wait_until_ready();
    site.redis(&["PEXPIRE", "cleanup:lock:one", "289000"]);
    daemon.role.wait_for_line(|line| line.contains("reaped 1 orphan"), SOON).unwrap();
    assert_eq!(site.log().len(), 1);
}

#[test]
fn a_stopped_daemon_ends_with_0_and_leaves_no_lock() {
    let mut site = Site::start();
    site.plain("one", LONG_AGO_MS);
    let mut daemon = site.daemon();
    daemon.wait_until_ready();
    assert_eq!(daemon.role.stop(SOON).unwrap().code(), Some(0), "{}", daemon.role.stderr());
    assert_eq!(site.keys(), [""; 0]);
}

#[test]
fn a_pass_from_cron_works_because_other_agents_beats_show_that_the_store_was_up() {
    let mut site = Site::start();
    site.sweep();
    site.last_pass_was_long_ago();
    site.plain("alive", 20_000);
    site.plain("gone", 180_000);
    let result = site.sweep();
    assert_eq!((count(&result, "orphansCleaned"), count(&result, "held")), (1, 0), "{result}");
}

#[test]
fn a_pass_from_cron_right_after_an_outage_holds_and_says_why() {
    let mut site = Site::start();
    site.sweep();
    site.last_pass_was_long_ago();
    site.plain("back-already", 1_000);
    site.plain("not-yet", 180_000);
    let result = site.sweep();
    assert_eq!((count(&result, "orphansCleaned"), count(&result, "held")), (0, 1), "{result}");
    assert!(result["hold"].as_str().unwrap().contains("was not watched"), "{result}");
    assert_eq!(site.active(), ["back-already", "not-yet"]);
    let again = site.sweep();
    assert_eq!(count(&again, "held"), 1, "a second look a moment later is no proof either: {again}");
}

/// A registered agent that has beaten at least every half lease for so long, and does so now.
fn beats_since(site: &mut Site, id: &str, ms: i64) -> Life {
    let life = site.register(id);
    let since = site.ago(ms);
    site.redis(&["HSET", &format!("agent:state:{id}"), "steadySince", &since]);
    assert!(site.beats(&life));
    life
}

#[test]
fn a_peer_whose_last_beat_is_always_fresh_shows_a_pass_from_cron_that_the_store_was_up() {
    let mut site = Site::start();
    site.sweep();
    site.last_pass_was_long_ago();
    site.register("gone");
    site.expire("gone");
    beats_since(&mut site, "alive", 3 * LONG_AGO_MS);
    let result = site.sweep();
    assert_eq!((count(&result, "orphansCleaned"), count(&result, "held")), (1, 0), "{result}");
}

#[test]
fn a_peer_that_was_away_itself_until_a_moment_ago_shows_nothing_and_the_exit_code_says_so() {
    let mut site = Site::start();
    site.sweep();
    site.last_pass_was_long_ago();
    site.register("gone");
    site.expire("gone");
    let back = beats_since(&mut site, "back", 3 * LONG_AGO_MS);
    site.expire("back");
    assert!(site.beats(&back));
    let mut sweep = site.sweeper_command(&["sweep"]).spawn().unwrap();
    assert_eq!(sweep.wait(SOON).unwrap().code(), Some(74), "{} {}", sweep.stdout(), sweep.stderr());
    assert!(sweep.stdout().contains("was not watched"), "{}", sweep.stdout());
    assert_eq!(site.active(), ["back", "gone"]);
}

#[test]
fn one_shot_sweeps_clean_up_after_an_agent_while_another_beats_five_times_a_lease() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let _peer = fleet.agent("peer", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("peer");
    let mut victim = fleet.agent("dies", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("dies");
    let swept = fleet.role("sweeper").arg("sweep").spawn().unwrap().wait(SOON).unwrap();
    assert_eq!(swept.code(), Some(0));
    victim.kill().unwrap();
    fleet.last_pass_was_long_ago();
    fleet.wait_until("the lease to end", |client| {
        let end = client.text(&["ZSCORE", "agents:leases", "dies"]).unwrap().unwrap();
        end.parse::<i64>().unwrap() < client.now_ms().unwrap()
    });
    let mut sweep = fleet.role("sweeper").args(["sweep", "--output", "json"]).spawn().unwrap();
    assert_eq!(sweep.wait(SOON).unwrap().code(), Some(0), "{} {}", sweep.stdout(), sweep.stderr());
    assert!(!fleet.client.exists("agent:state:dies").unwrap(), "{}", sweep.stdout());
    assert!(fleet.client.exists("agent:state:peer").unwrap());
}

#[test]
fn one_pass_cleans_up_more_orphans_than_one_batch_holds() {
    let mut fleet = Fleet::new().set("LIFECYCLE_SWEEP__BATCH", "5");
    let ids: Vec<String> = (0..12).map(|n| format!("agent-{n}")).collect();
    for id in &ids {
        fleet.redis(&["SADD", "agents:active", id]);
    }
    let mut sweep = fleet.role("sweeper").args(["sweep", "--output", "json"]).spawn().unwrap();
    assert_eq!(sweep.wait(SOON).unwrap().code(), Some(0), "{}", sweep.stderr());
    let result: serde_json::Value = serde_json::from_str(&sweep.stdout()).unwrap();
    assert_eq!((&result["orphansDetected"], &result["orphansCleaned"]), (&12.into(), &12.into()));
    assert_eq!(fleet.residue(), [""; 0]);
}
