//! What the product costs, beside the algorithm of the original design. Both run on one private server over the same planted
//! fleet. `cargo xtask bench` builds and runs it.
//!
//! ```text
//!   plant ──▶ pass, nobody dead      ours · the original's
//!         ──▶ reap the dead          ours · the original's (a few orphans, extrapolated)
//!         ──▶ beats per second       ours · the same script under redis-benchmark
//!   start ──▶ a supervised command   ours · the bare command
//!         ──▶ idle supervisors       CPU, from the kernel's own accounts
//!         ──▶ many killed at once    CPU of their coordinator
//!         ──▶ by containment mode    start, memory and CPU of guards · bubblewrap, tini
//!   run   ──▶ tasks per second       through one coordinator · `true` from a plain loop
//!         ──▶ an idle coordinator    CPU, and commands at the store
//!         ──▶ a waiting epic         resumed: until its first task is handed out
//! ```
//!
//! No figure is asserted, and no goal that is shown beside one. The program fails when something did not do what was to be measured.

mod beats;
mod containment;
mod coordinators;
mod fleet;
mod original;
mod processes;
mod report;
mod sweep;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use lifecycle_cli::output::{Output, print_stdout};
use lifecycle_core::settings::Settings;
use lifecycle_tests::Server;

use crate::coordinators::Sizes;
use crate::fleet::Fleet;
use crate::report::CostReport;

/// Measure what a pass, a reap and a beat cost
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    after_help = "Example:\n  cargo xtask bench --agents 10000 --runs 5 --output json"
)]
struct Cli {
    /// Agents in the store, each with 6 keys
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=900_000))]
    agents: u32,
    /// How many of them are dead where reaping is measured; at most half of them
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dead: u32,
    /// How often each figure is measured; the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,
    /// Beats sent per measurement
    #[arg(long, default_value_t = 60_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..))]
    beats: u32,
    /// Supervisors that idle, and that are killed at once
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    supervisors: u16,
    /// How long idle supervisors, and an idle coordinator, are watched, in seconds; longer than a beat's interval of 30 s
    #[arg(long, default_value_t = 35, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=600))]
    idle: u16,
    /// Tasks that are handed out where the rate is measured
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=100_000))]
    tasks: u32,
    /// Tasks that nobody can take, of the idle coordinator
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pending: u32,
    /// Tasks of the epic that is resumed; half of them are completed before
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=200_000))]
    resumed: u32,
    /// Measure processes only
    #[arg(long)]
    only_processes: bool,
    /// Measure coordinators only
    #[arg(long, conflicts_with = "only_processes")]
    only_coordinators: bool,
    /// How the figures are written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: &Cli) -> Result<()> {
    anyhow::ensure!(
        cli.dead <= cli.agents / 2,
        "--dead must be at most half of --agents; nothing was measured"
    );
    let started = Instant::now();
    let server = Server::start()?;
    let mut settings = Settings::default();
    settings.redis.url = server.url();
    let mut report = CostReport::new(server.program().label.clone(), cli.agents, cli.dead, cli.runs);

    if !cli.only_processes && !cli.only_coordinators {
        let mut fleet = Fleet::new(server.client()?, cli.agents);
        step(&format!("planting {} agents", cli.agents));
        fleet.plant_all()?;
        sweep::measure(&settings, &mut fleet, cli.dead, cli.runs, &mut report).await?;
        beats::measure(&settings, &server, cli.beats, cli.runs, &mut report).await?;
    }
    let idle = Duration::from_secs(cli.idle.into());
    // On a server of its own, because planning for a large fleet is another figure.
    if !cli.only_coordinators {
        processes::measure(&Server::start()?, cli.supervisors, idle, &mut report)?;
        containment::measure(&Server::start()?, cli.supervisors, idle, &mut report)?;
    }
    if !cli.only_processes {
        let sizes = Sizes { tasks: cli.tasks, pending: cli.pending, resumed: cli.resumed };
        coordinators::measure(sizes, idle, cli.runs, &mut report)?;
    }

    step(&format!("done in {:.0} s", started.elapsed().as_secs_f64()));
    cli.output.show(&report, CostReport::table)?;
    if cli.output == Output::Table {
        print_stdout(&report.origin())?;
    }
    Ok(())
}

/// Says on stderr what is being done.
fn step(what: &str) {
    eprintln!("bench: {what}");
}
