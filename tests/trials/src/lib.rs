//! What the trials have in common: roles on a private server, and the end of one of them.
//!
//! ```text
//!   demo                a sprint survives crashes
//!   resume-trial        an epic survives its coordinators
//!   compose-trial       docker-compose.yml with real containers and failures
//!   monitor-trial       dashboard and alerts under a real Prometheus
//!   containment-trial   what survives of a tree when its supervisor, its coordinator or its guard is killed
//! ```
//!
//! A trial is a program: `cargo run -p lifecycle-trials --bin demo`. Its exit code is 0 when everything held, 77 when it is
//! not possible on this machine, and 1 otherwise ([`lifecycle_tests::trial`]).

pub mod checks;
pub mod docker;
pub mod image_root;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::plain::PlainClient;
use lifecycle_tests::process::{Role, RoleCommand};
use lifecycle_tests::server::Server;
use rustix::process::{Pid, Signal, kill_process};

/// One of our roles, told to use `server`.
///
/// # Errors
/// When its binary is not built.
pub fn role(name: &str, server: &Server) -> Result<RoleCommand> {
    Ok(Role::command(name)?.env("LIFECYCLE_REDIS__URL", server.url()))
}

/// A sweeper that has made its first pass. That leaves a watermark, and from then on crashes are detected.
///
/// # Errors
/// When it ends, or makes no pass.
pub fn start_sweeper(server: &Server) -> Result<Role> {
    let mut sweeper =
        role("sweeper", server)?.arg("run").env("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0").spawn()?;
    let mut store = server.client()?;
    eventually(Duration::from_secs(20), "the sweeper to make its first pass", || {
        if !sweeper.is_running()? {
            bail!("the sweeper ended: {}", sweeper.stderr());
        }
        Ok(store.exists(&KeySchema::default().watermark())?.then_some(()))
    })?;
    Ok(sweeper)
}

/// Sends SIGKILL to the supervisor of `agent`, which can therefore tell nobody. Returns its pid, or `None` when the agent is
/// not registered or its supervisor has ended already.
///
/// # Errors
/// When the store does not answer, or the registration is not as it must be.
pub fn kill_supervisor(store: &mut PlainClient, agent: &str) -> Result<Option<i32>> {
    let pid = store.text(&["HGET", &KeySchema::default().state(agent), "pid"])?;
    let Some(pid) = pid.and_then(|pid| pid.parse().ok()) else { return Ok(None) };
    let process = Pid::from_raw(pid).context("a pid of 0 in the registration")?;
    Ok(kill_process(process, Signal::KILL).is_ok().then_some(pid))
}
