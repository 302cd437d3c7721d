//! `cargo xtask resume-trial`: an epic outlives its coordinators, however often and whenever they are killed.
//!
//! ```text
//!   a round: start ──▶ (hand-out) ──▶ a random moment ──▶ kill -9 the coordinator, and now and then an agent's whole tree
//!            └───────────────────────── at once, with the same plan ◀──────────────────────────────────┘
//!   the end: the epic runs to its end; what its tasks have done is compared with what was killed
//! ```
//!
//! Tasks write down when they begin and when they are done, so a task that was lost or done twice shows in what was done,
//! whatever the store says.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod effects;
mod epic_plan;
mod promises;
mod rounds;
mod timing;
mod victim;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use lifecycle_tests::server::Server;
use lifecycle_tests::trial::{Outcome, exit_code};
use lifecycle_trials::checks::report;
use lifecycle_trials::start_sweeper;

use crate::epic_plan::EpicPlan;
use crate::rounds::Trial;

/// Kill an epic's coordinator again and again: no task is lost, and none is done twice
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask resume-trial", bin_name = "cargo xtask resume-trial")]
struct Options {
    /// How often the coordinator is killed
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many tasks the epic has; more than rounds, so that there is something left to hand out
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    tasks: u32,
    /// How many agents work
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    agents: u16,
    /// Share of the rounds in which an agent's whole process tree is killed as well, 0 to 1
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    agent_crash: f64,
    /// Chooses the moments, the victims and how long tasks take [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0 to 1".into()),
    }
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()).map(|()| Outcome::Passed))
}

/// Runs the trial. It fails when something could not be started or a promise did not hold.
fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let server = Server::start()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("store        {}, private, at {}", server.program(), server.url());
    println!("seed         {seed} (run it again with --seed {seed})");
    println!("plan         {} agents, {} tasks, {} rounds\n", options.agents, options.tasks, options.rounds);

    let mut sweeper = start_sweeper(&server)?;
    let plan = EpicPlan::write(&server, options.agents, options.tasks)?;
    let mut trial = Trial::begin(&server, &plan, seed)?;
    for round in 1..=options.rounds {
        if !trial.round(round, options.rounds, options.agent_crash)? {
            break;
        }
    }
    let last = trial.run_to_the_end()?;
    println!("{}", trial.timing.table());
    println!("The epic is over after {:.1} s. What must hold:", begun.elapsed().as_secs_f64());
    report(
        &promises::all(&plan, &trial, options.rounds, &last, &server, &mut sweeper)?,
        "No task was lost, none was done twice without a crash of its agent, and nothing is left.",
    )
}
