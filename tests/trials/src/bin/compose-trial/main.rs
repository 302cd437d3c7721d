//! `cargo xtask compose-test`: the shipped `docker-compose.yml` with real containers and real faults.
//!
//! The file is used as it is, under a project name of its own and with other variables. A sprint runs across the containers
//! while an agent, a sweeper, the store and a network fail. What must hold is checked at the end. Where no image registry can
//! be reached, stand-ins are made of this machine's programs under the names of the official images.
//!
//! ```text
//!   engine    docker and compose                          images · stand_in   the images, official or made here
//!   cleanup   removes everything, however the trial ends  plan                the sprint
//!   faults    the faults, and what must follow each       timeline            prints what happens
//!   checks    what must hold at the end
//! ```

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod checks;
mod cleanup;
mod engine;
mod faults;
mod images;
mod plan;
mod stand_in;
mod timeline;

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lifecycle_tests::binaries::target_dir;
use lifecycle_tests::command::{build_binaries, output, program, run as run_command};
use lifecycle_tests::trial::{Outcome, exit_code};

use crate::checks::FinalChecks;
use crate::cleanup::Cleanup;
use crate::engine::{Stack, compose_program, engine_problem};
use crate::faults::{FaultInjector, LEASE};
use crate::images::{Images, OWN_IMAGE_VARIABLE};
use crate::timeline::{EventPrinter, Timeline};

const PROJECT: &str = "lifecycle-compose-test";
const OWN_IMAGE: &str = "agent-lifecycle:compose-test";
const PASSWORD: &str = "only-of-this-test";

/// Bring docker-compose.yml up; kill, pause and cut off containers; nothing is lost
#[derive(Debug, Parser)]
#[command(name = "cargo xtask compose-test", bin_name = "cargo xtask compose-test")]
struct Options {
    /// Build the image as the compose file names it, and try nothing: `cargo xtask image`
    #[arg(long, hide = true)]
    build_image: bool,
}

fn main() -> ExitCode {
    if Options::parse().build_image {
        return exit_code(build_image().map(|()| Outcome::Passed));
    }
    exit_code(run())
}

/// Runs the trial as far as that is possible here. It fails when something could not be started or a promise did not hold.
fn run() -> Result<Outcome> {
    let Some(compose) = compose_program() else {
        return Ok(Outcome::Skipped(
            "there is no compose program here, so docker-compose.yml was not tested".into(),
        ));
    };
    if let Some(problem) = engine_problem() {
        let mut config = program(compose[0], &compose[1..]);
        config.args(["config", "--quiet"]);
        output(config).context("docker-compose.yml is wrong")?;
        return Ok(Outcome::Skipped(format!(
            "{problem}: docker-compose.yml was only checked to be well-formed"
        )));
    }
    let _lock = lock_out_others()?;
    let folder = target_dir()?.join("compose-test");
    fs::create_dir_all(&folder)?;
    let ports = (free_port()?, free_port()?);
    let stack = stack(compose, &folder, ports)?;

    let cleanup = Cleanup::start(&stack.project, OWN_IMAGE)?;
    let tried = try_out(&stack, &folder, ports);
    cleanup.finish()?;
    tried?;
    println!("\nNo lost task, no orphan, no residue, no container.");
    Ok(Outcome::Passed)
}

/// `cargo xtask image`: builds the image as the compose file names it.
fn build_image() -> Result<()> {
    let compose =
        compose_program().context("there is no compose program here: install Docker's compose plugin")?;
    let mut build = program(compose[0], &compose[1..]);
    build.args(["build", "sweeper"]);
    run_command(build)
}

/// Two trials would take each other's stand-ins for official images, and clean each other up.
fn lock_out_others() -> Result<File> {
    let path = std::env::temp_dir().join(format!("{PROJECT}.lock"));
    let file = File::options().create(true).append(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another compose-test is at work on this machine: wait for it")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

/// A port of this machine that is free now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The stack with the trial's variables: short times, a plan, free ports, an image name of its own.
fn stack(compose: &'static [&'static str], folder: &Path, ports: (u16, u16)) -> Result<Stack> {
    let plan = folder.join("plan.toml");
    fs::write(&plan, plan::text())?;
    let lease = LEASE.as_secs();
    let variables = [
        ("LIFECYCLE_HEARTBEAT__INTERVAL", "1s".to_string()),
        ("LIFECYCLE_HEARTBEAT__TTL", format!("{}s", lease * 5)),
        ("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", format!("{lease}s")),
        ("LIFECYCLE_SWEEP__INTERVAL", "2s".to_string()),
        ("LIFECYCLE_REDIS_SECRET", PASSWORD.to_string()),
        ("LIFECYCLE_PLAN", plan.display().to_string()),
        ("LIFECYCLE_PROMETHEUS_PORT", ports.0.to_string()),
        ("LIFECYCLE_GRAFANA_PORT", ports.1.to_string()),
        (OWN_IMAGE_VARIABLE, OWN_IMAGE.to_string()),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    Ok(Stack { compose, project: PROJECT.into(), variables })
}

fn try_out(stack: &Stack, folder: &Path, ports: (u16, u16)) -> Result<()> {
    eprintln!("Building the roles …");
    build_binaries()?;
    println!("compose      {}", stack.compose.join(" "));
    for (image, origin) in Images::new(stack, OWN_IMAGE, folder.to_owned()).prepare()? {
        println!("image        {image:40} {origin}");
    }

    let timeline = Timeline::start();
    let faults = FaultInjector { stack, timeline };
    faults.the_store_comes_late()?;
    let _events = EventPrinter::start(&stack.container("sweeper")?, timeline)?;
    faults.monitoring_and_a_third_sweeper()?;
    let killed = faults.an_agent_is_killed()?;
    faults.a_sweeper_is_killed()?;
    let misconfigured = faults.a_wrong_password()?;
    faults.the_store_is_paused()?;
    faults.a_container_is_cut_off()?;
    faults.let_the_last_tasks_begin()?;

    println!("\nThe sprint is over. What must hold:");
    let (prometheus, grafana) = ports;
    let checks = FinalChecks {
        faults: &faults,
        killed,
        misconfigured,
        password: PASSWORD,
        prometheus,
        grafana,
        folder,
    };
    checks.run()
}
