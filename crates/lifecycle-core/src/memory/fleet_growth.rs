//! Whether the memory of the fleet grew as with a leak. It is the original design's rule, corrected.
//!
//! The original design compares two totals of the fleet. Then an agent that joins looks like a leak, and one that
//! leaves hides one. Also, its baseline is overwritten by each look and so is hardly ever as old as it claims. Here
//! every agent is compared with *itself*, within one life, and only if it was there for the whole window:
//!
//! ```text
//!   samples of one life    |    |    |    |    |    |    |    |
//!                               ^ baseline                    ^ latest
//!                   ◀──────────▶◀────────── window ──────────▶ now
//!              at most half a window
//! ```
//!
//! The growth of the fleet is the sum over all lives that have both samples. A leak begins when the growth is above the
//! threshold, and ends when it is no more than half of it ([`LeakEpisode`]). So growth that goes up and down around the
//! threshold is one episode, and gives one alert.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::memory::sample::MemorySample;
use crate::wire::ids::Incarnation;
use crate::wire::memory_records::{Grown, MemoryStats};
use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

/// How many samples are kept per window. A baseline is as old as the window, or older by up to one eighth of it.
const PER_WINDOW: u64 = 8;
/// Most agents whose history is kept; they take some 40 MB.
const MOST_AGENTS: usize = 100_000;
/// How many of the agents that grew most are named.
const NAMED: usize = 10;

/// The fleet at both ends of the window, over the lives that have a sample at both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetGrowth {
    /// At the beginning of the window.
    pub baseline: MemoryStats,
    /// At its end.
    pub current: MemoryStats,
    /// The agents that grew most, in falling order.
    pub grown: Vec<Grown>,
}

impl FleetGrowth {
    /// By how many bytes resident memory grew; negative if it fell.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        difference(self.baseline.total_rss, self.current.total_rss)
    }

    /// The growth in per cent of the baseline; `None` where the baseline is zero.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // Shown to people.
    pub fn percent(&self) -> Option<f64> {
        let then = self.baseline.total_rss;
        (then > 0).then(|| self.bytes() as f64 * 100.0 / then as f64)
    }
}

/// Samples of every agent over one and a half windows.
#[derive(Debug, Clone)]
pub struct FleetHistory {
    window_ms: u64,
    begun: Option<ServerTime>,
    agents: HashMap<String, (Option<Incarnation>, Track)>,
    store: Option<Track>,
}

impl FleetHistory {
    /// An empty history. Growth will be measured over `window_ms`.
    #[must_use]
    pub fn new(window_ms: u64) -> Self {
        Self { window_ms: window_ms.max(1), begun: None, agents: HashMap::new(), store: None }
    }

    /// Takes in a sample of one agent. A sample of another life of the id starts a new history.
    pub fn observe(&mut self, sample: &MemorySample) {
        let point = Point { at: sample.at, rss: sample.rss, heap_used: sample.heap_used };
        let has_room = self.agents.len() < MOST_AGENTS;
        match self.agents.get_mut(&sample.id) {
            Some((life, track)) if *life == sample.incarnation => track.add(point, self.window_ms),
            Some(other) => *other = (sample.incarnation, Track::new(point)),
            None if has_room => {
                self.agents.insert(sample.id.clone(), (sample.incarnation, Track::new(point)));
            }
            None => {}
        }
    }

    /// Takes in how much memory the store uses.
    pub fn observe_store(&mut self, at: ServerTime, bytes: u64) {
        let point = Point { at, rss: bytes, heap_used: 0 };
        match &mut self.store {
            Some(track) => track.add(point, self.window_ms),
            None => self.store = Some(Track::new(point)),
        }
    }

    /// Drops the history of each agent for which `is_there` is false.
    pub fn retain(&mut self, mut is_there: impl FnMut(&str) -> bool) {
        self.agents.retain(|id, _| is_there(id));
    }

