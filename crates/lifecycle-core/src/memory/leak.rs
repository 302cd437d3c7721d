//! Which agents leak memory, and which are merely busy.
//!
//! Memory that is in use comes and goes; memory that leaked only comes. So the detector looks at *floors*, the least memory
//! of each stretch of 1, 4, 16 and 64 minutes, in which all that is given back within the stretch does not show. An agent
//! leaks when its floors rise steadily, **and** by more than is usual for it.
//!
//! 1. *Steadily* (`steady_growth.rs`): the Theil–Sen slope over 8, 12 or 24 floors; nearly every floor above those before it (Kendall's
//!    τ); growth that stands out from the spread around the line; no jump that carries it (a step is no leak); and a later part
//!    that grows like the earlier one (a warm-up is no leak, nor is a cache that fills).
//! 2. *More than is usual* (`rise.rs`, `series.rs`): the rise that is still open is held against 2.5 times the largest one that
//!    was ever over, i.e. given back or settled, against what nine of ten agents of the same kind never exceeded
//!    (`kind.rs`), and against an allowance for the unknown that shrinks with the hours that are accounted for. A leak is
//!    never over, so it teaches nobody that leaking is usual.
//! 3. Memory that reaches its limit within five minutes cannot wait for that: *runaway* (`runaway.rs`) is judged from the
//!    last samples, and only on levels never seen before.
//!
//! An alert is given once per **episode**, of each finding. The episode ends when a floor falls back below the middle of the
//! growth that was alerted on, which makes such growth usual from then on, or when the process is another one. A leak may
//! run away later, so one episode can have an alert of each.
//!
//! All that is known of an agent takes less than 4 KB, whatever the number of samples, and a sample costs constant time on
//! average: 1 in 6 (at one in 10 s) ends a floor, and then at most 400 slopes are looked at. Samples may come at any
//! pace, late, twice or not at all; a clock that goes back stands still until it is reached again, or begins anew when that
//! is far away. `cargo xtask leak-eval` measures how well all of this works; the constants were chosen on its tuning seeds.
//!
//! Sources: H. Theil, "A rank-invariant method of linear and polynomial regression analysis" (1950); P. K. Sen, "Estimates
//! of the regression coefficient based on Kendall's tau" (1968); H. B. Mann, "Nonparametric tests against trend" (1945);
//! M. G. Kendall, "Rank correlation methods" (1975).

mod fields;
mod finding;
mod floors;
mod kind;
mod rise;
mod runaway;
mod scales;
mod series;
mod slope;
mod steady_growth;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::memory::sample::RssSample;
use crate::wire::time::ServerTime;

pub use finding::{Finding, LeakVerdict, Trend};
use floors::Floors;
pub use kind::KindHistory;
use runaway::Recent;
use scales::{HOUR_MS, LEVEL_SCALE, LONGEST_LOOK_MS, NEW_CLOCK_MS, QUICK_SCALE, SCALES, SHOWN_SCALE};
use series::Series;
use steady_growth::{SteadyGrowth, steady_growth};

/// An episode that was alerted on. It ends when a floor of this scale is below the level.
#[derive(Debug, Clone, Copy)]
struct Episode {
    scale: usize,
    level: u64,
}

/// Watches the memory of one agent.
#[derive(Debug, Clone)]
pub struct Detector {
    floors: [Floors; SCALES.len()],
    series: [Series; SCALES.len()],
    recent: Recent,
    last: Option<RssSample>,
    /// How long the agent was observed. A gap in the samples adds at most [`LONGEST_LOOK_MS`].
    observed_ms: u64,
    leak: Option<Episode>,
    runaway: Option<Episode>,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            floors: SCALES.map(Floors::new),
            series: [Series::default(); SCALES.len()],
            recent: Recent::default(),
            last: None,
            observed_ms: 0,
            leak: None,
            runaway: None,
        }
    }
}

impl Detector {
    /// Takes in a sample. Gives a verdict when an episode begins. `kind` is the history of this agent's kind, which all
    /// agents of the kind share.
    pub fn observe(&mut self, kind: &mut KindHistory, sample: RssSample) -> Option<LeakVerdict> {
        let sample = self.in_time(sample);
        self.recent.push(sample.at, sample.rss_bytes);
        let mut found = self.runs_away(kind, sample);
        for (scale, length_ms) in SCALES.into_iter().enumerate() {
            let Some(floor) = self.floors[scale].take(sample.at, sample.rss_bytes) else { continue };
            self.end_episodes(scale, floor.bytes);
            let over = self.series[scale].next(kind, scale, length_ms, self.observed_ms, floor.bytes);
            if over && scale == LEVEL_SCALE {
                self.recent.learn(kind);
            }
            found = found.or_else(|| self.leaks(kind, scale, sample));
        }
        found
    }

    /// From here on the agent has another process. What was learnt of its usual memory stays.
    pub fn restarted(&mut self) {
        self.begin_anew();
        self.leak = None;
        self.runaway = None;
    }

