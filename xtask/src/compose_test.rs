//! `cargo xtask compose-test`: the shipped `docker-compose.yml`, with real containers and real faults.
//!
//! The file is used as it is, under a project name of its own and with variables only. A sprint runs across the
//! containers while an agent, a sweeper, the store and a network fail; what must hold is checked at the end. Where no
//! image registry can be reached, stand-ins made of this machine's programs have the official images' names.
//!
//! ```text
//!   engine   docker and compose, as programs       images · stand_in   what the containers are made of
//!   guard    nothing is left, however it ends      plan                the sprint
//!   scenes   what is done, and what must follow    narrator            who tells of it
//!   checks   what must hold at the end
//! ```

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod checks;
mod engine;
mod guard;
mod images;
mod narrator;
mod plan;
mod scenes;
mod stand_in;

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::binaries::target_dir;

use crate::command::{cargo, output, program, run as run_command};
use crate::compose_test::checks::Facts;
use crate::compose_test::engine::{Stack, absence, compose_program};
use crate::compose_test::guard::Guard;
use crate::compose_test::images::{Images, OWN_IMAGE_VARIABLE};
use crate::compose_test::narrator::{Clock, Listener};
use crate::compose_test::scenes::{LEASE, Scene};

const PROJECT: &str = "lifecycle-compose-test";
const OWN_IMAGE: &str = "agent-lifecycle:compose-test";
const PASSWORD: &str = "only-of-this-test";

/// How far the test went.
pub(crate) enum Tested {
    /// All of it, and everything held.
    Everything,
    /// Only that the file can be read, or not even that; and why.
    Less(String),
}

/// Runs the test, as far as that is possible here.
///
/// # Errors
/// When something could not be started, or when anything that was promised did not hold.
pub(crate) fn run() -> Result<Tested> {
    let Some(compose) = compose_program() else {
        return Ok(Tested::Less(
            "there is no compose program here, so docker-compose.yml was not tested".into(),
        ));
    };
    if let Some(absence) = absence() {
        let mut config = program(compose[0], &compose[1..]);
        config.args(["config", "--quiet"]);
        output(config).context("docker-compose.yml is wrong")?;
        return Ok(Tested::Less(format!("{absence}: docker-compose.yml was only checked to be well-formed")));
    }
    let _alone = alone()?;
    let folder = target_dir()?.join("compose-test");
    fs::create_dir_all(&folder)?;
    let ports = (free_port()?, free_port()?);
    let stack = stack(compose, &folder, ports)?;

    let guard = Guard::start(&stack.project, OWN_IMAGE)?;
    let tested = test(&stack, &folder, ports);
    guard.finish()?;
    tested?;
    println!("\nNo lost task, no orphan, no residue, no container.");
    Ok(Tested::Everything)
}

/// `cargo xtask image`: builds the image as the compose file names it.
///
/// # Errors
/// When there is no compose program, or the build fails.
pub(crate) fn build_image() -> Result<()> {
    let compose =
        compose_program().context("there is no compose program here: install Docker's compose plugin")?;
    let mut build = program(compose[0], &compose[1..]);
    build.args(["build", "sweeper"]);
    run_command(build)
}

/// Two tests would take each other's stand-ins for official images, and clean each other up.
fn alone() -> Result<File> {
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

/// A port of this machine that nobody uses now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The stack with the test's variables: short times, a plan, free ports, an image name of our own.
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

fn test(stack: &Stack, folder: &Path, ports: (u16, u16)) -> Result<()> {
    eprintln!("Building the roles …");
    run_command(cargo(["build", "--quiet", "--workspace", "--bins"]))?;
    println!("compose      {}", stack.compose.join(" "));
    for (image, origin) in Images::new(stack, OWN_IMAGE, folder.to_owned()).prepare()? {
        println!("image        {image:40} {origin}");
    }

    let clock = Clock::start();
    let scene = Scene { stack, clock };
    scene.the_store_comes_late()?;
    let _told = Listener::start(&stack.container("sweeper")?, clock)?;
    scene.monitoring_and_a_third_sweeper()?;
    let killed = scene.an_agent_is_killed()?;
    scene.a_sweeper_is_killed()?;
    let stranger = scene.a_wrong_password()?;
    scene.the_store_is_paused()?;
    scene.a_container_is_cut_off()?;
    scene.the_curtain_falls()?;

    println!("\nThe sprint is over. What must hold:");
    let (prometheus, grafana) = ports;
    let facts = Facts { scene: &scene, killed, stranger, password: PASSWORD, prometheus, grafana, folder };
    facts.check()
}
