use std::process::{Child, Command, Stdio};

use super::super::TOKEN_VARIABLE;
use super::*;

/// A process with a token, which ends with the test.
struct Marked(Child);

impl Marked {
    fn start(token: &str, command: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env(TOKEN_VARIABLE, token).stdin(Stdio::null()).stdout(Stdio::piped());
        Self(shell.spawn().unwrap())
    }

    /// Waits until it has said that all of it is there.
    fn up(mut self) -> Self {
        let mut up = [0; 3];
        std::io::Read::read_exact(self.0.stdout.as_mut().unwrap(), &mut up).unwrap();
        self
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn of_id(id: &str) -> Vec<Leftover> {
    find().leftovers.into_iter().filter(|leftover| leftover.life.id.as_str() == id).collect()
}

fn own_id(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn a_token_names_one_life_in_one_way() {
    let life = LifeName::of_token("a.b:17").unwrap();
    assert_eq!((life.id.as_str(), life.incarnation), ("a.b", Incarnation(17)));
    for foreign in ["", "a", "a:", ":7", "a:x", "a:07", "a:+7", "a b:7", "a:7:8"] {
        assert_eq!(LifeName::of_token(foreign), None, "{foreign:?}");
    }
}

#[test]
fn what_carries_a_token_is_found_with_what_is_below_it_and_what_another_life_holds_is_not_ended_with_it() {
    let id = own_id("marked");
    let inner =
        format!("env {TOKEN_VARIABLE}={id}:8 sleep 600 & env -u {TOKEN_VARIABLE} sleep 600 & echo up; wait");
    let mut left = Marked::start(&format!("{id}:7"), &inner).up();
    let mut other = Marked::start(&format!("{id}:70"), "echo up; exec sleep 600").up();
    let lives = |found: &[Leftover]| {
        [7, 8, 70].map(|life| found.iter().filter(|left| left.life.incarnation == Incarnation(life)).count())
    };
    // The shells of the background have to become what they run.
    let found = loop {
        let found = of_id(&id);
        if lives(&found) == [2, 1, 1] {
            break found;
        }
    };
    assert!(
        found.iter().all(|left| left.recognised_by == Mark::Token && left.ledger.is_none() && left.rss > 0)
    );
    assert!(found.iter().all(|left| !left.is_orphan), "this test is above them");
    let of_one: Vec<Leftover> =
        found.iter().filter(|left| left.life.incarnation == Incarnation(7)).cloned().collect();
    let told = end(&of_one, Duration::from_secs(20));
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| told.is_gone));
    assert!(!left.runs() && other.runs());
    let rest = of_id(&id);
    assert_eq!(rest.len(), 2);
    assert!(end(&rest, Duration::from_secs(20)).iter().all(|told| told.is_gone));
    assert!(!other.runs());
}

#[test]
fn what_ignores_term_is_killed_and_what_is_started_meanwhile_is_ended_too() {
    let id = own_id("stubborn");
    let script = "trap 'sleep 600 & (sleep 600 &)' TERM; echo up; while :; do sleep 0.01; done";
    let mut left = Marked::start(&format!("{id}:7"), script).up();
    let found: Vec<Leftover> = of_id(&id);
    let told = end(&found, Duration::from_millis(300));
    assert!(told.len() > found.len(), "{told:?}");
    assert!(told.iter().all(|told| told.is_gone) && !left.runs());
    assert!(of_id(&id).is_empty());
}

#[test]
fn only_another_boot_of_a_place_is_an_earlier_one() {
    let ledger = |place: &str| {
        let mut ledger = Ledger::new(AgentId::new("a").unwrap(), Incarnation(7), String::new()).unwrap();
        ledger.place = place.into();
        ledger
    };
    let is_earlier = |place: &str| is_of_an_earlier_boot(&ledger(place), Some("boot/pid:[1]"));
    assert!(is_earlier("other/pid:[1]"));
    for place in ["boot/pid:[1]", "boot/pid:[2]", "", "nonsense"] {
        assert!(!is_earlier(place), "{place:?}");
    }
    assert!(!is_of_an_earlier_boot(&ledger("other/pid:[1]"), None), "where it cannot be told");
}
