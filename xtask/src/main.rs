//! Everything a contributor runs: `cargo xtask --help`.
//!
//! One file per task. A task is an ordinary program run by cargo, so what CI does is what a person does.

mod bench;
mod ci;
mod command;
mod compose_test;
mod demo;
mod http;
mod invariants;
mod leak_eval;
mod monitor_check;
mod server;
mod signposts;
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
                  cargo xtask lint                 what can be said of a change without running it\n  \
                  cargo xtask leak-eval            how well leaks are told from work\n  \
                  cargo xtask ci                   what must pass before a change is merged"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Kill a third of a running sprint's agents: nothing is lost and nothing is left
    Demo(demo::Options),
    /// Build the roles, get a server, run all tests
    Test {
        /// Arguments for the test programs, such as part of a test's name
        #[arg(last = true, value_name = "FILTER")]
        args: Vec<OsString>,
    },
    /// Measure what a pass, a reap and a beat cost, beside the original design's algorithm
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the measuring program; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Measure the leak detector on a labelled fleet
    LeakEval(leak_eval::Options),
    /// Bring docker-compose.yml up; kill, pause and cut off containers; nothing is lost
    ComposeTest,
    /// Check dashboard, alerts and runbooks with a real Prometheus; draw the dashboard
    MonitorCheck,
    /// Format the code
    Fmt,
    /// What can be checked without running it: format, invariants, spelling, lints, docs
    Lint,
    /// Build the documentation of the code; mistakes in it are errors
    Doc,
    /// Build the container image of the roles
    Image,
    /// All that must pass before a merge: `lint`, demo, monitoring, containers, tests
    Ci,
    /// Print which Redis or Valkey tests and demo use, fetching one if there is none
    Server,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test { args } => test::run(&args),
        Task::Bench { args } => bench::run(&args),
        Task::LeakEval(options) => leak_eval::run(&options),
        Task::ComposeTest => compose_test::run().map(|tested| {
            if let compose_test::Tested::Less(reason) = tested {
                eprintln!("{reason}");
            }
        }),
        Task::MonitorCheck => monitor_check::run().map(drop),
        Task::Fmt => ci::format_all(),
        Task::Lint => ci::lint(),
        Task::Doc => ci::doc(),
        Task::Image => compose_test::build_image(),
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
