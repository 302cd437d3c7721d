//! Groups of agents of one kind, some of which leak: 24 hours at one sample in 10 seconds, with the truth beside it.
//!
//! Per seed and class there is a group in which nobody leaks, and one in which one or two do (something that happened to
//! them) or all do (a defect of the program). Half of the kinds have a memory limit, from a quarter to three times above what
//! they need. Without one the host ends a process at 64 GiB.

use clap::ValueEnum;

use super::chance::Chance;
use super::fault::Fault;
use super::parts::TICK_S;
use super::workload::{Class, Kind};

/// Agents of a program.
const GROUP: usize = 8;
pub(super) const TICK_MS: u64 = 10_000;
const DAY_TICKS: usize = 8_640;
const PAGE: u64 = 4_096;
const MIB: f64 = 1_048_576.0;
/// What a process without a limit may use before the host ends it.
pub(super) const HOST: u64 = 64 << 30;
/// Share of the looks that come to nothing.
const LOST: f64 = 0.005;

/// One look at an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Rss(u64),
    /// The process is a new one from here on.
    Restart,
    /// Nobody looked, or nobody is there.
    Missing,
}

/// An agent's day and what is true of it.
pub(super) struct Trace {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) class: Class,
    pub(super) limit: Option<u64>,
    /// One per tick; ends early when the agent came to its limit.
    pub(super) readings: Vec<Reading>,
    pub(super) leak: Option<Leak>,
}

/// What is wrong with an agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leak {
    /// In MiB/h.
    pub(super) rate: f64,
    pub(super) onset_ms: u64,
}

/// Which agents are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kinds {
    /// Those of one program
    Program,
    /// Nobody: each agent is of a kind of its own
    Own,
    /// All that there are, whatever they do
    Shared,
}

/// What a group is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    pub(super) class: Class,
    pub(super) leaking: bool,
    pub(super) seed: u64,
}

impl Draw {
    /// The groups of a seed.
    pub(super) fn all_of(seed: u64) -> impl Iterator<Item = Self> {
        Class::ALL
            .into_iter()
            .flat_map(move |class| [false, true].map(|leaking| Self { class, leaking, seed }))
    }

    pub(super) fn make(self, kinds: Kinds) -> Vec<Trace> {
        let mut chance = Chance::of(self.mixed_seed());
        let program = Kind::draw(self.class, &mut chance);
        let limited = chance.happens(0.5);
        let headroom = chance.between(1.25, 3.0);
        let all = chance.happens(0.5);
        let few = 1 + chance.below(2);
        let clean: Vec<Vec<f64>> = (0..GROUP).map(|_| day(&program, &mut chance.branch())).collect();
        let peak = clean.iter().flatten().copied().fold(0.0, f64::max);
        let limit = limited.then(|| ((peak * headroom / 64.0).ceil() * 64.0 * MIB) as u64);
        let name = self.name();
        let traces = clean.into_iter().enumerate().map(|(index, memory)| {
            let fault = Fault::draw(&mut chance);
            let fault = (self.leaking && (all || index < few)).then_some(fault);
            let (readings, leak) = look(&memory, fault.as_ref(), limit, &mut chance.branch());
            let id = format!("{name}-{index}");
            let kind = match kinds {
                Kinds::Program => name.clone(),
                Kinds::Own => id.clone(),
                Kinds::Shared => "agent".to_owned(),
            };
            Trace { id, kind, class: self.class, limit, readings, leak }
        });
        traces.collect()
    }

    pub(super) fn name(self) -> String {
        let leaks = if self.leaking { "leak" } else { "clean" };
        format!("{}-{leaks}-{}", self.class.name(), self.seed)
    }

    /// Seeds next to each other must not give alike groups.
    fn mixed_seed(self) -> u64 {
        let parts = self.seed.wrapping_mul(64) + self.class as u64 * 2 + u64::from(self.leaking);
        let mixed = (parts ^ (parts >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

/// MiB per tick; NaN where there is no process.
fn day(kind: &Kind, chance: &mut Chance) -> Vec<f64> {
    let vary = chance.about_one(0.12);
    let begin = chance.between(0.0, 1_800.0);
    let mut down_until = begin;
    let mut process = kind.start(vary, chance);
    let mut memory = Vec::with_capacity(DAY_TICKS);
    for tick in 0..DAY_TICKS {
        let at = tick as f64 * TICK_S;
        let restarts = kind.restarts_every_s.is_some_and(|every| chance.happens(TICK_S / every));
        if restarts && at > down_until {
            down_until = at + chance.between(TICK_S, 90.0);
            process = kind.start(vary, chance);
        }
        memory.push(if at < down_until { f64::NAN } else { process.step(chance) });
    }
    memory
}

/// The readings of an agent with this memory of its own, until it comes to its limit.
fn look(
    memory: &[f64],
    fault: Option<&Fault>,
    limit: Option<u64>,
    chance: &mut Chance,
) -> (Vec<Reading>, Option<Leak>) {
    let leak = fault.map(|fault| Leak { rate: fault.rate, onset_ms: (fault.onset_s * 1_000.0) as u64 });
    let mut leaked = fault.map(Fault::start);
    let mut readings = Vec::with_capacity(memory.len());
    let mut up = false;
    for (tick, own) in memory.iter().enumerate() {
        if own.is_nan() {
            readings.push(if up { Reading::Restart } else { Reading::Missing });
            if up {
                leaked = fault.map(Fault::start);
            }
            up = false;
            continue;
        }
        up = true;
        let lost = leaked.as_mut().map_or(0.0, |leaked| leaked.step(tick as f64 * TICK_S, chance));
        let rss = ((own + lost).max(1.0) * MIB) as u64 / PAGE * PAGE;
        if leak.is_some() && rss >= limit.unwrap_or(HOST) {
            break;
        }
        readings.push(if chance.happens(LOST) { Reading::Missing } else { Reading::Rss(rss) });
    }
    (readings, leak)
}
