//! `coordinator alive`, for health checks: does the epic of a plan have a coordinator?

use std::time::Duration;

use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::EpicId;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{AgentView, Store, StoreError};

/// Longest wait for the store: a health check asks again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Exit code 0 while the epic has a coordinator whose lease runs.
///
/// # Errors
/// Exit code 1 when it has none, 69 when no store answers; each in one line.
pub async fn ask(epic: &EpicId, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    settings.redis.start_timeout = settings.redis.start_timeout.min(PATIENCE);
    let of_store = |error: StoreError| Failure::new(exit::of_store(&error), error.to_string());
    let store = Store::connect(&settings).await.map_err(of_store)?;
    store.check_deployment().await.map_err(of_store)?;
    let id = epic.coordinator()?;
    let view = store.operator().view(id.as_str()).await.map_err(of_store)?;
    let now = store.server_time().await.map_err(of_store)?;
    let lives = view.is_some_and(|view| coordinates(&view, now));
    if lives {
        return Ok(exit::OK);
    }
    let message = format!("epic {epic} is not coordinated: there is no {id}, or its lease is over");
    Err(Failure::new(exit::FAILED, message).into())
}

/// Only a registered agent coordinates, and only its lease tells that it lives. Its heartbeat would, where the lease is
/// lost, vouch for it by its own host's clock.
fn coordinates(view: &AgentView, now: ServerTime) -> bool {
    view.record.is_some() && view.lease_end.is_some() && view.signs_of_life().is_alive(now)
}

#[cfg(test)]
mod tests {
    use lifecycle_core::wire::record::AgentRecord;

    use super::*;

    #[test]
    fn a_heartbeat_without_a_lease_is_not_believed_whatever_its_hosts_clock_said() {
        let now = ServerTime::from_store_ms(1_000_000);
        let later = Some(now + PATIENCE);
        let fields =
            [("incarnation", "7"), ("leaseMs", "9")].map(|(name, value)| (name.into(), value.into()));
        let view = AgentView {
            id: "shop".into(),
            active: true,
            lease_end: None,
            record: AgentRecord::from_fields(&fields.into()),
            beat: None,
            heartbeat_until: later,
        };
        assert!(view.signs_of_life().is_alive(now) && !coordinates(&view, now));
        assert!(coordinates(&AgentView { lease_end: later, ..view.clone() }, now));
        assert!(!coordinates(&AgentView { lease_end: Some(now), ..view }, now));
    }
}
