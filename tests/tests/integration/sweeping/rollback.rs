//! A store that comes back as it was some time ago: an append-only file that lost its end, a replica that lagged, an old
//! dump.

use std::time::Duration;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_redis::{Fenced, Life, Registered};
use lifecycle_tests::eventually;

use super::{SOON, Site, count};
use crate::fleet::Fleet;
use crate::site::registration;

impl Site {
    /// What the store knows now is what it will come back with.
    fn snapshot(&mut self) {
        self.redis(&["SAVE"]);
    }

    fn roll_back(&mut self) {
        self.restart();
        eventually(SOON, "our own connection to be back", || {
            Ok(self.runtime.block_on(self.store.server_time()).ok())
        })
        .unwrap();
    }

    fn register_again(&self, life: &Life) -> Registered {
        self.answer_to(&registration(life.id.as_str()), Some(life)).unwrap()
    }

    fn taken_up(&self, life: &Life) -> Life {
        match self.register_again(life) {
            Registered::Ok(again) => again,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn lives_that_began_after_the_snapshot_are_unknown_and_are_taken_up_again_in_any_order() {
    let mut site = Site::start();
    let before = site.register("before");
    site.snapshot();
    let lives = ["a", "b", "c"].map(|id| site.register(id));
    site.roll_back();

    assert!(site.beats(&before), "the store remembers it");
    // The last one first: its number is above all others'.
    for life in lives.iter().rev() {
        assert_eq!(site.beat(life), Fenced::Unknown, "{life:?}");
        let again = site.taken_up(life);
        assert_eq!(again.incarnation, life.incarnation);
        assert!(site.beats(&again));
    }
    assert_eq!(site.active(), ["a", "b", "before", "c"]);
}

#[test]
fn a_registration_that_comes_first_after_the_rollback_hides_nobody() {
    let mut site = Site::start();
    site.register("before");
    site.snapshot();
    let life = site.register("forgotten");
    site.roll_back();
    let fresh = site.register("fresh");
    assert!(fresh.incarnation > life.incarnation);
    assert_eq!(site.beat(&life), Fenced::Unknown);
    let again = site.taken_up(&life);
    assert!(site.beats(&again));
    assert!(site.beats(&fresh));
}

#[test]
fn a_life_that_was_reaped_stays_fenced_whatever_the_store_has_forgotten_since() {
    let mut site = Site::start();
    let reaped = site.register("reaped");
    let stays = site.register("stays");
    site.reap_by_force(&reaped);
    site.snapshot();
    let forgotten = site.register("forgotten");
    site.roll_back();
    assert_eq!(site.beat(&reaped), Fenced::Fenced);
    assert_eq!(site.register_again(&reaped), Registered::Fenced);

    let again = site.taken_up(&forgotten);
    site.reap_by_force(&again);
    assert_eq!(site.beat(&again), Fenced::Fenced, "the store knew it when it was reaped");
    site.reap_by_force(&stays);
    assert_eq!(site.beat(&stays), Fenced::Fenced, "and this one all the time");

    // Nor does a further start change that.
    site.snapshot();
    site.roll_back();
    site.register("later");
    for life in [&reaped, &again, &stays] {
        assert_eq!(site.beat(life), Fenced::Fenced, "{life:?}");
    }
}

#[test]
fn of_two_lives_of_an_id_the_later_one_wins_and_the_earlier_one_hands_its_keys_on() {
    let mut site = Site::start();
    let earlier = site.register("twice");
    site.own(&earlier, ["cache:earlier"]);
    site.redis(&["SET", "cache:earlier", "1"]);
    site.snapshot();
    site.reap_by_force(&earlier);
    let later = site.register("twice");
    site.roll_back();

    assert!(site.beats(&earlier), "for a moment the store knows no other");
    assert_eq!(site.beat(&later), Fenced::Unknown);
    assert_eq!(site.register_again(&later), Registered::Expired(Some(earlier.incarnation)));
    site.reap_by_force(&earlier);
    let again = site.taken_up(&later);
    assert!(site.beats(&again));
    assert_eq!(site.beat(&earlier), Fenced::Fenced);
    assert!(!site.client.exists("cache:earlier").unwrap());
}

#[test]
fn an_earlier_life_never_takes_the_id_back_from_a_later_one() {
    let mut site = Site::start();
    site.register("before");
    site.snapshot();
    let earlier = site.register("taken");
    site.roll_back();
    let later = site.register("taken");
    assert_eq!(site.beat(&earlier), Fenced::Fenced);
    assert_eq!(site.register_again(&earlier), Registered::Fenced);
    assert!(site.beats(&later));
}

#[test]
fn an_agent_that_had_left_and_is_back_in_the_record_is_cleaned_up_like_any_other() {
    let mut site = Site::start();
    let life = site.register("left");
    site.own(&life, ["cache:left"]);
    site.redis(&["SET", "cache:left", "1"]);
    site.snapshot();
    assert!(site.release(&life, StopCause::Done).is_some());
    site.roll_back();
    assert_eq!(site.active(), ["left"]);
    site.expire("left");
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 1);
    assert_eq!(site.keys(), [""; 0]);
}

#[test]
fn an_agent_cleans_up_the_life_it_had_replaced_and_orders_nobody_to_stop() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let mut first = fleet.agent("twice", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("twice");
    let earlier = fleet.incarnation("twice");
    let child = fleet.role("agent").args(["run", "--id", "child", "--parent", "twice", "--", "sleep", "600"]);
    let mut child = child.spawn().unwrap();
    fleet.wait_for_beat("child");
    fleet.redis(&["SAVE"]);
    first.kill().unwrap();
    // Its process is proven gone, so its id is free at once; its child is told to stop, and that is forgotten.
    let second = fleet.agent("twice", "sleep 600").spawn().unwrap();
    fleet.wait_until("the later life", |client| {
        let now = client.text(&["HGET", "agent:state:twice", "incarnation"]).unwrap();
        now.is_some() && now != earlier
    });
    let later = fleet.incarnation("twice");
    child.stop(SOON).unwrap();
    fleet.restart();
    second.wait_for_line(|line| line.contains("reaping the earlier one"), SOON).unwrap();
    fleet.wait_until("the later life to be back", |client| {
        client.text(&["HGET", "agent:state:twice", "incarnation"]).unwrap() == later
    });
    assert!(
        !fleet.client.exists("agent:command:child").unwrap(),
        "the child's record is back, and no order for it"
    );
}

#[test]
fn agents_go_on_with_their_commands_in_a_store_that_forgot_them() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let _sweeper = fleet.sweeper();
    let mut old = fleet.agent("old", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("old");
    fleet.redis(&["SAVE"]);
    let mut new = fleet.agent("new", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("new");
    let life = fleet.incarnation("new");
    fleet.restart();
    fleet.wait_until("it to be known again", |client| {
        client.text(&["HGET", "agent:state:new", "incarnation"]).unwrap() == life
    });
    let line = new.wait_for_line(|line| line.contains("registered again"), SOON).unwrap();
    assert!(line.contains("the store lost its memory"), "{line}");
    assert!(old.is_running().unwrap() && new.is_running().unwrap(), "{}", new.stderr());
}
