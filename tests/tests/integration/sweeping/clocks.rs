//! Clocks that are wrong: a plain client's own, and the store's after it was set back. As if it had been set back by an
//! hour, times are planted an hour ahead.

use std::time::Duration;

use lifecycle_core::wire::record::Registration;

use super::{LONG_AGO_MS, Site, count};
use crate::site::registration;

const HOUR_MS: i64 = 3_600_000;

impl Site {
    /// As if the last look at this agent had been long ago, and its lease were over.
    fn backdate_look(&mut self, id: &str) {
        let key = format!("sweep:look:{id}");
        let look = self.client.text(&["GET", &key]).unwrap().expect("the look is remembered");
        let (since, beat) = look.split_once(' ').unwrap();
        let earlier = format!("{} {beat}", since.parse::<i64>().unwrap() - LONG_AGO_MS);
        self.redis(&["SET", &key, &earlier, "KEEPTTL"]);
        self.expire(id);
    }
}

#[test]
fn a_plain_agent_whose_clock_is_an_hour_off_stays_while_it_beats_and_goes_when_it_does_not() {
    for clock_off in [-HOUR_MS, HOUR_MS] {
        let mut site = Site::start();
        site.plain_with_clock("off", 0, clock_off);
        site.redis(&["SET", "agent:task:off:t", "1"]);
        assert_eq!(count(&site.sweep(), "healthyAgents"), 1, "clock off by {clock_off} ms");

        site.backdate_look("off");
        site.plain_with_clock("off", 0, clock_off);
        let beaten = site.sweep();
        assert_eq!((count(&beaten, "healthyAgents"), count(&beaten, "orphansDetected")), (1, 0), "{beaten}");

        site.backdate_look("off");
        let silent = site.sweep();
        assert_eq!(count(&silent, "orphansCleaned"), 1, "{silent}");
        assert_eq!(site.client.texts(&["KEYS", "*off*"]).unwrap(), [""; 0], "nothing is remembered of it");
    }
}

#[test]
fn a_plain_agent_with_a_right_clock_is_judged_at_the_first_look_and_nothing_is_remembered() {
    let mut site = Site::start();
    site.plain("dead", 150_000);
    site.plain("alive", 30_000);
    let result = site.sweep();
    assert_eq!((count(&result, "orphansCleaned"), count(&result, "healthyAgents")), (1, 1), "{result}");
    assert!((80_000..=90_000).contains(&site.lease_left_ms("alive")));
    assert_eq!(site.client.texts(&["KEYS", "sweep:look:*"]).unwrap(), [""; 0]);
}

#[test]
fn a_beat_dated_ahead_that_never_expires_makes_nobody_immortal() {
    let mut site = Site::start();
    let beat = format!(r#"{{"agentId":"ahead","timestamp":{}}}"#, site.ahead(HOUR_MS));
    site.redis(&["SET", "agent:heartbeat:ahead", &beat]);
    site.redis(&["SADD", "agents:active", "ahead"]);
    assert_eq!(count(&site.sweep(), "healthyAgents"), 1);
    site.backdate_look("ahead");
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 1);
}

#[test]
fn no_lease_ends_later_than_its_own_length_after_the_stores_clock_was_set_back() {
    let mut site = Site::start();
    site.sweep();
    site.register_as(&Registration { lease: Duration::from_secs(60), ..registration("short") });
    site.register("long");
    site.plain("plain", 0);
    let ended = site.register("ended");
    site.prove_exit(&ended);
    site.sweep();
    let again = site.register("ended");
    site.prove_exit(&again);
    for id in ["short", "plain", "ended"] {
        site.lease_ends_in(id, HOUR_MS);
    }

    let result = site.sweep();

    assert_eq!((count(&result, "orphansCleaned"), count(&result, "healthyAgents")), (1, 3), "{result}");
    assert!((50_000..=60_000).contains(&site.lease_left_ms("short")));
    assert!((110_000..=120_000).contains(&site.lease_left_ms("plain")));
    assert!((590_000..=600_000).contains(&site.lease_left_ms("long")), "it was right as it was");
}

#[test]
fn a_daemon_shortens_leases_in_the_future_although_longer_ones_are_in_order() {
    let mut site = Site::start();
    site.register("long");
    let daemon = site.daemon_with(&[("LIFECYCLE_SWEEP__INTERVAL", "50ms")]);
    site.register("late");
    site.lease_ends_in("late", HOUR_MS);
    site.wait_until("the lease to be shortened", |client| {
        let end = client.text(&["ZSCORE", "agents:leases", "late"]).unwrap().unwrap();
        end.parse::<i64>().unwrap() <= client.now_ms().unwrap() + 600_000
    });
    assert!(daemon.role.stderr().contains("set back"), "{}", daemon.role.stderr());
}

#[test]
fn a_hold_and_a_release_in_the_future_count_from_now() {
    let mut site = Site::start();
    let hour = site.ahead(HOUR_MS);
    site.hold_a_mass(12);
    site.redis(&["HSET", "sweep:hold", "since", &hour]);
    assert_eq!(count(&site.sweep(), "held"), 12);
    let since = site.client.text(&["HGET", "sweep:hold", "since"]).unwrap().unwrap();
    assert!(since.parse::<i64>().unwrap() <= site.now());

    assert!(site.release_hold());
    site.redis(&["HSET", "sweep:hold", "releasedUntil", &hour]);
    site.redis(&["PEXPIREAT", "sweep:hold", &hour]);
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 12);
    assert!(site.client.int(&["PTTL", "sweep:hold"]).unwrap() <= 60_000);
}

#[test]
fn a_dead_sweepers_lock_from_before_the_clock_was_set_back_blocks_nobody_for_an_hour() {
    let mut site = Site::start();
    site.plain("dead", LONG_AGO_MS);
    site.redis(&["SET", "cleanup:lock:dead", "somebody", "PX", &HOUR_MS.to_string()]);
    assert_eq!(count(&site.sweep(), "elsewhere"), 1, "it counts as taken now");
    assert!(site.client.int(&["PTTL", "cleanup:lock:dead"]).unwrap() <= 300_000);
}
