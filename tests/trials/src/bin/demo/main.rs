//! `cargo xtask demo`: a sprint survives crashes and leaves nothing behind.
//!
//! A sweeper, a coordinator and agents that run shell commands are real processes on a real server. Some of the agents are
//! killed in the middle of a task. The demo prints events as they come, and checks at the end what must hold in the store
//! and in the process table.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod checks;
mod demo_plan;
mod event_log;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::keys::{ALERT_CHANNEL, LIFECYCLE_CHANNEL};
use lifecycle_tests::command::build_binaries;
use lifecycle_tests::process::Role;
use lifecycle_tests::server::Server;
use lifecycle_tests::trial::{Outcome, exit_code};
use lifecycle_trials::checks::report;
use lifecycle_trials::{kill_supervisor, role, start_sweeper};

use crate::demo_plan::DemoPlan;
use crate::event_log::EventLog;

/// The whole demo, after the build, must be over by then.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Kill a third of a running sprint's agents: nothing is lost and nothing is left
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo")]
struct Options {
    /// How many agents work
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    agents: u16,
    /// How many tasks there are
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=2000))]
    tasks: u16,
    /// Share of the agents that is killed (SIGKILL) in the middle of a task, 0 to 1
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    crash: f64,
    /// Chooses who is killed and how long tasks take [default: another one each time]
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

/// Runs the demo. It fails when something could not be started or a promise did not hold.
fn run(options: &Options) -> Result<()> {
    eprintln!("Building the roles …");
    build_binaries()?;

    let server = Server::start()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let plan = DemoPlan::draw(options.agents, options.tasks, options.crash, seed);
    println!("store        {}, private, at {}", server.program(), server.url());
    println!("seed         {seed} (run it again with --seed {seed})");
    println!(
        "plan         {} agents, {} tasks, {} agents to be killed",
        options.agents,
        options.tasks,
        plan.victims.len()
    );

    let mut sweeper = start_sweeper(&server)?;
    println!("sweeper      at work, pid {}\n", sweeper.pid());

    let mut events = server.client()?.subscribe(&[LIFECYCLE_CHANNEL, ALERT_CHANNEL])?;
    let mut coordinator = start_coordinator(&server, &plan)?;
    let mut log = EventLog::new(&plan);
    let mut store = server.client()?;
    let begun = Instant::now();
    while coordinator.is_running()? {
        if begun.elapsed() > TIME_LIMIT {
            bail!("the sprint was not over after {} s\n{}", TIME_LIMIT.as_secs(), coordinator.stderr());
        }
        for victim in log.due() {
            if let Some(pid) = kill_supervisor(&mut store, &victim)? {
                log.killed(&victim, pid);
            }
        }
        if let Some((_, bytes)) = events.next(Duration::from_millis(5))? {
            log.record(&decode::<Event>(&bytes).context("an event could not be read")?);
        }
    }
    let took = begun.elapsed();
    while let Some((_, bytes)) = events.next(Duration::from_millis(200))? {
        log.record(&decode::<Event>(&bytes)?);
    }
    println!("\nThe sprint is over after {:.1} s. What must hold:", took.as_secs_f64());
    let checks = checks::all(&plan, &log, &server, &mut coordinator, &mut sweeper)?;
    report(&checks, "No lost task, no orphan, no residue.")
}

fn start_coordinator(server: &Server, plan: &DemoPlan) -> Result<Role> {
    let command = role("coordinator", server)?;
    let folder = server.folder().join("demo");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("plan.toml"), plan.text())?;
    command.in_folder(folder).args(["run", "plan.toml", "--output", "json"]).spawn()
}
