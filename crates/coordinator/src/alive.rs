//! `coordinator alive`, for health checks: does the epic of a plan have a coordinator?

use std::time::Duration;

use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::EpicId;
use lifecycle_redis::{Store, StoreError};

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
    // Only a registered agent coordinates.
    let lives = view.is_some_and(|view| view.record.is_some() && view.signs_of_life().is_alive(now));
    if lives {
        return Ok(exit::OK);
    }
    let message = format!("epic {epic} is not coordinated: there is no {id}, or its lease is over");
    Err(Failure::new(exit::FAILED, message).into())
}
