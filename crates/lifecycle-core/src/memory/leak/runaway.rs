//! Runaways: memory that reaches its limit within minutes. They are judged from the samples themselves.
//!
//! There is no time to wait for floors. Three other conditions replace them. The level is one that neither this agent
//! nor its kind had before. Much of the limit is used already. And a slope is extrapolated only to a few times the
//! length over which it was seen.

use super::kind::{Bin, KindHistory, LEVELS};
use super::scales::MINUTE_MS;
use super::slope::{Line, MOST, line};
use super::steady_growth::largest_jump;
use crate::wire::time::ServerTime;

/// Lengths of the windows, in samples.
const WINDOWS: [usize; 5] = [3, 4, 7, 13, MOST];
/// The shortest window counts only if this share of the limit is used.
const NEARLY_ALL: f64 = 0.85;
/// How old the first sample of a window may be.
const OLDEST_MS: u64 = 6 * MINUTE_MS;
const LEAST_TAU: f64 = 0.6;
const LARGEST_JUMP: f64 = 0.6;
/// A limit that is reached later than this is no runaway yet.
const AHEAD_MS: f64 = 5.0 * MINUTE_MS as f64;
/// A slope is extrapolated to this many times the length over which it was seen.
const BELIEVED: f64 = 4.0;
/// Share of the limit that must be used. The second is added in full for a new agent, and less with its experience.
const USED: f64 = 0.75;
const USED_YOUNG: f64 = 0.1;
/// A level is new when it exceeds those known by this factor.
const NEW: f64 = 1.05;
/// This many hours of own experience halve what youth adds, and quarter the weight of the kind's levels. Programs of
/// different sizes may go by one kind, and then the usual level of one is beyond the limit of another.
const YOUNG_H: f64 = 1.0;

/// The latest samples and the highest level of the past.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    samples: [(ServerTime, u64); MOST],
    count: u8,
    /// The highest sample since the last rise that was over.
    peak: u64,
    /// The highest level of all rises that are over.
    highest: u64,
    bin: Option<Bin>,
}

/// A limit that is about to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rush {
    pub(super) bytes_per_ms: f64,
    pub(super) window_ms: u64,
    pub(super) confidence: f64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { samples: [(ServerTime::default(), 0); MOST], count: 0, peak: 0, highest: 0, bin: None }
    }
}

impl Recent {
    pub(super) fn push(&mut self, at: ServerTime, bytes: u64) {
        if usize::from(self.count) == MOST {
            self.samples.copy_within(1.., 0);
            self.count -= 1;
        }
        self.samples[usize::from(self.count)] = (at, bytes);
        self.count += 1;
        self.peak = self.peak.max(bytes);
    }

    /// A rise is over, so the levels that it reached are usual for this program.
    pub(super) fn learn(&mut self, kind: &mut KindHistory) {
        if self.peak > self.highest {
            self.highest = self.peak;
            self.bin = Some(kind.learn(LEVELS, self.bin, self.highest));
        }
        self.peak = 0;
    }

    pub(super) fn restart(&mut self) {
        self.count = 0;
        self.peak = 0;
    }

    /// Whether the limit is about to be reached, for an agent with this much experience in hours.
    pub(super) fn rush(&self, kind: &KindHistory, limit: u64, experience_h: f64) -> Option<Rush> {
        let samples = &self.samples[..usize::from(self.count)];
        let (at, rss) = *samples.last()?;
        let (used, limit) = (rss as f64, limit as f64);
        let young = YOUNG_H / (YOUNG_H + experience_h);
        let known = (self.highest as f64).max(kind.usual(LEVELS) * young * young);
        if used < limit * (USED + USED_YOUNG * young) || used < NEW * known {
            return None;
        }
        let shortest = usize::from(used < NEARLY_ALL * limit);
        let windows = WINDOWS[shortest..].iter().filter_map(|window| samples.len().checked_sub(*window));
        let fresh =
            windows.map(|begin| &samples[begin..]).take_while(|window| at.ms_since(window[0].0) <= OLDEST_MS);
        let room = (limit - used).max(0.0);
        fresh.filter_map(|window| of_window(window, room)).next()
    }
}

fn of_window(samples: &[(ServerTime, u64)], room: f64) -> Option<Rush> {
    let mut points = [(0.0, 0.0); MOST];
    let points = &mut points[..samples.len()];
    let begin = samples.first()?.0;
    for (point, (at, bytes)) in points.iter_mut().zip(samples) {
        *point = (at.ms_since(begin) as f64, *bytes as f64);
    }
    let Line { slope, tau, .. } = line(points)?;
    let (first, last) = (points.first()?, points.last()?);
    if slope <= 0.0 || tau < LEAST_TAU || largest_jump(points) > LARGEST_JUMP * (last.1 - first.1) {
        return None;
    }
    if last.0 <= 0.0 || !slope.is_finite() {
        return None;
    }
    let left_ms = room / slope;
    (left_ms <= AHEAD_MS.min(BELIEVED * last.0)).then(|| Rush {
        bytes_per_ms: slope,
        window_ms: last.0 as u64,
        confidence: tau * (1.0 - left_ms / AHEAD_MS / 2.0),
    })
}
