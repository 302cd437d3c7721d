//! Everything a contributor runs: `cargo xtask --help`.
//!
//! One file per task. A task is an ordinary program run by cargo, so what CI does is what a person does.

mod bench;
mod ci;
mod command;
mod demo;
mod invariants;
mod leak_eval;
mod server;
mod test;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything a contributor runs.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask demo                 a sprint that survives crashes, on real processes\n  \
                  cargo xtask test                 the whole suite\n  \
                  cargo xtask test -- two_servers  the tests with that in their name\n  \
                  cargo xtask leak-eval            how well leaks are told from work\n  \
                  cargo xtask ci                   what must pass before a change is merged"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Kill a third of the agents of a running sprint and watch that nothing is lost and nothing is left
    Demo(demo::Options),
    /// Build the roles, get a server, run all tests
    Test {
        /// Arguments for the test programs, such as part of a test's name
        #[arg(last = true, value_name = "FILTER")]
        args: Vec<OsString>,
    },
    /// Measure what a pass, a reap and a beat cost, beside the algorithm of the seed document
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the measuring program; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Measure the leak detector on a labelled fleet
    LeakEval(leak_eval::Options),
    /// Format, invariants, spelling, dependencies, lints, documentation, tests
    Ci,
    /// Print which Redis or Valkey the tests and the demo use, fetching one if there is none
    Server,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test { args } => test::run(&args),
        Task::Bench { args } => bench::run(&args),
        Task::LeakEval(options) => leak_eval::run(&options),
        Task::Ci => ci::run(),
        Task::Server => server::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
