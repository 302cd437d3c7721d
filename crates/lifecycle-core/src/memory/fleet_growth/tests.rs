use super::*;

const WINDOW: u64 = 300_000;
const MB: u64 = 1_000_000;

fn at(ms: u64) -> ServerTime {
    ServerTime::from_store_ms(ms)
}

fn sample(id: &str, life: u64, at_ms: u64, rss: u64) -> MemorySample {
    let (incarnation, at) = (Some(Incarnation(life)), at(at_ms));
    MemorySample { id: id.into(), incarnation, kind: String::new(), at, rss, heap_used: rss / 2, limit: None }
}

fn history(samples: &[(&str, u64, u64, u64)]) -> FleetHistory {
    let mut history = FleetHistory::new(WINDOW);
    for (id, life, at, rss) in samples {
        history.observe(&sample(id, *life, *at, *rss));
    }
    history
}

#[test]
fn growth_is_measured_against_a_sample_really_a_window_old_and_not_much_older() {
    let now = 1_000_000;
    let mut slow = FleetHistory::new(WINDOW);
    // 1 MB every 15 s: 20 MB in a window, whatever is overwritten on the way.
    for n in 0..=40_u64 {
        slow.observe(&sample("a", 1, now - 600_000 + n * 15_000, n * MB));
    }
    let growth = slow.judge(at(now)).unwrap();
    assert!((20..=23).contains(&(growth.bytes() / MB as i64)), "{growth:?}");
    assert_eq!(
        history(&[("a", 1, now - WINDOW + 1, 0), ("a", 1, now, MB)]).judge(at(now)),
        None,
        "too young"
    );
    let old = [("a", 1, now - WINDOW * 3 / 2 - 1, 0), ("a", 1, now, MB)];
    assert_eq!(history(&old).judge(at(now)), None, "too old");
}

#[test]
fn only_lives_that_are_there_at_both_ends_count() {
    let (then, now) = (1_000_000, 1_300_000);
    let growth = history(&[
        ("stays", 1, then, 10 * MB),
        ("stays", 1, now, 15 * MB),
        ("joined", 1, now, 1_000 * MB),
        ("restarted", 1, then, MB),
        ("restarted", 2, now, 500 * MB),
        ("shrinks", 1, then, 9 * MB),
        ("shrinks", 1, now, 8 * MB),
    ])
    .judge(at(now))
    .unwrap();
    assert_eq!(growth.bytes(), 4 * MB as i64);
    assert_eq!((growth.baseline.total_agents, growth.current.total_agents), (2, 2));
    assert_eq!((growth.baseline.total_rss, growth.current.total_heap_used), (19 * MB, 23 * MB / 2));
    assert_eq!(growth.grown, [Grown { agent_id: "stays".into(), growth: 5 * MB as i64 }]);
    assert!((growth.percent().unwrap() - 400.0 / 19.0).abs() < 1e-9);
}

#[test]
fn who_left_counts_at_neither_end() {
    let mut both = history(&[("a", 1, 1, MB), ("b", 1, 1, 7 * MB), ("a", 1, 1 + WINDOW, 2 * MB)]);
    both.retain(|id| id != "b");
    assert_eq!(both.judge(at(1 + WINDOW)).unwrap().bytes(), MB as i64);
}

#[test]
fn a_fleet_of_nobody_has_grown_by_nothing_but_only_after_a_whole_window() {
    let mut history = FleetHistory::new(WINDOW);
    assert_eq!(history.judge(at(5_000)), None);
    assert_eq!(history.judge(at(5_000 + WINDOW - 1)), None);
    assert_eq!(history.judge(at(5_000 + WINDOW)).unwrap().bytes(), 0);
    assert_eq!(history.judge(at(1_000)), None, "the clock was set back");
}

#[test]
fn what_is_kept_of_an_agent_is_bounded_however_often_it_beats_and_absurd_sums_do_not_overflow() {
    let mut busy = FleetHistory::new(WINDOW);
    for at in 0..100_000_u64 {
        busy.observe(&sample("a", 1, at * 100, u64::MAX));
    }
    assert!(busy.agents["a"].1.kept.len() <= PER_WINDOW as usize + 2);
    let now = 99_999 * 100;
    for id in ["b", "c"] {
        busy.observe(&sample(id, 1, now - WINDOW, 0));
        busy.observe(&sample(id, 1, now, u64::MAX));
    }
    assert_eq!(busy.judge(at(now)).unwrap().current.total_rss, u64::MAX);
}

#[test]
fn growth_around_the_threshold_is_one_episode() {
    let mut episode = LeakEpisode::default();
    let turns: Vec<LeakTurn> =
        [99, 100, 101, 99, 120, 51, 50, 99, 101].iter().map(|growth| episode.judge(*growth, 100)).collect();
    use LeakTurn::{Began, Ended, Lasts, Quiet};
    assert_eq!(turns, [Quiet, Quiet, Began, Lasts, Lasts, Lasts, Ended, Quiet, Began]);
}

#[test]
fn the_stats_are_written_with_the_original_designs_names() {
    let text = serde_json::to_string(&MemoryStats::default()).unwrap();
    assert_eq!(text, r#"{"totalAgents":0,"totalHeapUsed":0,"totalRSS":0,"redisMemory":0,"timestamp":0}"#);
}
