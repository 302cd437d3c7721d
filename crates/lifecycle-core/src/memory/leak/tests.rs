//! What the detector says of simple lives; `cargo xtask leak-eval` has the difficult ones.

use proptest::prelude::*;

use super::scales::MINUTE_MS;
use super::*;

const MB: u64 = 1 << 20;
const TICK_MS: u64 = 10_000;
const START_MS: u64 = 1_700_000_000_000;

fn at(ms: u64) -> ServerTime {
    ServerTime::from_store_ms(ms)
}

/// One agent, looked at every ten seconds.
struct Life {
    kind: KindHistory,
    detector: Detector,
    at_ms: u64,
    limit: Option<u64>,
    verdicts: Vec<LeakVerdict>,
}

impl Life {
    fn new(limit: Option<u64>) -> Self {
        let (kind, detector) = (KindHistory::default(), Detector::default());
        Self { kind, detector, at_ms: START_MS, limit, verdicts: Vec::new() }
    }

    /// `rss` in MB, of the minutes since this call.
    fn goes(&mut self, minutes: u64, rss: impl Fn(f64) -> f64) -> &mut Self {
        for tick in 0..minutes * 6 {
            // A little noise that repeats.
            let noise = ((tick * 7_919) % 13) as f64 / 10.0;
            let bytes = (rss(tick as f64 / 6.0) + noise) * MB as f64;
            self.sample(bytes as u64);
            self.at_ms += TICK_MS;
        }
        self
    }

    fn sample(&mut self, rss_bytes: u64) {
        let sample = RssSample { at: at(self.at_ms), rss_bytes, limit_bytes: self.limit };
        self.verdicts.extend(self.detector.observe(&mut self.kind, sample));
    }

    fn findings(&self) -> Vec<Finding> {
        self.verdicts.iter().map(|verdict| verdict.finding).collect()
    }
}

#[test]
fn all_that_is_known_of_an_agent_fits_into_4_kb() {
    assert!(size_of::<Detector>() <= 4_096, "{} bytes", size_of::<Detector>());
    assert!(size_of::<KindHistory>() <= 4_096, "{} bytes", size_of::<KindHistory>());
}

#[test]
fn a_leak_after_a_quiet_time_is_found_once_with_its_evidence() {
    let mut life = Life::new(Some(8_192 * MB));
    life.goes(360, |_| 200.0).goes(120, |minute| 200.0 + 20.0 * minute);
    assert_eq!(life.findings(), [Finding::Leak]);
    let verdict = life.verdicts[0];
    let delay = verdict.at.ms_since(at(START_MS)) / MINUTE_MS - 360;
    assert!(delay <= 15, "{delay} min");
    let slope = verdict.slope_bytes_per_hour / MB as f64;
    assert!((1_150.0..1_250.0).contains(&slope), "{slope}");
    assert!((0.5..=1.0).contains(&verdict.confidence), "{verdict:?}");
    assert!(verdict.window_ms >= 7 * MINUTE_MS, "{verdict:?}");
    let minutes = verdict.limit_reached_at.unwrap().ms_since(at(START_MS)) / MINUTE_MS - 360;
    assert!((395..=405).contains(&minutes), "8192 MB are reached after 400 min: {minutes}");
}

#[test]
fn a_leak_from_the_first_moment_is_found_too() {
    let mut life = Life::new(None);
    life.goes(10 * 60, |minute| 150.0 + 150.0 / 60.0 * minute);
    assert_eq!(life.findings(), [Finding::Leak]);
}

#[test]
fn quiet_steps_warm_ups_and_sawteeth_are_no_leaks() {
    let day = 24 * 60;
    let mut quiet = Life::new(None);
    quiet.goes(day, |_| 300.0);
    let mut steps = Life::new(None);
    steps.goes(day, |minute| 300.0 + 200.0 * (minute / 400.0).floor());
    let mut warm_up = Life::new(None);
    warm_up.goes(day, |minute| 300.0 + 900.0 * (1.0 - (-minute / 90.0).exp()));
    let mut sawtooth = Life::new(None);
    sawtooth.goes(day, |minute| 300.0 + 40.0 * (minute % 25.0));
    for life in [quiet, steps, warm_up, sawtooth] {
        assert_eq!(life.verdicts, []);
    }
}

