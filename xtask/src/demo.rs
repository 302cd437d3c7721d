//! `cargo xtask demo`: a sprint survives crashes and leaves nothing behind, before your eyes.
//!
//! Real processes on a real server: a sweeper, a coordinator, agents that run shell commands, and somebody who kills
//! some of the agents in the middle of a task. What happens is told from the event channel as it happens; what holds at
//! the end is checked in the store and in the process table.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod cast;
mod checks;
mod narrator;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::keys::{ALERT_CHANNEL, KeySchema, LIFECYCLE_CHANNEL};
use lifecycle_tests::plain::PlainClient;
use lifecycle_tests::process::Role;
use lifecycle_tests::server::Server;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{cargo, run as run_command};
use crate::demo::cast::Cast;
use crate::demo::narrator::Narrator;

/// The whole demo, after the build, must be over by then.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What to show.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
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

impl Default for Options {
    fn default() -> Self {
        Self { agents: 10, tasks: 30, crash: 0.3, seed: None }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0 to 1".into()),
    }
}

/// Runs the demo.
///
/// # Errors
/// When something could not be started, or when anything that was promised did not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    eprintln!("Building the roles …");
    run_command(cargo(["build", "--quiet", "--workspace", "--bins"]))?;

    let server = Server::start()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let cast = Cast::choose(options.agents, options.tasks, options.crash, seed);
    println!("store        {}, private, at {}", server.program(), server.url());
    println!("seed         {seed} (run it again with --seed {seed})");
    println!(
        "plan         {} agents, {} tasks, {} agents to be killed",
        options.agents,
        options.tasks,
        cast.victims.len()
    );

    let mut sweeper =
        role("sweeper", &server)?.arg("run").env("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0").spawn()?;
    wait_for_sweeper(&mut sweeper, &server)?;
    println!("sweeper      at work, pid {}\n", sweeper.pid());

    let mut events = server.client()?.subscribe(&[LIFECYCLE_CHANNEL, ALERT_CHANNEL])?;
    let mut coordinator = start_coordinator(&server, &cast)?;
    let mut narrator = Narrator::new(&cast);
    let mut store = server.client()?;
    let begun = Instant::now();
    while coordinator.is_running()? {
        if begun.elapsed() > TIME_LIMIT {
            bail!("the sprint was not over after {} s\n{}", TIME_LIMIT.as_secs(), coordinator.stderr());
        }
        for victim in narrator.due() {
            if let Some(pid) = kill(&mut store, &victim)? {
                narrator.killed(&victim, pid);
            }
        }
        if let Some((_, bytes)) = events.next(Duration::from_millis(5))? {
            narrator.hear(&decode::<Event>(&bytes).context("an event could not be read")?);
        }
    }
    let took = begun.elapsed();
    while let Some((_, bytes)) = events.next(Duration::from_millis(200))? {
        narrator.hear(&decode::<Event>(&bytes)?);
    }
    println!("\nThe sprint is over after {:.1} s. What must hold:", took.as_secs_f64());
    checks::report(&checks::all(&cast, &narrator, &server, &mut coordinator, &mut sweeper)?)
}

/// A role of ours, on that store.
pub(crate) fn role(name: &str, server: &Server) -> Result<lifecycle_tests::process::RoleCommand> {
    Ok(Role::command(name)?.env("LIFECYCLE_REDIS__URL", server.url()))
}

/// The first pass leaves its watermark: from then on crashes are somebody's business.
fn wait_for_sweeper(sweeper: &mut Role, server: &Server) -> Result<()> {
    let mut store = server.client()?;
    lifecycle_tests::eventually::eventually(
        Duration::from_secs(20),
        "the sweeper to make its first pass",
        || {
            if !sweeper.is_running()? {
                bail!("the sweeper ended: {}", sweeper.stderr());
            }
            Ok(store.exists(&KeySchema::default().watermark())?.then_some(()))
        },
    )
}

fn start_coordinator(server: &Server, cast: &Cast) -> Result<Role> {
    let command = role("coordinator", server)?;
    let folder = server.folder().join("demo");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("plan.toml"), cast.plan())?;
    command.in_folder(folder).args(["run", "plan.toml", "--output", "json"]).spawn()
}

/// SIGKILL to the supervisor of an agent, which can therefore tell nobody. `None` if the agent is not there.
pub(crate) fn kill(store: &mut PlainClient, agent: &str) -> Result<Option<i32>> {
    let pid = store.text(&["HGET", &KeySchema::default().state(agent), "pid"])?;
    let Some(pid) = pid.and_then(|pid| pid.parse().ok()) else { return Ok(None) };
    let process = Pid::from_raw(pid).context("a pid of 0 in the registration")?;
    Ok(kill_process(process, Signal::KILL).is_ok().then_some(pid))
}
