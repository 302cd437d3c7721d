//! Units, and the lengths of the stretches that floors are taken over.

pub(super) const MINUTE_MS: u64 = 60_000;
pub(super) const HOUR_MS: f64 = 3_600_000.0;
pub(super) const MIB: f64 = 1_048_576.0;

/// Lengths of the stretches, in ms, one per scale.
pub(super) const SCALES: [u64; 4] = [MINUTE_MS, 4 * MINUTE_MS, 16 * MINUTE_MS, 64 * MINUTE_MS];
/// The scale whose rises tell which levels are usual. A leak's rise is open at this scale before it is fast.
pub(super) const LEVEL_SCALE: usize = 2;
/// The scale at which experience is gained soonest.
pub(super) const QUICK_SCALE: usize = 0;
/// The scale that people are shown: 24 floors of four minutes are the last hour and a half.
pub(super) const SHOWN_SCALE: usize = 1;
/// Longest time between two samples that counts as observed.
pub(super) const LONGEST_LOOK_MS: u64 = 5 * MINUTE_MS;
/// A clock that goes back further than this counts as a new clock.
pub(super) const NEW_CLOCK_MS: u64 = 60 * MINUTE_MS;