#[test]
fn a_slow_leak_under_a_sawtooth_is_found() {
    let mut life = Life::new(None);
    life.goes(5 * 60, |minute| 300.0 + 20.0 * (minute % 13.0));
    life.goes(10 * 60, |minute| 300.0 + 20.0 * (minute % 13.0) + 100.0 / 60.0 * minute);
    assert_eq!(life.findings(), [Finding::Leak]);
}

#[test]
fn an_episode_ends_when_memory_falls_back_and_what_it_was_is_usual_from_then_on() {
    let mut life = Life::new(None);
    let climb = |minute: f64| 200.0 + 20.0 * minute;
    life.goes(360, |_| 200.0).goes(30, climb);
    assert_eq!(life.findings().len(), 1);
    assert_eq!(life.detector.trend(&life.kind).unwrap().finding, Some(Finding::Leak));
    life.goes(60, |_| 200.0);
    assert_eq!(life.detector.trend(&life.kind).unwrap().finding, None, "it fell back");
    life.goes(30, climb).goes(60, |_| 200.0);
    assert_eq!(life.findings().len(), 1, "it did that before");
    life.goes(150, climb);
    assert_eq!(life.findings().len(), 2, "it goes far beyond that");
}

#[test]
fn a_restart_ends_an_episode_and_growth_is_not_measured_across_it() {
    let mut life = Life::new(None);
    life.goes(360, |_| 200.0).goes(60, |minute| 200.0 + 20.0 * minute);
    assert_eq!(life.findings().len(), 1);
    life.detector.restarted();
    assert_eq!(life.detector.trend(&life.kind), None);
    life.goes(30, |_| 1_400.0).goes(30, |minute| 1_400.0 + 20.0 * minute);
    assert_eq!(life.findings().len(), 2);
}

#[test]
fn a_limit_that_is_minutes_away_is_a_runaway_while_there_is_time() {
    let mut life = Life::new(Some(4_096 * MB));
    life.goes(180, |_| 500.0).goes(3, |minute| 500.0 + 1_000.0 * minute);
    assert_eq!(life.findings(), [Finding::Runaway]);
    let verdict = life.verdicts[0];
    let left = verdict.at.until(verdict.limit_reached_at.unwrap()).as_secs();
    assert!((10..=300).contains(&left), "{left} s");
}

#[test]
fn the_same_climb_to_a_level_that_was_there_before_is_none() {
    let burst = |minute: f64| if minute < 3.0 { 500.0 + 1_000.0 * minute } else { 500.0 };
    let mut life = Life::new(Some(4_096 * MB));
    life.goes(180, |_| 500.0).goes(60, burst);
    let before = life.verdicts.len();
    for _ in 0..20 {
        life.goes(60, burst);
    }
    assert_eq!(life.verdicts.len(), before);
}

#[test]
fn what_is_usual_for_the_kind_spares_a_newcomer() {
    // Agents of this kind fill up evenly for four hours, and then hold.
    let fills = |minute: f64| 200.0 + minute.min(240.0) * 25.0;
    let mut kind = KindHistory::default();
    let mut alerts = Vec::new();
    for _ in 0..4 {
        let mut life = Life { kind: kind.clone(), ..Life::new(None) };
        life.goes(12 * 60, fills);
        alerts.push(life.verdicts.len());
        kind = life.kind;
    }
    assert_eq!(alerts, [1, 0, 0, 0], "only the first could not be known");
}

#[test]
fn a_gap_teaches_nothing_and_hides_nothing() {
    let mut life = Life::new(None);
    life.goes(360, |_| 200.0);
    life.at_ms += 3 * 86_400_000;
    life.goes(60, |_| 200.0).goes(60, |minute| 200.0 + 20.0 * minute);
    assert_eq!(life.findings(), [Finding::Leak]);
    let mut new = Life::new(None);
    new.goes(1, |_| 200.0);
    new.at_ms += 30 * 86_400_000;
    new.goes(60, |minute| 200.0 + 20.0 * minute);
    assert_eq!(new.verdicts, [], "a month's silence is no experience");
}

