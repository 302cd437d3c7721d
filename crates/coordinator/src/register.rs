//! Registers the coordinator, like any agent; where that was asked for, once the one before is gone.

use std::time::Duration;

use agent_sdk::{Agent, AgentError, AgentSettings};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::{EpicId, InvalidName};
use lifecycle_core::wire::record::Role;
use lifecycle_redis::{Store, StoreError};
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    /// If it waited for another one to go: the latest end of this epic by then.
    pub(crate) waited_since: Option<LatestEnd>,
}

/// The latest end of an epic that the store remembers, by the entry in its history.
pub(crate) type LatestEnd = Option<String>;

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
    let mut waited_since: Option<LatestEnd> = None;
    // From the start: a signal between two tries must not be lost.
    let mut signals = (on_held == OnHeld::Wait).then(Signals::catch);
    loop {
        let lease_left = match Agent::register(wanted.clone()).await {
            Ok(agent) => return Ok(Registered { agent, waited_since }),
            Err(AgentError::Held { host, pid, lease_left_ms, .. }) if on_held == OnHeld::Wait => {
                if waited_since.is_none() {
                    waited_since = Some(latest_end(epic, settings).await?);
                    line(&format!(
                        "epic {epic} is coordinated by pid {pid} on {host}; waiting until it is free"
                    ));
                }
                Duration::from_millis(lease_left_ms)
            }
            // A stand-by is there for the time when the store comes back.
            Err(AgentError::Store(error)) if waited_since.is_some() && error.is_transient() => LONGEST_PAUSE,
            Err(error) => return Err(refused(epic, &error)),
        };
        tokio::select! {
            () = sleep(lease_left.clamp(Duration::from_millis(100), LONGEST_PAUSE)) => {}
            code = signalled(&mut signals) => {
                return Err(Failure::new(code, format!("stopped while waiting for epic {epic}: nothing was started")));
            }
        }
    }
}

async fn latest_end(epic: &EpicId, settings: &Settings) -> Result<LatestEnd, Failure> {
    let failed = |error: StoreError| Failure::new(exit::of_store(&error), error.to_string());
    let store = Store::connect(settings).await.map_err(failed)?;
    let latest = store.operator().latest_end(epic).await.map_err(failed)?;
    store.close().await;
    Ok(latest.map(|entry| entry.id))
}

async fn signalled(signals: &mut Option<Signals>) -> u8 {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Signals that came since the waiting began, each with its exit code.
struct Signals(Vec<(Signal, u8)>);

impl Signals {
    fn catch() -> Self {
        let kinds =
            [(SignalKind::terminate(), 143), (SignalKind::interrupt(), 130), (SignalKind::hangup(), 129)];
        Self(kinds.into_iter().filter_map(|(kind, code)| Some((signal(kind).ok()?, code))).collect())
    }

    async fn next(&mut self) -> u8 {
        let coming = self.0.iter_mut().map(|(signal, code)| {
            Box::pin(async move {
                signal.recv().await;
                *code
            })
        });
        futures_util::future::select_all(coming).await.0
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
