//! The rules that are compared: the product's detector and three rules that are in use, on the same readings.
//!
//! The rules that are in use alert as a rule of Prometheus would: an alert lasts as long as its condition holds and counts
//! once.

use std::collections::{HashMap, VecDeque};

use lifecycle_core::memory::leak::{Detector, KindHistory, LeakVerdict};
use lifecycle_core::memory::sample::RssSample;
use lifecycle_core::wire::time::ServerTime;

use crate::labelled_days::{AgentDay, HOST, Reading, TICK_MS};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const MIB: f64 = 1_048_576.0;

/// A rule that says when an agent leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DetectionRule {
    /// The product's detector.
    Product,
    /// The original design: growth of more than 100 MB in 5 minutes.
    OriginalDesign,
    /// Prometheus' `predict_linear`: the limit is reached within 4 hours.
    PredictLinear,
    /// A Mann-Kendall test with a Sen slope.
    MannKendall,
}

impl DetectionRule {
    pub(crate) const ALL: [Self; 4] =
        [Self::Product, Self::OriginalDesign, Self::PredictLinear, Self::MannKendall];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Product => "detector",
            Self::OriginalDesign => "100 MB / 5 min",
            Self::PredictLinear => "predict_linear",
            Self::MannKendall => "Mann-Kendall + Sen",
        }
    }

    /// When each agent is alerted on, in ms.
    pub(crate) fn alerts(self, days: &[AgentDay], every: usize) -> Vec<Vec<u64>> {
        if self == Self::Product {
            let verdicts = product_verdicts(days, every);
            return verdicts.iter().map(|of| of.iter().map(|verdict| verdict.at.as_ms()).collect()).collect();
        }
        days.iter().map(|day| self.alerts_of(&day.readings, day.limit, every)).collect()
    }

    fn alerts_of(self, readings: &[Reading], limit: Option<u64>, every: usize) -> Vec<u64> {
        let mut last_hour = LastHour::default();
        let mut alerts = Vec::new();
        let mut pending_since = None;
        let mut firing = false;
        for (tick, reading) in readings.iter().enumerate() {
            let at = tick as u64 * TICK_MS;
            match reading {
                Reading::Restart => {
                    last_hour = LastHour::default();
                    (pending_since, firing) = (None, false);
                }
                Reading::Rss(rss) if tick.is_multiple_of(every) => {
                    last_hour.add(at, *rss);
                    let Some(holds) = self.holds(&last_hour, at, limit.unwrap_or(HOST)) else { continue };
                    let since = *pending_since.get_or_insert(at);
                    if !holds {
                        (pending_since, firing) = (None, false);
                    } else if !firing && at - since >= self.hold_ms() {
                        firing = true;
                        alerts.push(at);
                    }
                }
                _ => {}
            }
        }
        alerts
    }

    /// How long a condition must hold before it is an alert: the customary `for` of a Prometheus rule.
    fn hold_ms(self) -> u64 {
        if self == Self::PredictLinear { 15 * MINUTE_MS } else { 0 }
    }

    /// None when the rule is not evaluated now.
    fn holds(self, last_hour: &LastHour, at: u64, limit: u64) -> Option<bool> {
        match self {
            Self::Product => None,
            Self::OriginalDesign => last_hour.growth(at, 5 * MINUTE_MS).map(|growth| growth > 100.0 * MIB),
            Self::PredictLinear => at
                .is_multiple_of(MINUTE_MS)
                .then(|| last_hour.predicts(at, HOUR_MS, 4 * HOUR_MS) > limit as f64),
            Self::MannKendall => at.is_multiple_of(5 * MINUTE_MS).then(|| last_hour.trends()),
        }
    }
}

