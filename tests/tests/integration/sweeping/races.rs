//! Observe, then reap: what comes in between counts.

use std::time::Duration;

use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::{Event, EventKind, Payload};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_redis::{Fenced, Reap, ReapOutcome};
use lifecycle_tests::plain::Subscription;

use super::{SOON, Site, count, result};

fn suspect(site: &Site) -> Suspect {
    let suspects = site.runtime.block_on(async {
        let seen = site.store.observe(10).await.unwrap();
        let differences = site.store.sweeper().compare_indexes(seen.now).await.unwrap();
        site.store.sweeper().adopt(&differences.unleased).await.unwrap();
        let seen = site.store.observe(10).await.unwrap();
        site.store.sweeper().suspects(&seen.due, seen.now).await.unwrap()
    });
    assert_eq!(suspects.len(), 1);
    suspects.into_iter().next().unwrap()
}

fn reap(site: &Site, suspect: &Suspect) -> ReapOutcome {
    let target = Reap::of(suspect, Reason::StaleHeartbeat, "test");
    site.done(site.store.sweeper().reap(&target))
}

#[test]
fn a_beat_between_observe_and_reap_saves_the_agent() {
    let mut site = Site::start();
    let life = site.register("late");
    site.expire("late");
    let suspect = suspect(&site);
    assert!(site.beats(&life));
    assert_eq!(reap(&site, &suspect), ReapOutcome::Refuted);
    assert!(site.client.exists("agent:state:late").unwrap());
    assert!(site.beats(&life));
}

#[test]
fn a_plain_heartbeat_between_observe_and_reap_saves_the_agent() {
    let mut site = Site::start();
    site.plain("late", 180_000);
    let suspect = suspect(&site);
    site.plain("late", 0);
    assert_eq!(reap(&site, &suspect), ReapOutcome::Refuted);
    assert_eq!(site.active(), ["late"]);
}

#[test]
fn a_plain_heartbeat_that_says_the_same_again_saves_the_agent_too() {
    let mut site = Site::start();
    site.plain("stuck-clock", 150_000);
    let suspect = suspect(&site);
    let same = site.client.text(&["GET", "agent:heartbeat:stuck-clock"]).unwrap().unwrap();
    site.redis(&["SETEX", "agent:heartbeat:stuck-clock", "180", &same]);
    assert_eq!(reap(&site, &suspect), ReapOutcome::Refuted);
    assert_eq!(site.active(), ["stuck-clock"]);
}

#[test]
fn a_beat_after_the_reap_is_fenced_and_creates_no_key() {
    let mut site = Site::start();
    let life = site.register("dead");
    site.expire("dead");
    let suspect = suspect(&site);
    assert!(matches!(reap(&site, &suspect), ReapOutcome::Reaped(_)));
    assert_eq!(reap(&site, &suspect), ReapOutcome::AlreadyGone, "twice does nothing twice");
    let before = site.client.keys().unwrap();
    assert_eq!(site.beat(&life), Fenced::Fenced);
    assert_eq!(site.client.keys().unwrap(), before);
    assert_eq!(site.keys(), [""; 0]);
}

#[test]
fn a_reap_judged_by_an_earlier_life_does_not_touch_the_next_one() {
    let mut site = Site::start();
    site.register("again");
    site.expire("again");
    let suspect = suspect(&site);
    assert!(matches!(reap(&site, &suspect), ReapOutcome::Reaped(_)));
    let second = site.register("again");
    site.expire("again");
    assert_eq!(reap(&site, &suspect), ReapOutcome::AlreadyGone);
    assert!(site.beats(&second));
}

fn next(subscription: &mut Subscription, kind: EventKind) -> Event {
    loop {
        let (_, payload) = subscription.next(SOON).unwrap().unwrap_or_else(|| panic!("no {kind:?}"));
        match decode::<Event>(&payload) {
            Ok(event) if event.kind() == kind => return event,
            _ => {}
        }
    }
}

#[test]
fn an_agent_that_answers_the_last_call_with_a_beat_stays() {
    let mut site = Site::start();
    let life = site.register("called");
    site.expire("called");
    let mut heard = site.server.client().unwrap().subscribe(&["agent:lifecycle"]).unwrap();
    let mut sweep = site.sweep_command().env("LIFECYCLE_SWEEP__GRACE", "2s").spawn().unwrap();

    let call = next(&mut heard, EventKind::CleanupStarted);
    assert_eq!((call.agent_id.as_deref(), call.incarnation), (Some("called"), Some(life.incarnation)));
    assert!(site.beats(&life));

    let swept = result(&mut sweep);
    assert_eq!((count(&swept, "refuted"), count(&swept, "orphansCleaned")), (1, 0), "{swept}");
    assert_eq!(next(&mut heard, EventKind::CleanupAborted).agent_id.as_deref(), Some("called"));
    assert!(!site.client.exists("cleanup:lock:called").unwrap(), "the lock was given back");
}

#[test]
fn what_became_of_the_process_is_in_the_audit_entry_if_somebody_answers() {
    let mut site = Site::start();
    let life = site.register("hung");
    site.expire("hung");
    let mut heard = site.server.client().unwrap().subscribe(&["agent:lifecycle"]).unwrap();
    let mut sweep = site.sweep_command().env("LIFECYCLE_SWEEP__GRACE", "2s").spawn().unwrap();
    next(&mut heard, EventKind::CleanupStarted);
    let killed = Payload::CleanupAcknowledged { process: Some(ProcessFate::Killed), pids: Vec::new() };
    site.done(site.store.operator().announce("hung", Some(life.incarnation), killed));
    assert_eq!(count(&result(&mut sweep), "orphansCleaned"), 1);
    assert_eq!(site.log()[0]["process"], "killed");
    let completed = next(&mut heard, EventKind::CleanupCompleted);
    let Payload::CleanupCompleted { process, .. } = completed.payload else { panic!("{completed:?}") };
    assert_eq!(process, Some(ProcessFate::Killed));
}

#[test]
fn the_original_designs_events_are_published_for_a_plain_agent_too() {
    let mut site = Site::start();
    site.plain("gone", 180_000);
    let mut heard = site.server.client().unwrap().subscribe(&["agent:lifecycle"]).unwrap();
    site.sweep();
    let reason = Some("stale_heartbeat".to_owned());
    assert_eq!(next(&mut heard, EventKind::CleanupStarted).payload, Payload::CleanupStarted { reason });
    let completed = next(&mut heard, EventKind::CleanupCompleted);
    assert_eq!(completed.agent_id.as_deref(), Some("gone"));
    assert!(matches!(completed.payload, Payload::CleanupCompleted { keys_deleted: Some(1), .. }));
    let detected = next(&mut heard, EventKind::OrphansDetected);
    let Payload::OrphansDetected { count, orphans } = detected.payload else { panic!("{detected:?}") };
    assert_eq!((count, orphans[0].agent_id.as_str()), (Some(1), "gone"));
    assert_eq!(heard.next(Duration::from_millis(1)).unwrap(), None);
}
