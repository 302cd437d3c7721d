//! Registers the coordinator, like any agent; where that was asked for, once the one before is gone.

use std::time::Duration;

use agent_sdk::{Agent, AgentError, AgentSettings};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::{EpicId, InvalidName};
use lifecycle_core::wire::record::Role;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::ui::progress::line;

/// Longest pause between two tries to register.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to do where the epic has a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnHeld {
    /// Refuse.
    #[default]
    Refuse,
    /// Replace it.
    TakeOver,
    /// Wait until it is gone.
    Wait,
}

/// A registered coordinator.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) agent: Agent,
    /// Whether it waited for another one to go.
    pub(crate) has_waited: bool,
}

/// Registers the coordinator of an epic.
///
/// # Errors
/// A [`Failure`] with its exit code: 69 when no store answers, 1 when the epic has a coordinator, 128 + n when signal n
/// ended the waiting for it.
pub(crate) async fn register(
    epic: &EpicId,
    settings: &Settings,
    on_held: OnHeld,
) -> Result<Registered, Failure> {
    let usage =
        |error: InvalidName| Failure::new(exit::USAGE, format!("{error}: give the epic a shorter id"));
    let id = epic.coordinator().map_err(usage)?;
    let wanted = AgentSettings::new(id.as_str()).map_err(usage)?;
    let wanted =
        wanted.settings(settings.clone()).role(Role::Coordinator).kind("coordinator").epic(epic.clone());
    let wanted = wanted.takeover(on_held == OnHeld::TakeOver);
    let mut has_waited = false;
    loop {
        let lease_left = match Agent::register(wanted.clone()).await {
            Ok(agent) => return Ok(Registered { agent, has_waited }),
            Err(AgentError::Held { host, pid, lease_left_ms, .. }) if on_held == OnHeld::Wait => {
                if !std::mem::replace(&mut has_waited, true) {
                    line(&format!(
                        "epic {epic} is coordinated by pid {pid} on {host}; waiting until it is free"
                    ));
                }
                Duration::from_millis(lease_left_ms)
            }
            Err(error) => return Err(refused(epic, &error)),
        };
        tokio::select! {
            () = sleep(lease_left.clamp(Duration::from_millis(100), LONGEST_PAUSE)) => {}
            code = signalled() => {
                return Err(Failure::new(code, format!("stopped while waiting for epic {epic}: nothing was started")));
            }
        }
    }
}

/// Resolves with the exit code for the signal that came.
async fn signalled() -> u8 {
    let kinds = (SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup());
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
        (signal(kinds.0), signal(kinds.1), signal(kinds.2))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => 143,
        _ = interrupt.recv() => 130,
        _ = hangup.recv() => 129,
    }
}

fn refused(epic: &EpicId, error: &AgentError) -> Failure {
    match error {
        AgentError::Held { id, host, pid, lease_left_ms, .. } => Failure::new(
            exit::FAILED,
            format!(
                "epic {epic} is coordinated already, by pid {pid} on {host}: nothing was started; wait for it (--wait), stop it \
                 (lifecyclectl stop {id}), or, if you know that it is dead, run again with --takeover (or in {} s)",
                lease_left_ms.div_ceil(1_000)
            ),
        ),
        AgentError::Store(store) => Failure::new(exit::of_store(store), error.to_string()),
        AgentError::Name(_) => Failure::new(exit::USAGE, error.to_string()),
        _ => Failure::new(exit::FAILED, error.to_string()),
    }
}
