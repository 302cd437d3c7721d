//! `cargo xtask leak-eval`: how well the leak detector judges, and how well the rules in use would.
//!
//! ```text
//!   workload · parts   healthy programs by class      ┐
//!   fault              leaks of 20 MB/h to 60 GB/h    ├─ fleet: labelled days ─▶ judges ─▶ outcome ─▶ report
//!   chance             seeds                          ┘            └─▶ traces (files for `memory judge`)
//!   record             real processes ─────────────────────────────────▶ the detector ──────▶ report
//! ```
//!
//! The detector's constants were chosen on the tuning seeds. The held-out seeds are for the figures that are reported.
//! The leaks of a group are drawn each for itself; false alarms of a group are not independent, which their interval regards.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod chance;
mod fault;
mod fleet;
mod interval;
mod judges;
mod outcome;
mod parts;
mod record;
mod report;
mod traces;
mod workload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail};
use clap::ValueEnum;

use self::fleet::{Draw, Kinds, Trace};
use self::judges::Judge;
use self::outcome::Outcome;
use crate::command::{cargo, run as run_command};

const QUICK_SEEDS: u64 = 12;
const FULL_SEEDS: u64 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    /// For choosing the detector's constants
    Tuning,
    /// For reporting
    HeldOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// How much to measure, and what to make of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Which days
    #[arg(long, value_enum, default_value_t = Split::HeldOut)]
    split: Split,
    /// How many seeds; each is 144 agents' days [default: 40]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..100_000))]
    seeds: Option<u64>,
    /// At least this many agents' days, instead of a number of seeds
    #[arg(long, conflicts_with = "seeds", value_parser = clap::value_parser!(u64).range(1..10_000_000))]
    agents: Option<u64>,
    /// A few seeds and no real processes: seconds
    #[arg(long)]
    quick: bool,
    /// Which agents are held against each other
    #[arg(long, value_enum, default_value_t = Kinds::Program)]
    kinds: Kinds,
    /// Look only at each Nth sample; 3 is the pace of heartbeats
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=60))]
    every: u16,
    /// Fail when the detector misses a target
    #[arg(long)]
    check: bool,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Write the days as files for `lifecyclectl memory judge`, and judge nothing
    #[arg(long, value_name = "DIR")]
    write_traces: Option<PathBuf>,
    /// Be a process that leaks from this second on
    #[arg(long, hide = true, allow_negative_numbers = false)]
    leak_after: Option<f64>,
}

impl Options {
    /// Tuning and held-out seeds never meet.
    fn seeds(&self) -> Vec<u64> {
        const DAYS: u64 = 144;
        let usual = if self.quick { QUICK_SEEDS } else { FULL_SEEDS };
        let count = self.agents.map(|agents| agents.div_ceil(DAYS)).or(self.seeds).unwrap_or(usual);
        let first = match self.split {
            Split::Tuning => 1_000,
            Split::HeldOut => 900_000,
        };
        (first..first + count).collect()
    }

    /// What is judged at one time: agents that are held against each other stay together.
    fn batches(&self) -> Vec<Vec<Draw>> {
        let by_seed = self.seeds().into_iter().map(|seed| Draw::all_of(seed).collect::<Vec<_>>());
        match self.kinds {
            Kinds::Shared => by_seed.collect(),
            Kinds::Program | Kinds::Own => by_seed.flatten().map(|draw| vec![draw]).collect(),
        }
    }
}

/// Measures and reports.
///
/// # Errors
/// When a file cannot be written, and with `--check` when a target is missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(onset) = options.leak_after {
        record::act(onset);
        return Ok(());
    }
    if cfg!(debug_assertions) {
        return optimised(std::env::args_os().skip(1));
    }
    if let Some(folder) = &options.write_traces {
        return options
            .batches()
            .iter()
            .flatten()
            .try_for_each(|draw| traces::write(folder, &draw.name(), &draw.make(options.kinds)));
    }
    let recorder = thread::spawn({
        let quick = options.quick;
        move || if quick { Vec::new() } else { record::run() }
    });
    let outcomes = judge(options);
    let recorded = recorder.join().unwrap_or_default();
    match options.output {
        Format::Table => println!("{}", report::text(&outcomes, &recorded)),
        Format::Json => println!("{}", report::json(&outcomes, &recorded)),
    }
    let detector = outcomes.iter().find(|(judge, _)| *judge == Judge::Detector);
    let missed =
        detector.is_none_or(|(_, outcome)| report::targets(outcome).iter().any(|target| !target.met()));
    if options.check && missed {
        bail!("the detector misses a target; the table says which");
    }
    Ok(())
}

/// Whether the detector meets its targets on a few tuning days. The seeds are fixed, so the answer only changes with it; the
/// held-out ones are for reporting, and not for deciding what may be merged.
///
/// # Errors
/// When a target is missed.
pub(crate) fn check() -> Result<()> {
    optimised(["leak-eval", "--quick", "--split", "tuning", "--check"].map(Into::into))
}

/// A command line compiled for release: a day of 5,760 agents is too long without optimisation.
fn optimised(options: impl IntoIterator<Item = OsString>) -> Result<()> {
    let args = ["run", "--quiet", "--release", "--package", "xtask", "--"].map(Into::into);
    run_command(cargo(args.into_iter().chain(options)))
}

fn judge(options: &Options) -> Vec<(Judge, Outcome)> {
    let batches = options.batches();
    let next = AtomicUsize::new(0);
    let empty = || Judge::ALL.map(|judge| (judge, Outcome::default()));
    let work = || {
        let mut outcomes = empty();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let traces: Vec<Trace> = batch.iter().flat_map(|draw| draw.make(options.kinds)).collect();
            for (judge, outcome) in &mut outcomes {
                outcome.add(&traces, &judge.alerts(&traces, usize::from(options.every)));
            }
        }
        outcomes
    };
    let mut all = empty();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for part in workers.into_iter().filter_map(|worker| worker.join().ok()) {
            for ((_, all), (_, part)) in all.iter_mut().zip(part) {
                all.join(part);
            }
        }
    });
    all.into()
}
