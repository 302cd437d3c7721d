//! What an agent does without its coordinator.
//!
//! It goes on with the task in hand and records its result, for at most `coordinator.adopt_timeout`. If another coordinator
//! adopts it meanwhile it works on as before. If not, it ends what is in hand, hands it back and leaves: no crash of a
//! coordinator leaves an agent running.
//!
//! ```text
//!   lifeline ended · ordered to end, coordinator_lost ──▶ lost ──nothing in hand──▶ leave
//!                                                          │ └──too long──────────▶ end the work, leave
//!                                                          ▼
//!                                                        adopted ──that coordinator is gone──▶ lost
//! ```

use std::sync::Weak;
use std::time::Duration;

use lifecycle_core::agent::shutdown::{StopCause, Urgency};
use lifecycle_core::wire::record::AgentRecord;
use tokio::time::{Instant, sleep};

use crate::process::is_proven_gone;
use crate::shared::Shared;

/// Pause between two looks whether a coordinator is there.
const LOOK: Duration = Duration::from_millis(200);
/// The same while there is one.
const QUIET_LOOK: Duration = Duration::from_secs(1);

/// What can be said of a coordinator for this agent.
enum Coordinator {
    /// It has adopted us, and is there.
    Present(Box<AgentRecord>),
    /// There is none.
    Absent,
    /// The store does not answer, so nothing can be said.
    Unknown,
}

/// Runs until the agent is gone.
pub(crate) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(told) = shared.upgrade() else { return };
        told.loss.told().await;
        drop(told);
        while let Some(coordinator) = outlive(&shared).await {
            if !is_lost_in_time(&shared, coordinator).await {
                return;
            }
        }
        if shared.upgrade().is_none_or(|shared| shared.stop_state.stop().is_some()) {
            return;
        }
    }
}

/// Goes on without a coordinator. The one that adopted us, once there is one; `None` if the agent stops instead.
async fn outlive(shared: &Weak<Shared>) -> Option<AgentRecord> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let shared = shared.upgrade()?;
        if shared.stop_state.stop().is_some() {
            return None;
        }
        if let Coordinator::Present(coordinator) = coordinator(&shared).await {
            if is_told {
                tracing::info!(agent = %shared.registration.id, "adopted by another coordinator");
            }
            return Some(*coordinator);
        }
        let patience = shared.store.settings().coordinator.adopt_timeout;
        if shared.tasks.is_empty() {
            shared.raise(Urgency::Drain, StopCause::CoordinatorLost);
            return None;
        }
        if begun.elapsed() >= patience {
            shared.raise(Urgency::Terminate, StopCause::CoordinatorLost);
            return None;
        }
        if !std::mem::replace(&mut is_told, true) {
            let patience = humantime::format_duration(patience);
            tracing::warn!(
                agent = %shared.registration.id,
                "the coordinator is gone; going on with the task in hand, for up to {patience}"
            );
        }
        drop(shared);
        sleep(LOOK).await;
    }
}

/// Watches the coordinator that adopted us; the one that started us has a pipe for that. `true` once it is gone, `false`
/// if there is nothing to watch any more. A store that is away says nothing of it; its process here does.
async fn is_lost_in_time(shared: &Weak<Shared>, mut known: AgentRecord) -> bool {
    let mut missing_since: Option<Instant> = None;
    loop {
        sleep(QUIET_LOOK).await;
        let Some(shared) = shared.upgrade() else { return false };
        if shared.stop_state.stop().is_some() {
            return false;
        }
        match coordinator(&shared).await {
            Coordinator::Present(seen) => (known, missing_since) = (*seen, None),
            Coordinator::Unknown if is_proven_gone(&known) => return true,
            Coordinator::Unknown => {}
            Coordinator::Absent => {
                // A store that lost its memory is told of the coordinator, and by it of the adoption, within a moment.
                let since = *missing_since.get_or_insert_with(Instant::now);
                if is_proven_gone(&known) || since.elapsed() >= shared.registration.lease {
                    return true;
                }
            }
        }
    }
}

async fn coordinator(shared: &Shared) -> Coordinator {
    let Some(parent) = &shared.registration.parent else { return Coordinator::Absent };
    let (own, theirs) = tokio::join!(
        shared.store.record(shared.registration.id.as_str()),
        shared.store.record(parent.as_str())
    );
    match (own, theirs) {
        (Ok(Some(own)), Ok(Some(theirs))) => {
            let is_ours = own.adopted_by == Some(theirs.incarnation);
            if is_ours && theirs.ended.is_none() && !is_proven_gone(&theirs) {
                Coordinator::Present(Box::new(theirs))
            } else {
                Coordinator::Absent
            }
        }
        (Ok(_), Ok(_)) => Coordinator::Absent,
        _ => Coordinator::Unknown,
    }
}