#[test]
fn a_clock_that_goes_back_by_a_day_begins_a_new_time_and_loses_nothing_that_was_learnt() {
    let mut life = Life::new(None);
    life.goes(360, |_| 200.0);
    life.at_ms -= 86_400_000;
    life.goes(60, |_| 200.0).goes(60, |minute| 200.0 + 20.0 * minute);
    assert_eq!(life.findings(), [Finding::Leak]);
}

#[test]
fn samples_of_beats_every_30_s_are_enough() {
    let mut life = Life::new(None);
    for half_minute in 0..16 * 60_u64 {
        let grown = half_minute.saturating_sub(720);
        life.sample((200 + 10 * grown) * MB);
        life.at_ms += 30_000;
    }
    assert_eq!(life.findings(), [Finding::Leak]);
}

#[test]
fn a_trend_shows_the_floors_the_slope_and_the_forecast() {
    let mut life = Life::new(Some(10_000 * MB));
    life.goes(60, |minute| 100.0 + 2.0 * minute);
    let trend = life.detector.trend(&life.kind).unwrap();
    assert!((110.0..130.0).contains(&(trend.slope_bytes_per_hour / MB as f64)), "{trend:?}");
    assert!(trend.floors.is_sorted() && trend.floors.len() > 10, "{trend:?}");
    assert!(trend.limit_reached_at.unwrap() > at(life.at_ms));
    assert_eq!(trend.finding, None);
}

proptest! {
    #[test]
    fn any_samples_in_any_order_are_survived(
        samples in prop::collection::vec(
            (any::<u64>(), any::<u64>(), any::<Option<u64>>(), 0_u8..10), 0..300)
    ) {
        let (mut kind, mut detector) = (KindHistory::default(), Detector::default());
        for (at_ms, rss_bytes, limit_bytes, act) in samples {
            if act == 0 {
                detector.restarted();
            }
            let verdict = detector.observe(&mut kind, RssSample { at: at(at_ms), rss_bytes, limit_bytes });
            if let Some(verdict) = verdict {
                prop_assert!((0.0..=1.0).contains(&verdict.confidence), "{:?}", verdict);
                prop_assert!(verdict.slope_bytes_per_hour > 0.0, "{:?}", verdict);
            }
            let _ = detector.trend(&kind);
        }
    }

    #[test]
    fn memory_that_only_falls_is_never_alerted_on(
        steps in prop::collection::vec((1_u64..600_000, 0_u64..4_096), 0..500),
        limit in prop::option::of(1_u64..u64::MAX),
    ) {
        let (mut kind, mut detector) = (KindHistory::default(), Detector::default());
        let (mut at_ms, mut rss_bytes) = (START_MS, 1 << 34);
        for (wait, less) in steps {
            at_ms += wait;
            rss_bytes -= less * 4_096;
            let sample = RssSample { at: at(at_ms), rss_bytes, limit_bytes: limit };
            prop_assert_eq!(detector.observe(&mut kind, sample), None);
        }
    }

    /// What is shorter than a bucket shows in no floor.
    #[test]
    fn spikes_within_a_minute_are_never_leaks(spikes in prop::collection::vec(0_u64..4_000, 600)) {
        let mut life = Life::new(None);
        for spike in spikes {
            life.sample(300 * MB);
            life.at_ms += 30_000;
            life.sample((300 + spike) * MB);
            life.at_ms += 30_000;
        }
        prop_assert_eq!(life.verdicts, []);
    }
}

#[test]
fn samples_of_one_moment_say_nothing_of_a_slope() {
    let (mut detector, mut kind) = (Detector::default(), KindHistory::default());
    for rss_bytes in [900, 950, 990, 995, 999] {
        let sample = RssSample { at: at(5), rss_bytes, limit_bytes: Some(1_000) };
        assert_eq!(detector.observe(&mut kind, sample), None);
    }
}
