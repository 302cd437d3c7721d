//! Registers the coordinator, like any agent.

use agent_sdk::{Agent, AgentError, AgentSettings};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::{EpicId, InvalidName};
use lifecycle_core::wire::record::Role;

/// Registers the coordinator of an epic.
///
/// # Errors
/// A [`Failure`] with its exit code: 69 when no store answers, 1 when the epic has a coordinator.
pub(crate) async fn register(epic: &EpicId, settings: &Settings, takeover: bool) -> Result<Agent, Failure> {
    let usage =
        |error: InvalidName| Failure::new(exit::USAGE, format!("{error}: give the epic a shorter id"));
    let id = epic.coordinator().map_err(usage)?;
    let wanted = AgentSettings::new(id.as_str()).map_err(usage)?;
    let wanted =
        wanted.settings(settings.clone()).role(Role::Coordinator).kind("coordinator").epic(epic.clone());
    Agent::register(wanted.takeover(takeover)).await.map_err(|error| refused(epic, &error))
}

fn refused(epic: &EpicId, error: &AgentError) -> Failure {
    match error {
        AgentError::Held { id, host, pid, lease_left_ms, .. } => Failure::new(
            exit::FAILED,
            format!(
                "epic {epic} is coordinated already, by pid {pid} on {host}: nothing was started; wait for it, stop it \
                 (lifecyclectl stop {id}), or, if you know that it is dead, run again with --takeover (or in {} s)",
                lease_left_ms.div_ceil(1_000)
            ),
        ),
        AgentError::Store(store) => Failure::new(exit::of_store(store), error.to_string()),
        AgentError::Name(_) => Failure::new(exit::USAGE, error.to_string()),
        _ => Failure::new(exit::FAILED, error.to_string()),
    }
}
