//! Everything a contributor runs: `cargo xtask --help`.
//!
//! CI runs the same tasks as a person. A task that is more than a few commands is a program of its own, which `trials.rs` or
//! `bench.rs` starts.

mod bench;
mod ci;
mod deploy;
mod invariants;
mod server;
mod signposts;
mod test;
mod tools;
mod trials;

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
    #[command(disable_help_flag = true)]
    Demo {
        /// Options of the demo; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Kill an epic's coordinator again and again: no task is lost, and none is done twice
    #[command(disable_help_flag = true)]
    ResumeTrial {
        /// Options of the trial; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Print what survives a kill of supervisor, coordinator and guard, for each way to hold a command's processes
    #[command(disable_help_flag = true)]
    Containment {
        /// Options of the trial; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Build the roles, get a server, run all tests
    Test {
        /// Arguments for the test programs, such as part of a test's name
        #[arg(last = true, value_name = "FILTER")]
        args: Vec<OsString>,
    },
    /// Measure what a pass, a reap, a beat and a coordinator cost, beside the original design's algorithm
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the measuring program; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Measure the leak detector on a labelled fleet
    #[command(disable_help_flag = true)]
    LeakEval {
        /// Options of `leak-lab`; `--help` names them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<OsString>,
    },
    /// Bring docker-compose.yml up; kill, pause and cut off containers; nothing is lost
    ComposeTest,
    /// Check dashboard, alerts and runbooks with a real Prometheus
    MonitorCheck,
    /// Check the manifests and units of deploy/, with kustomize, the schemas of Kubernetes, and systemd
    DeployCheck,
    /// Format the code
    Fmt,
    /// What can be checked without running it: format, invariants, signposts, spelling, dependencies, known vulnerabilities,
    /// deployment files, clippy, documentation
    Lint,
    /// Build the documentation of the code; mistakes in it are errors
    Doc,
    /// Build the container image of the roles
    Image,
    /// All that must pass before a merge: `lint`, leak detector, demo, resuming, containment, monitoring, containers, a build without TLS, tests
    Ci,
    /// Print which Redis or Valkey tests and demo use, fetching one if there is none
    Server,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo { args } => trials::run("demo", &args).map(drop),
        Task::ResumeTrial { args } => trials::run("resume-trial", &args).map(drop),
        Task::Containment { args } => trials::run("containment-trial", &args).map(drop),
        Task::Test { args } => test::run(&args),
        Task::Bench { args } => bench::run(&args),
        Task::LeakEval { args } => trials::leak_eval(&args),
        Task::ComposeTest => trials::run("compose-trial", &[]).map(drop),
        Task::MonitorCheck => trials::run("monitor-trial", &[]).map(drop),
        Task::DeployCheck => ci::deploy_check(),
        Task::Fmt => ci::format_all(),
        Task::Lint => ci::lint(),
        Task::Doc => ci::doc(),
        Task::Image => trials::image(),
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
