//! What happens once a hold has lasted long enough: a limited rate that all sweepers share.

use lifecycle_redis::Life;

use super::{LONG_AGO_MS, Site, count, result};

impl Site {
    /// So many agents fell silent since the last good pass, and a pass holds them.
    pub(super) fn hold_a_mass(&mut self, agents: usize) -> Vec<Life> {
        self.sweep();
        let lives: Vec<Life> = (0..agents).map(|n| self.register(&format!("silent-{n}"))).collect();
        self.hold_these(&lives);
        lives
    }

    fn hold_these(&mut self, lives: &[Life]) {
        let before = self.ago(2 * LONG_AGO_MS);
        self.redis(&["HSET", "sweep:watermark", "good", &before]);
        lives.iter().for_each(|life| self.expire(life.id.as_str()));
        assert_eq!(count(&self.sweep(), "held"), lives.len() as u64);
    }

    /// As if the hold had begun so long ago that it is over.
    fn end_hold(&mut self) {
        let since = self.ago(LONG_AGO_MS);
        self.redis(&["HSET", "sweep:hold", "since", &since]);
    }

    /// As if what was granted had been granted a minute ago.
    fn a_minute_later(&mut self) {
        let granted = self.client.text(&["HGET", "sweep:hold", "granted"]).unwrap().unwrap();
        let earlier: Vec<String> = granted
            .split(' ')
            .map(|grant| {
                let (at, agents) = grant.split_once(':').unwrap();
                format!("{}:{agents}", at.parse::<i64>().unwrap() - 60_000)
            })
            .collect();
        self.redis(&["HSET", "sweep:hold", "granted", &earlier.join(" ")]);
    }

    fn cleaned_by(&self, sweepers: usize) -> u64 {
        let mut sweeps: Vec<_> = (0..sweepers).map(|_| self.sweep_command().spawn().unwrap()).collect();
        sweeps.iter_mut().map(|sweep| count(&result(sweep), "orphansCleaned")).sum()
    }
}

#[test]
fn after_a_hold_a_tenth_of_the_fleet_goes_in_a_minute_however_many_sweepers_there_are() {
    let mut site = Site::start();
    for n in 0..20 {
        site.register(&format!("alive-{n}"));
    }
    site.hold_a_mass(20);
    site.end_hold();
    assert_eq!(site.cleaned_by(4), 4, "a tenth of 40");
    assert_eq!(site.cleaned_by(2), 0, "within the same minute");
    let reason = site.client.text(&["HGET", "sweep:hold", "reason"]).unwrap().unwrap();
    assert!(reason.contains("4 a minute of a fleet of 40"), "{reason}");

    // The mass is soon far below the fraction that begins a hold, and the fleet is smaller with each minute.
    for _ in 0..4 {
        site.a_minute_later();
        assert_eq!(site.cleaned_by(2), 4);
    }
    assert_eq!(count(&site.sweep(), "healthyAgents"), 20);
    assert!(!site.client.exists("sweep:hold").unwrap(), "nobody of the mass is left");
    site.register("dead");
    site.expire("dead");
    assert_eq!(site.cleaned_by(1), 1, "everything is as usual again");
}

#[test]
fn of_a_small_fleet_one_goes_in_a_minute_and_all_at_once_when_an_operator_releases_the_hold() {
    let mut site = Site::start();
    site.hold_a_mass(6);
    site.end_hold();
    assert_eq!(site.cleaned_by(2), 1);
    assert!(site.release_hold());
    assert_eq!(site.cleaned_by(1), 5);
}

#[test]
fn a_dry_run_says_how_many_would_go_and_takes_nothing_of_the_rate() {
    let mut site = Site::start();
    site.hold_a_mass(20);
    site.end_hold();
    for _ in 0..2 {
        let mut dry = site.sweeper_command(&["sweep", "--dry-run", "--output", "json"]).spawn().unwrap();
        assert_eq!(dry.wait(super::SOON).unwrap().code(), Some(0), "{}", dry.stderr());
        let told: serde_json::Value = serde_json::from_str(&dry.stdout()).unwrap();
        assert_eq!((count(&told, "orphansDetected"), count(&told, "held")), (20, 18), "{told}");
    }
    assert_eq!(site.cleaned_by(1), 2);
}

#[test]
fn a_grant_of_the_future_counts_as_one_of_now() {
    let mut site = Site::start();
    site.hold_a_mass(20);
    site.end_hold();
    let granted = format!("{}:2", site.now() + 3_600_000);
    site.redis(&["HSET", "sweep:hold", "granted", &granted]);
    assert_eq!(site.cleaned_by(1), 0);
    site.a_minute_later();
    assert_eq!(site.cleaned_by(1), 2);
}

#[test]
fn the_last_of_a_mass_to_come_back_is_not_reaped_for_being_the_last() {
    let mut site = Site::start();
    let lives = site.hold_a_mass(7);
    let (late, others) = lives.split_last().unwrap();
    assert!(others.iter().all(|life| site.beats(life)));
    for _ in 0..2 {
        let told = site.sweep();
        assert_eq!((count(&told, "held"), count(&told, "orphansCleaned")), (1, 0), "{told}");
    }
    let reason = site.client.text(&["HGET", "sweep:hold", "reason"]).unwrap().unwrap();
    assert!(reason.contains("1 may still be on the way back"), "{reason}");
    assert!(site.beats(late));
    assert_eq!(count(&site.sweep(), "held"), 0);
    assert!(!site.client.exists("sweep:hold").unwrap());

    // Nor one whose lease ends a moment after the others are back.
    site.hold_these(&lives);
    assert!(others.iter().all(|life| site.beats(life)));
    let soon = site.ahead(20_000);
    site.redis(&["ZADD", "agents:leases", "XX", &soon, late.id.as_str()]);
    assert_eq!(count(&site.sweep(), "held"), 0);
    assert!(site.client.exists("sweep:hold").unwrap(), "it has missed a beat");
    site.expire(late.id.as_str());
    let told = site.sweep();
    assert_eq!((count(&told, "held"), count(&told, "orphansCleaned")), (1, 0), "{told}");
    assert!(site.beats(late));
    assert_eq!(count(&site.sweep(), "held"), 0);

    // One that does not come back goes once the others were back for long enough.
    site.hold_these(&lives);
    assert!(others.iter().all(|life| site.beats(life)));
    assert_eq!(count(&site.sweep(), "held"), 1);
    let long_ago = site.ago(LONG_AGO_MS);
    site.redis(&["HSET", "sweep:hold", "kindSince", &long_ago]);
    let now = site.ago(0);
    site.redis(&["HSET", "sweep:watermark", "good", &now]);
    let told = site.sweep();
    assert_eq!(count(&told, "orphansCleaned"), 1, "{told}");
}