    /// The findings whose episode goes on, the gravest last.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let going_on = [(Finding::Leak, self.leak.is_some()), (Finding::Runaway, self.runaway.is_some())];
        going_on.into_iter().filter(|(_, is_on)| *is_on).map(|(finding, _)| finding).collect()
    }

    /// The trend of the agent's memory; `None` before there are enough floors.
    #[must_use]
    pub fn trend(&self, kind: &KindHistory) -> Option<Trend> {
        let sample = self.last?;
        let seen = (0..SCALES.len()).filter_map(|scale| self.evidence(kind, scale, true));
        let (growth, confidence) = seen.max_by(|one, other| one.1.total_cmp(&other.1))?;
        Some(Trend {
            slope_bytes_per_hour: growth.bytes_per_hour,
            confidence,
            limit_reached_at: forecast(sample, growth.bytes_per_hour / HOUR_MS),
            // The last one is the gravest.
            finding: self.findings().last().copied(),
            floors: self.floors[SHOWN_SCALE].iter().map(|floor| floor.bytes).collect(),
        })
    }

    /// Moves the sample's time so that it does not go back, and adds to the observed time.
    fn in_time(&mut self, sample: RssSample) -> RssSample {
        let last = self.last.map_or(sample.at, |last| last.at);
        let mut at = sample.at.max(last);
        if last.ms_since(sample.at) > NEW_CLOCK_MS {
            self.begin_anew();
            at = sample.at;
        }
        self.observed_ms += at.ms_since(last).min(LONGEST_LOOK_MS);
        let sample = RssSample { at, ..sample };
        self.last = Some(sample);
        sample
    }

    fn begin_anew(&mut self) {
        self.floors.iter_mut().for_each(Floors::forget);
        self.series.iter_mut().for_each(Series::restart);
        self.recent.restart();
    }

    fn end_episodes(&mut self, scale: usize, floor: u64) {
        let over = |episode: &mut Episode| episode.scale == scale && floor < episode.level;
        self.leak.take_if(over);
        self.runaway.take_if(over);
    }

    /// The growth at a scale, with the confidence that it is a leak.
    fn evidence(&self, kind: &KindHistory, scale: usize, any: bool) -> Option<(SteadyGrowth, f64)> {
        let series = &self.series[scale];
        let rise = series.rise?;
        let growth = steady_growth(&self.floors[scale], &rise, any)?;
        let beyond = rise.gained() as f64 / series.allowance(kind, scale);
        if beyond < 1.0 && !any {
            return None;
        }
        let sure = growth.tau.max(0.0) * (1.0 - 0.25_f64.powf(beyond));
        Some((growth, if growth.steady { sure } else { sure / 2.0 }))
    }

    fn leaks(&mut self, kind: &KindHistory, scale: usize, sample: RssSample) -> Option<LeakVerdict> {
        if self.leak.is_some() {
            return None;
        }
        let (growth, confidence) = self.evidence(kind, scale, false)?;
        self.leak = self.episode(scale);
        Some(LeakVerdict {
            at: sample.at,
            finding: Finding::Leak,
            slope_bytes_per_hour: growth.bytes_per_hour,
            window_ms: growth.window_ms,
            confidence,
            limit_reached_at: forecast(sample, growth.bytes_per_hour / HOUR_MS),
        })
    }

    fn runs_away(&mut self, kind: &KindHistory, sample: RssSample) -> Option<LeakVerdict> {
        let limit = sample.limit_bytes.filter(|limit| *limit > 0)?;
        if self.runaway.is_some() {
            return None;
        }
        let rush = self.recent.rush(kind, limit, self.series[QUICK_SCALE].experience_h())?;
        let low = self.series[QUICK_SCALE].rise.map_or(0, |rise| rise.low.min(sample.rss_bytes));
        self.runaway = Some(Episode { scale: QUICK_SCALE, level: low.midpoint(sample.rss_bytes) });
        Some(LeakVerdict {
            at: sample.at,
            finding: Finding::Runaway,
            slope_bytes_per_hour: rush.bytes_per_ms * HOUR_MS,
            window_ms: rush.window_ms,
            confidence: rush.confidence,
            limit_reached_at: forecast(sample, rush.bytes_per_ms),
        })
    }

    fn episode(&self, scale: usize) -> Option<Episode> {
        let rise = self.series[scale].rise?;
        Some(Episode { scale, level: rise.low.midpoint(rise.high) })
    }
}

/// When the limit is reached. `None` without a limit, without growth, or if that is beyond all time.
fn forecast(sample: RssSample, bytes_per_ms: f64) -> Option<ServerTime> {
    let limit = sample.limit_bytes.filter(|limit| *limit > 0)?;
    let left_ms = limit.saturating_sub(sample.rss_bytes) as f64 / bytes_per_ms;
    (bytes_per_ms > 0.0 && left_ms < u64::MAX as f64)
        .then(|| sample.at + Duration::from_millis(left_ms as u64))
}
