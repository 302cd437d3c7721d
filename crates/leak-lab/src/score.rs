//! The score of a rule: its alerts beside the truth, added up over all groups.

use std::collections::BTreeMap;

use crate::labelled_days::{AgentDay, TICK_MS};
use crate::workload::Class;

const DAY_MS: f64 = 86_400_000.0;

/// Leaks are reported by their rate: from, to (in MiB/h) and the name of the band.
pub(crate) const RATE_BANDS: [(f64, f64, &str); 5] = [
    (20.0, 60.0, "20-60 MB/h"),
    (60.0, 200.0, "60-200 MB/h"),
    (200.0, 1_228.8, "0.2-1.2 GB/h"),
    (1_228.8, 6_144.0, "1.2-6 GB/h"),
    (6_144.0, f64::INFINITY, "6-60 GB/h"),
];

/// One leak, and whether the rule found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeakDetection {
    /// In MiB/h.
    pub(crate) rate: f64,
    /// From the onset to the first alert after it.
    pub(crate) delay_ms: Option<u64>,
}

/// False alarms: alerts on agents without a leak, and before the onset of one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FalseAlarms {
    pub(crate) alerts: usize,
    pub(crate) days: f64,
}

/// The score of one rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Score {
    pub(crate) false_alarms: BTreeMap<Class, FalseAlarms>,
    /// The same by group: false alarms on agents of one program are not independent.
    pub(crate) groups: Vec<FalseAlarms>,
    pub(crate) leaks: Vec<LeakDetection>,
}

impl FalseAlarms {
    fn add(&mut self, other: Self) {
        self.alerts += other.alerts;
        self.days += other.days;
    }

    /// Per agent and day.
    pub(crate) fn rate(self) -> f64 {
        self.alerts as f64 / self.days.max(f64::MIN_POSITIVE)
    }
}

impl Score {
    /// Adds a group of agents and the times of the alerts on each.
    pub(crate) fn add(&mut self, days: &[AgentDay], alerts: &[Vec<u64>]) {
        let mut group = FalseAlarms::default();
        for (day, alerts) in days.iter().zip(alerts) {
            let end = day.readings.len() as u64 * TICK_MS;
            let onset = day.leak.map_or(end, |leak| leak.onset_ms.min(end));
            let own = FalseAlarms {
                days: onset as f64 / DAY_MS,
                alerts: alerts.iter().filter(|at| **at < onset).count(),
            };
            self.false_alarms.entry(day.class).or_default().add(own);
            group.add(own);
            let Some(leak) = day.leak else { continue };
            let delay_ms = alerts.iter().find(|at| **at >= onset).map(|at| at - onset);
            self.leaks.push(LeakDetection { rate: leak.rate, delay_ms });
        }
        self.groups.push(group);
    }

    pub(crate) fn join(&mut self, other: Self) {
        for (class, false_alarms) in other.false_alarms {
            self.false_alarms.entry(class).or_default().add(false_alarms);
        }
        self.groups.extend(other.groups);
        self.leaks.extend(other.leaks);
    }

    pub(crate) fn all_false_alarms(&self) -> FalseAlarms {
        let mut all = FalseAlarms::default();
        self.false_alarms.values().for_each(|one| all.add(*one));
        all
    }

    /// How many leaks of these rates were found, of how many.
    pub(crate) fn recall(&self, from: f64, to: f64) -> (usize, usize) {
        let of: Vec<_> = self.leaks.iter().filter(|leak| (from..to).contains(&leak.rate)).collect();
        (of.iter().filter(|leak| leak.delay_ms.is_some()).count(), of.len())
    }

    /// Minutes until leaks of these rates were found; infinite for those that were not.
    pub(crate) fn delays(&self, from: f64, to: f64) -> Vec<f64> {
        let of = self.leaks.iter().filter(|leak| (from..to).contains(&leak.rate));
        of.map(|leak| leak.delay_ms.map_or(f64::INFINITY, |ms| ms as f64 / 60_000.0)).collect()
    }
}
