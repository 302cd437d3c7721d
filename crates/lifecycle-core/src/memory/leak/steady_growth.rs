//! Whether a window of floors shows growth that goes on, rather than a step, a warm-up or noise.

use super::floors::Floors;
use super::rise::Rise;
use super::scales::{HOUR_MS, MIB};
use super::slope::{MOST, line, median};

/// Windows that are looked at, in floors: a short one to be quick, long ones to see through noise.
const WINDOWS: [usize; 3] = [8, 12, MOST];
/// Kendall's τ must be this high: nearly each floor is above those before it.
const LEAST_TAU: f64 = 0.85;
/// The growth must be this multiple of the spread around the line.
const CLEARLY: f64 = 10.0;
/// A jump between two floors that makes up more of the growth than this is a step.
const LARGEST_JUMP: f64 = 0.35;
/// The later part must grow at least this much as fast as the earlier one, and the window as the whole rise. Otherwise
/// it settles.
const STILL: f64 = 0.7;
/// Less growth than this is ignored: a small amount, plus a small share of the memory that the growth began with.
const LEAST: f64 = 16.0 * MIB;
const LEAST_SHARE: f64 = 0.03;

/// Steady growth over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SteadyGrowth {
    pub(super) bytes_per_hour: f64,
    pub(super) tau: f64,
    pub(super) window_ms: u64,
    /// Whether it is no step, does not settle, and stands out from the noise.
    pub(super) steady: bool,
}

/// The shortest window that shows steady growth. If there is none and `any` is set, the longest window as it is.
pub(super) fn steady_growth(floors: &Floors, rise: &Rise, any: bool) -> Option<SteadyGrowth> {
    let gained = rise.gained() as f64;
    let least = LEAST + LEAST_SHARE * rise.low as f64;
    if gained < least && !any {
        return None;
    }
    let mut points = [(0.0, 0.0); MOST];
    let mut last = None;
    for window in WINDOWS.into_iter().filter(|window| *window <= floors.count()) {
        let points = &mut points[..window];
        for (point, floor) in points.iter_mut().zip(floors.iter().skip(floors.count() - window)) {
            *point = (floor.at_ms as f64 / HOUR_MS, floor.bytes as f64);
        }
        let found = of_window(points, rise, least)?;
        if found.steady {
            return Some(found);
        }
        last = Some(found);
    }
    last.filter(|_| any)
}

/// `points` are hours and bytes.
fn of_window(points: &[(f64, f64)], rise: &Rise, least: f64) -> Option<SteadyGrowth> {
    let line = line(points)?;
    let (first, last) = (points.first()?, points.last()?);
    let grown = line.slope * (last.0 - first.0);
    let average = rise.gained() as f64 * HOUR_MS / rise.lasted_ms().max(1) as f64;
    let steady = line.tau >= LEAST_TAU
        && grown >= least.max(CLEARLY * line.spread)
        && largest_jump(points) <= LARGEST_JUMP * grown
        && goes_on(points)
        && line.slope >= STILL * average;
    let window_ms = ((last.0 - first.0) * HOUR_MS).round() as u64;
    Some(SteadyGrowth { bytes_per_hour: line.slope, tau: line.tau, window_ms, steady })
}

pub(super) fn largest_jump(points: &[(f64, f64)]) -> f64 {
    points.windows(2).map(|pair| pair[1].1 - pair[0].1).fold(0.0, f64::max)
}

/// Whether it grew about as much from the middle third to the last one as from the first third to the middle one.
fn goes_on(points: &[(f64, f64)]) -> bool {
    let third = points.len() / 3;
    let (first, rest) = points.split_at(third);
    let (middle, last) = rest.split_at(rest.len() - third);
    let [first, middle, last] = [first, middle, last].map(level);
    last - middle >= STILL * (middle - first)
}

fn level(points: &[(f64, f64)]) -> f64 {
    let mut levels = [0.0; MOST];
    let levels = &mut levels[..points.len()];
    levels.iter_mut().zip(points).for_each(|(level, point)| *level = point.1);
    median(levels)
}
