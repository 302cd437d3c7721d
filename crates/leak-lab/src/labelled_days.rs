//! Days of agents with the truth beside them: 24 hours of readings, one in 10 seconds, and which agent leaks since when.
//!
//! A group is eight agents of one program. Each seed and class has a group without a leak and a group with leaks. In the
//! latter one or two agents leak (something that happened to them) or all of them (a defect of the program). Half of the
//! programs have a memory limit of 1.25 to 3 times what they need. Without a limit the host ends a process at 64 GiB.

use clap::ValueEnum;

use crate::injected_leak::InjectedLeak;
use crate::memory_components::TICK_S;
use crate::seeded_random::SeededRandom;
use crate::workload::{Class, Kind};

/// Agents of a program.
const GROUP: usize = 8;
pub(crate) const TICK_MS: u64 = 10_000;
const DAY_TICKS: usize = 8_640;
const PAGE: u64 = 4_096;
const MIB: f64 = 1_048_576.0;
/// What a process without a limit may use before the host ends it.
pub(crate) const HOST: u64 = 64 << 30;
/// Share of the readings that are missing.
const MISSING: f64 = 0.005;

/// One reading of an agent's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Rss(u64),
    /// The process is a new one from here on.
    Restart,
    /// There is no reading, or no process.
    Missing,
}

/// The readings of one agent's day, and whether it leaks.
pub(crate) struct AgentDay {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) class: Class,
    pub(crate) limit: Option<u64>,
    /// One per tick. They end early when a leaking agent reaches its limit.
    pub(crate) readings: Vec<Reading>,
    pub(crate) leak: Option<LeakLabel>,
}

/// The truth about a leaking agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeakLabel {
    /// In MiB/h.
    pub(crate) rate: f64,
    pub(crate) onset_ms: u64,
}

/// Which agents the detector compares with each other: what is written as their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindGrouping {
    /// Those of one program
    Program,
    /// Nobody: each agent is of a kind of its own
    Own,
    /// All that there are, whatever they do
    Shared,
}

/// What determines a group completely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupSpec {
    pub(crate) class: Class,
    pub(crate) leaking: bool,
    pub(crate) seed: u64,
}

impl GroupSpec {
    /// The groups of a seed.
    pub(crate) fn all_of(seed: u64) -> impl Iterator<Item = Self> {
        Class::ALL
            .into_iter()
            .flat_map(move |class| [false, true].map(|leaking| Self { class, leaking, seed }))
    }

    pub(crate) fn generate(self, grouping: KindGrouping) -> Vec<AgentDay> {
        let mut random = SeededRandom::of(self.mixed_seed());
        let program = Kind::draw(self.class, &mut random);
        let limited = random.happens(0.5);
        let headroom = random.uniform(1.25, 3.0);
        let all = random.happens(0.5);
        let few = 1 + random.below(2);
        let clean: Vec<Vec<f64>> = (0..GROUP).map(|_| healthy_day(&program, &mut random.branch())).collect();
        let peak = clean.iter().flatten().copied().fold(0.0, f64::max);
        let limit = limited.then(|| ((peak * headroom / 64.0).ceil() * 64.0 * MIB) as u64);
        let name = self.name();
        let days = clean.into_iter().enumerate().map(|(index, memory)| {
            // Drawn for everybody, so that who leaks does not change what the others draw.
            let leak = InjectedLeak::draw(&mut random);
            let leak = (self.leaking && (all || index < few)).then_some(leak);
            let (readings, leak) = readings(&memory, leak.as_ref(), limit, &mut random.branch());
            let id = format!("{name}-{index}");
            let kind = match grouping {
                KindGrouping::Program => name.clone(),
                KindGrouping::Own => id.clone(),
                KindGrouping::Shared => "agent".to_owned(),
            };
            AgentDay { id, kind, class: self.class, limit, readings, leak }
        });
        days.collect()
    }

    pub(crate) fn name(self) -> String {
        let leaks = if self.leaking { "leak" } else { "clean" };
        format!("{}-{leaks}-{}", self.class.name(), self.seed)
    }

    /// Seeds next to each other must not give alike groups.
    fn mixed_seed(self) -> u64 {
        let combined = self.seed.wrapping_mul(64) + self.class as u64 * 2 + u64::from(self.leaking);
        let mixed = (combined ^ (combined >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

/// The memory of an agent without a leak: MiB per tick, NaN where there is no process.
fn healthy_day(kind: &Kind, random: &mut SeededRandom) -> Vec<f64> {
    let vary = random.log_normal_factor(0.12);
    let begin = random.uniform(0.0, 1_800.0);
    let mut down_until = begin;
    let mut process = kind.start(vary, random);
    let mut memory = Vec::with_capacity(DAY_TICKS);
    for tick in 0..DAY_TICKS {
        let at = tick as f64 * TICK_S;
        let restarts = kind.restarts_every_s.is_some_and(|every| random.happens(TICK_S / every));
        if restarts && at > down_until {
            down_until = at + random.uniform(TICK_S, 90.0);
            process = kind.start(vary, random);
        }
        memory.push(if at < down_until { f64::NAN } else { process.step(random) });
    }
    memory
}

/// The readings of an agent that needs `memory` and may leak on top of it, until it reaches its limit.
fn readings(
    memory: &[f64],
    injected: Option<&InjectedLeak>,
    limit: Option<u64>,
    random: &mut SeededRandom,
) -> (Vec<Reading>, Option<LeakLabel>) {
    let label = injected.map(|leak| LeakLabel { rate: leak.rate, onset_ms: (leak.onset_s * 1_000.0) as u64 });
    let mut leaked = injected.map(InjectedLeak::start);
    let mut readings = Vec::with_capacity(memory.len());
    let mut up = false;
    for (tick, own) in memory.iter().enumerate() {
        if own.is_nan() {
            readings.push(if up { Reading::Restart } else { Reading::Missing });
            if up {
                leaked = injected.map(InjectedLeak::start);
            }
            up = false;
            continue;
        }
        up = true;
        let leaked_mib = leaked.as_mut().map_or(0.0, |leaked| leaked.step(tick as f64 * TICK_S, random));
        let rss = ((own + leaked_mib).max(1.0) * MIB) as u64 / PAGE * PAGE;
        if label.is_some() && rss >= limit.unwrap_or(HOST) {
            break;
        }
        readings.push(if random.happens(MISSING) { Reading::Missing } else { Reading::Rss(rss) });
    }
    (readings, label)
}
