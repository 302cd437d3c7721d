//! `leak-lab`: how well the leak detector tells leaks from work, beside three rules in use. `cargo xtask leak-eval` runs it.
//!
//! ```text
//!   workload · memory_components   healthy programs by class      ┐
//!   injected_leak                  leaks of 20 MB/h to 60 GB/h    ├─ labelled_days ─▶ detection_rules ─▶ score ─▶ report
//!   seeded_random                  seeds                          ┘        └─▶ trace_files (for `lifecyclectl memory judge`)
//!   real_processes                 recorded ──────────────────────────────▶ the detector ─────────────────────▶ report
//! ```
//!
//! The detector's constants were chosen on the tuning seeds. The reported figures are those of the held-out seeds. The leaks
//! of a group are drawn independently. False alarms of a group are not independent, and their interval takes that into
//! account.
//!
//! Compile it for release: a day of 5,760 agents takes too long without optimisation.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod confidence_interval;
mod detection_rules;
mod injected_leak;
mod labelled_days;
mod memory_components;
mod real_processes;
mod report;
mod score;
mod seeded_random;
mod trace_files;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use crate::detection_rules::DetectionRule;
use crate::labelled_days::{AgentDay, GroupSpec, KindGrouping};
use crate::score::Score;

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

/// Measure the leak detector on a labelled fleet
#[derive(Debug, Clone, Parser)]
#[command(
    name = "leak-lab",
    bin_name = "cargo xtask leak-eval",
    after_help = "Examples:\n  cargo xtask leak-eval --quick\n  cargo xtask leak-eval --output json\n  cargo xtask leak-eval --seeds 1 --write-traces traces"
)]
struct Options {
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
    #[arg(long, value_enum, default_value_t = KindGrouping::Program)]
    kinds: KindGrouping,
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

    /// The groups that are judged at one time: agents of one kind stay together.
    fn batches(&self) -> Vec<Vec<GroupSpec>> {
        let by_seed = self.seeds().into_iter().map(|seed| GroupSpec::all_of(seed).collect::<Vec<_>>());
        match self.kinds {
            KindGrouping::Shared => by_seed.collect(),
            KindGrouping::Program | KindGrouping::Own => by_seed.flatten().map(|group| vec![group]).collect(),
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports.
fn run(options: &Options) -> Result<()> {
    if let Some(onset) = options.leak_after {
        real_processes::leak_after(onset);
        return Ok(());
    }
    if let Some(folder) = &options.write_traces {
        return options
            .batches()
            .iter()
            .flatten()
            .try_for_each(|group| trace_files::write(folder, &group.name(), &group.generate(options.kinds)));
    }
    let recorder = thread::spawn({
        let quick = options.quick;
        move || if quick { Vec::new() } else { real_processes::run() }
    });
    let scores = scores(options);
    let recorded = recorder.join().unwrap_or_default();
    match options.output {
        Format::Table => println!("{}", report::text(&scores, &recorded)),
        Format::Json => println!("{}", report::json(&scores, &recorded)),
    }
    let product = scores.iter().find(|(rule, _)| *rule == DetectionRule::Product);
    let missed = product.is_none_or(|(_, score)| report::targets(score).iter().any(|target| !target.met()));
    if options.check && missed {
        bail!("the detector misses a target; the table says which");
    }
    Ok(())
}

/// Applies every rule to all days, on all cores.
fn scores(options: &Options) -> Vec<(DetectionRule, Score)> {
    let batches = options.batches();
    let next = AtomicUsize::new(0);
    let empty = || DetectionRule::ALL.map(|rule| (rule, Score::default()));
    let work = || {
        let mut scores = empty();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let days: Vec<AgentDay> = batch.iter().flat_map(|group| group.generate(options.kinds)).collect();
            for (rule, score) in &mut scores {
                score.add(&days, &rule.alerts(&days, usize::from(options.every)));
            }
        }
        scores
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
