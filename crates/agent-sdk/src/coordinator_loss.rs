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
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::process::is_proven_gone;
use crate::shared::Shared;

/// Pause between two looks whether a coordinator is there.
const LOOK: Duration = Duration::from_millis(200);
/// The same while there is one.
const QUIET_LOOK: Duration = Duration::from_secs(1);

/// Word of the loss, for the loop.
#[derive(Debug, Default)]
pub(crate) struct CoordinatorLoss(Notify);

impl CoordinatorLoss {
    /// The coordinator seems to be gone. Saying so again has no further effect.
    pub(crate) fn tell(&self) {
        self.0.notify_one();
    }
}

/// Runs until the agent is gone.
pub(crate) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(told) = shared.upgrade() else { return };
        told.loss.0.notified().await;
        drop(told);
        loop {
            if !outlive(&shared).await {
                return;
            }
            if !is_lost_in_time(&shared).await {
                break;
            }
        }
    }
}

/// Goes on without a coordinator. `true` once there is one; `false` if the agent stops instead.
async fn outlive(shared: &Weak<Shared>) -> bool {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let Some(shared) = shared.upgrade() else { return false };
        if shared.stop_state.stop().is_some() {
            return false;
        }
        if coordinator(&shared).await.is_some() {
            if is_told {
                tracing::info!(agent = %shared.registration.id, "adopted by another coordinator");
            }
            return true;
        }
        let patience = shared.store.settings().coordinator.adopt_timeout;
        if shared.tasks.is_empty() {
            shared.raise(Urgency::Drain, StopCause::CoordinatorLost);
            return false;
        }
        if begun.elapsed() >= patience {
            shared.raise(Urgency::Terminate, StopCause::CoordinatorLost);
            return false;
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
/// if there is nothing to watch any more.
async fn is_lost_in_time(shared: &Weak<Shared>) -> bool {
    loop {
        sleep(QUIET_LOOK).await;
        let Some(shared) = shared.upgrade() else { return false };
        if shared.stop_state.stop().is_some() {
            return false;
        }
        if coordinator(&shared).await.is_none() {
            return true;
        }
    }
}

/// The registration of the coordinator that has adopted us, while it is there. A store that does not answer says nothing,
/// so then nobody is there either: the agent goes on for its time.
async fn coordinator(shared: &Shared) -> Option<AgentRecord> {
    let parent = shared.registration.parent.as_ref()?;
    let own = shared.store.record(shared.registration.id.as_str()).await.ok()??;
    let theirs = shared.store.record(parent.as_str()).await.ok()??;
    let is_ours = own.adopted_by == Some(theirs.incarnation);
    (is_ours && theirs.ended.is_none() && !is_proven_gone(&theirs)).then_some(theirs)
}