    /// The growth of the fleet up to `now`. `None` until there is a sample that is old enough, or
    /// until a whole window has passed without any agent.
    pub fn judge(&mut self, now: ServerTime) -> Option<FleetGrowth> {
        // A server whose clock was set back begins a new window.
        let begun = *self.begun.insert(self.begun.unwrap_or(now).min(now));
        let mut compared = Compared::new(now - Duration::from_millis(self.window_ms), now);
        for (id, (_, track)) in &self.agents {
            if let Some(then) = track.baseline(now, self.window_ms) {
                compared.add(id, then, track.latest);
            }
        }
        if compared.current.total_agents == 0 && now.ms_since(begun) < self.window_ms {
            return None;
        }
        let store = self.store.as_ref();
        let then =
            store.and_then(|track| track.baseline(now, self.window_ms)).or(store.map(|track| track.latest));
        Some(compared.end(then.map_or(0, |point| point.rss), store.map_or(0, |track| track.latest.rss)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    at: ServerTime,
    rss: u64,
    heap_used: u64,
}

#[derive(Debug, Clone)]
struct Track {
    kept: VecDeque<Point>,
    latest: Point,
}

impl Track {
    fn new(point: Point) -> Self {
        Self { kept: VecDeque::from([point]), latest: point }
    }

    fn add(&mut self, point: Point, window_ms: u64) {
        // Samples that are later than this one date from before the server's clock was set back.
        while self.kept.back().is_some_and(|last| last.at > point.at) {
            self.kept.pop_back();
        }
        let is_due = |last: &Point| point.at.ms_since(last.at) >= window_ms / PER_WINDOW;
        if self.kept.back().is_none_or(is_due) {
            self.kept.push_back(point);
        }
        self.latest = point;
        let old_enough = point.at - Duration::from_millis(window_ms);
        while self.kept.get(1).is_some_and(|next| next.at <= old_enough) {
            self.kept.pop_front();
        }
    }

    /// The youngest sample that is at least as old as the window; `None` if that is older than one and a half windows.
    fn baseline(&self, now: ServerTime, window_ms: u64) -> Option<Point> {
        let latest = now - Duration::from_millis(window_ms);
        let earliest = latest - Duration::from_millis(window_ms / 2);
        self.kept.iter().rev().find(|point| point.at <= latest).filter(|point| point.at >= earliest).copied()
    }
}

struct Compared {
    baseline: MemoryStats,
    current: MemoryStats,
    grown: Vec<Grown>,
}

impl Compared {
    fn new(then: ServerTime, now: ServerTime) -> Self {
        let at = |timestamp| MemoryStats { timestamp, ..MemoryStats::default() };
        Self { baseline: at(then), current: at(now), grown: Vec::new() }
    }

    fn add(&mut self, id: &str, then: Point, now: Point) {
        for (stats, point) in [(&mut self.baseline, then), (&mut self.current, now)] {
            stats.total_agents += 1;
            stats.total_rss = stats.total_rss.saturating_add(point.rss);
            stats.total_heap_used = stats.total_heap_used.saturating_add(point.heap_used);
        }
        let growth = difference(then.rss, now.rss);
        if growth > 0 {
            self.grown.push(Grown { agent_id: id.to_string(), growth });
        }
    }

    fn end(mut self, store_then: u64, store_now: u64) -> FleetGrowth {
        (self.baseline.redis_memory, self.current.redis_memory) = (store_then, store_now);
        let order = |one: &Grown, other: &Grown| {
            other.growth.cmp(&one.growth).then_with(|| one.agent_id.cmp(&other.agent_id))
        };
        self.grown.sort_unstable_by(order);
        self.grown.truncate(NAMED);
        FleetGrowth { baseline: self.baseline, current: self.current, grown: self.grown }
    }
}

fn difference(then: u64, now: u64) -> i64 {
    let size = i64::try_from(now.abs_diff(then)).unwrap_or(i64::MAX);
    if now < then { -size } else { size }
}

/// Whether a leak is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeakEpisode {
    /// Whether a leak is going on, as of the last look.
    pub is_on: bool,
}

word_enum! {
    /// What a look changed about the leak.
    LeakTurn, "turn of a leak" {
        /// There is no leak, and there was none before.
        Quiet = "quiet",
        /// A leak begins: time for an alert.
        Began = "began",
        /// The leak goes on.
        Lasts = "lasts",
        /// The leak is over.
        Ended = "ended",
    }
}

impl LeakEpisode {
    /// Takes in the present growth, in bytes; `threshold` is `memory.leak_threshold`.
    pub fn judge(&mut self, growth: i64, threshold: u64) -> LeakTurn {
        let threshold = i64::try_from(threshold).unwrap_or(i64::MAX);
        let was = self.is_on;
        self.is_on = if was { growth > threshold / 2 } else { growth > threshold };
        match (was, self.is_on) {
            (false, false) => LeakTurn::Quiet,
            (false, true) => LeakTurn::Began,
            (true, true) => LeakTurn::Lasts,
            (true, false) => LeakTurn::Ended,
        }
    }
}

#[cfg(test)]
mod tests;
