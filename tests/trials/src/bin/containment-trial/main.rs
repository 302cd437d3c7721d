//! `cargo xtask containment`: what survives of a command's processes when those who look after them are killed.
//!
//! A cell of the matrix is one way to be hit: a signal, whom it hits, the containment mode, and who runs it. In each one a
//! tree of seven processes is started, of every kind that got away before. It is watched from outside, by a mark that no
//! process can lose, until nothing of it is left or the bound is over. Then the cell's line says how many survived, how long
//! the last one took to go, and what the audit says of the life.
//!
//! ```text
//!   matrix     the cells                                tree       the seven, and how they are recognised
//!   ground     folder, store, sweeper, settings         watch      waits for their end, by pidfd, and for new ones
//!   place      as whom it is run                        strike     all signals in one loop
//!   container  … inside a default container             audit      what is said of the life, and whether it is true
//!   janitor    removes everything, however it ends      report     the table, and JSON
//!   cell       one run of a cell                        processes  what /proc says
//! ```

mod audit;
mod cell;
mod container;
mod ground;
mod janitor;
mod matrix;
mod place;
mod processes;
mod report;
mod strike;
mod tree;
mod watch;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use lifecycle_cli::output::Output;
use lifecycle_tests::trial::{Outcome, exit_code};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::cell::Runner;
use crate::ground::Ground;
use crate::matrix::{Cell, Mode, Who};
use crate::place::Places;
use crate::report::Report;

/// Print what survives a kill of supervisor, coordinator and guard, for each way to hold a command's processes
#[derive(Debug, Clone, Parser)]
#[command(
    name = "cargo xtask containment",
    bin_name = "cargo xtask containment",
    after_help = "Examples:\n  cargo xtask containment --short                what CI runs\n  \
                  cargo xtask containment --only guard --runs 5  one mode, each cell five times\n  \
                  cargo xtask containment --only default         with containment.mode left out"
)]
struct Options {
    /// Only as root, only KILL, and only supervisor, both, and both and the guard
    #[arg(long)]
    short: bool,
    /// Add the mode `none`, for comparison: nothing is promised there
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// Only this mode; `default` leaves the setting out
    #[arg(long, value_enum, value_name = "MODE")]
    only: Option<Mode>,
    /// Only run by this one
    #[arg(long, value_enum, value_name = "WHO", conflicts_with = "short")]
    run_by: Option<Who>,
    /// How often each cell is tried; the worst counts
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    runs: u16,
    /// Chooses the moments of the kills [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// How the matrix is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Started by the trial itself: see janitor.rs
    #[arg(long, hide = true)]
    janitor: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.janitor {
        return exit_code(janitor::serve().map(|()| Outcome::Passed));
    }
    exit_code(run(&options))
}

/// Runs the trial as far as that is possible here. It fails when a cell is wrong.
fn run(options: &Options) -> Result<Outcome> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let ground = Ground::prepare()?;
    let tried = try_out(options, seed, &ground);
    ground.clear_away()?;
    let report = tried?;
    options.output.show(&report.json(), |_| report.table())?;
    if options.output == Output::Table {
        lifecycle_cli::output::print_stdout(&report.summary())?;
    }
    verdict(&report)
}

fn try_out(options: &Options, seed: u64, ground: &Ground) -> Result<Report> {
    eprintln!("containment: {}; run it again with --seed {seed}", ground.server.program());
    let run_by =
        if options.short { vec![Who::Root] } else { options.run_by.map_or(Who::ALL.into(), |who| vec![who]) };
    let modes = Mode::chosen(options.only, options.all);
    let cells = if options.short { Cell::short(&modes) } else { Cell::all(&run_by, &modes) };
    let places = Places::prepare(ground, &run_by);
    let mut runner = Runner::new(ground, &places, StdRng::seed_from_u64(seed), options.runs)?;
    let mut results = Vec::new();
    for (number, cell) in (1..).zip(&cells) {
        let result = runner.run(*cell);
        eprintln!("cell {number} of {}: {cell}: {}", cells.len(), result.progress());
        results.push(result);
    }
    runner.hear_the_audit(&mut results)?;
    Ok(Report::new(ground.server.program().label.clone(), seed, results))
}

fn verdict(report: &Report) -> Result<Outcome> {
    let wrong = report.wrong();
    if let Some(first) = wrong.first() {
        bail!("{} of {} cells are wrong, such as {first}", wrong.len(), report.len());
    }
    match report.not_here() {
        // A matrix without a cell proves nothing.
        Some(reason) if report.tried() == 0 => {
            Ok(Outcome::Skipped(format!("no cell is possible here: {reason}")))
        }
        _ => Ok(Outcome::Passed),
    }
}