/// The verdicts of the product's detector by agent. All agents are observed side by side, because agents of a kind share a
/// history.
pub(crate) fn product_verdicts(days: &[AgentDay], every: usize) -> Vec<Vec<LeakVerdict>> {
    let mut kinds: HashMap<&str, KindHistory> = HashMap::new();
    let mut agents: Vec<(Detector, Vec<LeakVerdict>)> =
        days.iter().map(|_| (Detector::default(), Vec::new())).collect();
    let ticks = days.iter().map(|day| day.readings.len()).max().unwrap_or(0);
    for tick in 0..ticks {
        for (day, (detector, verdicts)) in days.iter().zip(&mut agents) {
            match day.readings.get(tick) {
                Some(Reading::Rss(rss)) if tick.is_multiple_of(every) => {
                    let kind = kinds.entry(&day.kind).or_default();
                    let at = ServerTime::from_store_ms(tick as u64 * TICK_MS);
                    let sample = RssSample { at, rss_bytes: *rss, limit_bytes: day.limit };
                    verdicts.extend(detector.observe(kind, sample));
                }
                Some(Reading::Restart) => detector.restarted(),
                _ => {}
            }
        }
    }
    agents.into_iter().map(|(_, verdicts)| verdicts).collect()
}

/// The readings of the last hour.
#[derive(Default)]
struct LastHour {
    readings: VecDeque<(u64, f64)>,
}

impl LastHour {
    fn add(&mut self, at: u64, rss: u64) {
        self.readings.push_back((at, rss as f64));
        while self.readings.front().is_some_and(|(then, _)| at - then > HOUR_MS) {
            self.readings.pop_front();
        }
    }

    /// Growth since the latest reading that is at least `ms` old.
    fn growth(&self, at: u64, ms: u64) -> Option<f64> {
        let now = self.readings.back()?.1;
        let old = self.readings.partition_point(|(then, _)| then + ms <= at).checked_sub(1)?;
        Some(now - self.readings[old].1)
    }

    /// `predict_linear(rss[window], ahead)`: least squares, extrapolated.
    fn predicts(&self, at: u64, window: u64, ahead: u64) -> f64 {
        let Some((first, _)) = self.readings.front() else { return 0.0 };
        // A window that is hardly filled would predict anything.
        if at - first < window / 4 {
            return 0.0;
        }
        let count = self.readings.len() as f64;
        let x = |then: u64| then as f64 - at as f64;
        let mean_x = self.readings.iter().map(|(then, _)| x(*then)).sum::<f64>() / count;
        let mean_y = self.readings.iter().map(|(_, rss)| rss).sum::<f64>() / count;
        let (mut both, mut square) = (0.0, 0.0);
        for (then, rss) in &self.readings {
            both += (x(*then) - mean_x) * (rss - mean_y);
            square += (x(*then) - mean_x).powi(2);
        }
        mean_y + both / square.max(1.0) * (ahead as f64 - mean_x)
    }

    /// Mann–Kendall at p < 0.001 over the hour's minutes, with a Sen slope over 20 MiB/h.
    fn trends(&self) -> bool {
        let minutes = self.minutes();
        let count = minutes.len();
        if count < 30 {
            return false;
        }
        let mut order = 0.0;
        let mut slopes = Vec::with_capacity(count * count / 2);
        for (index, (minute, low)) in minutes.iter().enumerate() {
            for (later, high) in &minutes[index + 1..] {
                order += (high - low).signum();
                slopes.push((high - low) / (later - minute));
            }
        }
        let n = count as f64;
        let z = order / (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        if z < 3.09 {
            return false;
        }
        let middle = slopes.len() / 2;
        let (_, slope, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
        *slope * 60.0 > 20.0 * MIB
    }

    fn minutes(&self) -> Vec<(f64, f64)> {
        let mut minutes: Vec<(u64, f64, f64)> = Vec::with_capacity(61);
        for (at, rss) in &self.readings {
            let minute = at / MINUTE_MS;
            match minutes.last_mut() {
                Some((last, sum, count)) if *last == minute => {
                    *sum += rss;
                    *count += 1.0;
                }
                _ => minutes.push((minute, *rss, 1.0)),
            }
        }
        minutes.into_iter().map(|(minute, sum, count)| (minute as f64, sum / count)).collect()
    }
}
