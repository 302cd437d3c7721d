//! What came of it: alerts held against the truth, added up over all groups.

use std::collections::BTreeMap;

use super::fleet::{TICK_MS, Trace};
use super::workload::Class;

const DAY_MS: f64 = 86_400_000.0;

/// Leaks are reported by how fast they are, in MiB/h.
pub(super) const BANDS: [(f64, f64, &str); 5] = [
    (20.0, 60.0, "20-60 MB/h"),
    (60.0, 200.0, "60-200 MB/h"),
    (200.0, 1_228.8, "0.2-1.2 GB/h"),
    (1_228.8, 6_144.0, "1.2-6 GB/h"),
    (6_144.0, f64::INFINITY, "6-60 GB/h"),
];

/// One leak and when it was found, in ms after its onset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) rate: f64,
    pub(super) after_ms: Option<u64>,
}

/// Agents without a leak, or before theirs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clean {
    pub(super) alerts: usize,
    pub(super) days: f64,
}

/// The score of one judge.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) clean: BTreeMap<Class, Clean>,
    /// The same by group: alerts on agents of one program come together.
    pub(super) groups: Vec<Clean>,
    pub(super) leaks: Vec<Found>,
}

impl Clean {
    fn add(&mut self, other: Self) {
        self.alerts += other.alerts;
        self.days += other.days;
    }

    /// Alerts per agent and day.
    pub(super) fn rate(self) -> f64 {
        self.alerts as f64 / self.days.max(f64::MIN_POSITIVE)
    }
}

impl Outcome {
    /// Adds a group of agents that were alerted on at these times.
    pub(super) fn add(&mut self, traces: &[Trace], alerts: &[Vec<u64>]) {
        let mut group = Clean::default();
        for (trace, alerts) in traces.iter().zip(alerts) {
            let end = trace.readings.len() as u64 * TICK_MS;
            let onset = trace.leak.map_or(end, |leak| leak.onset_ms.min(end));
            let own = Clean {
                days: onset as f64 / DAY_MS,
                alerts: alerts.iter().filter(|at| **at < onset).count(),
            };
            self.clean.entry(trace.class).or_default().add(own);
            group.add(own);
            let Some(leak) = trace.leak else { continue };
            let after_ms = alerts.iter().find(|at| **at >= onset).map(|at| at - onset);
            self.leaks.push(Found { rate: leak.rate, after_ms });
        }
        self.groups.push(group);
    }

    pub(super) fn join(&mut self, other: Self) {
        for (class, clean) in other.clean {
            self.clean.entry(class).or_default().add(clean);
        }
        self.groups.extend(other.groups);
        self.leaks.extend(other.leaks);
    }

    pub(super) fn all_clean(&self) -> Clean {
        let mut all = Clean::default();
        self.clean.values().for_each(|one| all.add(*one));
        all
    }

    /// How many leaks of these rates were found, of how many.
    pub(super) fn recall(&self, from: f64, to: f64) -> (usize, usize) {
        let of: Vec<_> = self.leaks.iter().filter(|leak| (from..to).contains(&leak.rate)).collect();
        (of.iter().filter(|leak| leak.after_ms.is_some()).count(), of.len())
    }

    /// Minutes until leaks of these rates were found; infinite for those that were not.
    pub(super) fn delays(&self, from: f64, to: f64) -> Vec<f64> {
        let of = self.leaks.iter().filter(|leak| (from..to).contains(&leak.rate));
        of.map(|leak| leak.after_ms.map_or(f64::INFINITY, |ms| ms as f64 / 60_000.0)).collect()
    }
}
