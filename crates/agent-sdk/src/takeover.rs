//! The beginning of a life: registering, and removing an earlier life of the same id.
//!
//! ```text
//!   register ─▶ Ok                                        ours
//!            ─▶ Held, its process proven gone here         said so, its lease ends now; again
//!            ─▶ Held, and told to take over                reaped though its lease runs; again
//!            ─▶ Held                                       an error: it lives elsewhere
//!            ─▶ Expired                                    reaped, unless it beats after all; again
//! ```

use std::time::Duration;

use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::{AgentState, Registration};
use lifecycle_redis::{Life, ReapOutcome, Refusal, Registered, Store, StoreError};
use tokio::time::{Instant, sleep};

use crate::error::AgentError;
use crate::process::is_proven_gone;
use crate::witness;

/// How often an earlier life may turn out to be alive, and the pause after each time.
const MOST_REFUSALS: u32 = 5;
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);

/// Pause before a refused registration is tried again. It grows up to the longest one.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Begins a life in a store that may be full, busy or loading: such refusals pass, and leave nothing written. Waits for
/// up to `redis.start_timeout` in all, as for a store that is away.
pub(crate) async fn begin_life_patiently(
    store: &Store,
    registration: &Registration,
    takeover: bool,
) -> Result<Life, AgentError> {
    let (begun, patience) = (Instant::now(), store.settings().redis.start_timeout);
    let mut pause = FIRST_RETRY;
    loop {
        let error = match begin_life(store, registration, takeover).await {
            Err(AgentError::Store(error)) if error.refusal().is_some_and(Refusal::passes) => error,
            settled => return settled,
        };
        if begun.elapsed() + pause > patience {
            return Err(AgentError::Store(error));
        }
        if pause == FIRST_RETRY {
            let patience = humantime::format_duration(patience);
            tracing::warn!(agent = %registration.id, "not registered yet: {error}; waiting for it to pass, up to {patience}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_RETRY);
    }
}

async fn begin_life(store: &Store, registration: &Registration, takeover: bool) -> Result<Life, AgentError> {
    let id = &registration.id;
    let mut refusals = 0;
    loop {
        match store.newcomer(registration).register(AgentState::Starting, None).await? {
            Registered::Ok(life) => return Ok(life),
            Registered::Held { .. } if takeover => {
                clean_up(store, registration, Reason::Operator, true).await?;
            }
            Registered::Held { incarnation: Some(incarnation), .. }
                if refusals <= MOST_REFUSALS && is_over_now(store, id, incarnation).await? =>
            {
                refusals += 1;
            }
            Registered::Held { incarnation, host, pid, lease_left_ms } => {
                return Err(AgentError::Held { id: id.to_string(), incarnation, host, pid, lease_left_ms });
            }
            Registered::Expired(incarnation) => {
                if !clean_up(store, registration, Reason::StaleHeartbeat, takeover).await? {
                    refusals += 1;
                    sleep(REFUSAL_PAUSE).await;
                }
                if refusals > MOST_REFUSALS {
                    // The earlier life beats; or its lease was lost, and no sweeper has restored it yet.
                    let (host, pid) = ("its host".into(), "unknown".into());
                    return Err(AgentError::Held {
                        id: id.to_string(),
                        incarnation,
                        host,
                        pid,
                        lease_left_ms: 0,
                    });
                }
            }
            Registered::NoParent => {
                return Err(AgentError::NoParent(
                    registration.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
                ));
            }
            Registered::NoSprint => match &registration.sprint {
                Some(sprint) => return Err(AgentError::NoSprint(sprint.clone())),
                None => return Err(AgentError::Fenced),
            },
            Registered::Fenced => return Err(AgentError::Fenced),
        }
    }
}

async fn is_over_now(store: &Store, id: &AgentId, incarnation: Incarnation) -> Result<bool, AgentError> {
    let id = id.as_str();
    let record = store.record(id).await?.filter(|record| record.incarnation == incarnation);
    // Somebody else may have removed it since it was seen.
    let Some(record) = record else { return Ok(true) };
    if !is_proven_gone(&record) {
        return Ok(false);
    }
    // Not there any more: then it was removed meanwhile.
    witness::bear(store, &record, id, id).await?;
    Ok(true)
}

/// Reaps an earlier life of our id that ours has replaced, and that a store which lost its memory still has.
pub(crate) async fn replace_earlier(
    store: &Store,
    registration: &Registration,
    earlier: Incarnation,
) -> Result<(), StoreError> {
    let record = store.record(registration.id.as_str()).await?;
    if let Some(record) = record.filter(|record| record.incarnation == earlier) {
        store.newcomer(registration).reap_replaced(&record).await?;
    }
    Ok(())
}

/// Reaps the earlier life of our id, so that its keys and tasks are handed on and not inherited. `false` if that life
/// turned out to be alive.
async fn clean_up(
    store: &Store,
    registration: &Registration,
    reason: Reason,
    force: bool,
) -> Result<bool, AgentError> {
    let (newcomer, now) = (store.newcomer(registration), store.server_time().await?);
    let Some(earlier) = newcomer.earlier_life(now).await? else {
        // Registering again at once would be refused again, for ever.
        let problem = "a registration was refused because of an earlier life, of which nothing could be read";
        return Err(StoreError::Unexpected(problem.into()).into());
    };
    // Only sweepers renew a plain agent's lease, so its heartbeat tells more.
    if !force && earlier.beats_after_all(now) {
        return Ok(false);
    }
    let ended = earlier.record.as_ref().and_then(|record| record.ended.as_deref());
    let reason = ended.and_then(|ended| ended.parse().ok()).unwrap_or(reason);
    tracing::info!(agent = %registration.id, "reaping the earlier life of this id");
    Ok(newcomer.reap_earlier(&earlier, reason, force).await? != ReapOutcome::Refuted)
}
