//! The heartbeat: one loop that sends one beat at a time. No error ends it.
//!
//! A beat that fails is tried again after a growing pause. The life goes on meanwhile, because it cannot be reaped
//! while the store is away. Only two things end the loop: the answer *fenced*, and our own release.

use std::sync::Arc;
use std::time::Duration;

use lifecycle_core::agent::shutdown::{StopCause, Urgency};
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::record::Heartbeat;
use lifecycle_core::wire::time::{HostTime, millis};
use lifecycle_redis::{BeatReply, Fenced, Registered, StoreError};
use tokio::time::{Instant, sleep};

use crate::memory_tracker::MemoryTracker;
use crate::shared::Shared;
use crate::takeover;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// Shortest pause between two beats, however often the agent hears its name.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(shared: Arc<Shared>, memory_limit: Option<u64>) {
    let mut rhythm = Rhythm::new(&shared);
    let mut tracker = MemoryTracker::new(shared.registration.role, memory_limit);
    loop {
        let sent = Instant::now();
        let memory = tracker.sample().await;
        let pause = match beat(&shared, memory).await {
            Ok(Fenced::Ok(reply)) => {
                rhythm.answered(&shared, sent);
                if let Some((order, why)) = reply.order {
                    shared.obey(order, &why);
                }
                if shared.tasks.take_untold() {
                    tell_tasks(&shared).await;
                }
                jittered(shared.store.settings().heartbeat.interval)
            }
            // A life that is being released must not register again.
            Ok(Fenced::Unknown) if shared.stop_state.is_releasing() => return,
            Ok(Fenced::Unknown) => match register_again(&shared).await {
                Ok(true) => {
                    tell_tasks(&shared).await;
                    Duration::ZERO
                }
                Ok(false) => return fenced(&shared).await,
                Err(error) => rhythm.failed(&shared, &error),
            },
            Ok(Fenced::Fenced) => return fenced(&shared).await,
            Err(error) => rhythm.failed(&shared, &error),
        };
        sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.beat.wanted() => {}
            () = shared.stop_state.released() => return,
        }
    }
}

/// What the loop remembers between beats.
struct Rhythm {
    /// When the last answered beat was *sent*. The lease ends no later than its length after that.
    renewed: Instant,
    lease: Duration,
    retry: Duration,
    failing: bool,
}

impl Rhythm {
    fn new(shared: &Shared) -> Self {
        Self { renewed: Instant::now(), lease: shared.registration.lease, retry: FIRST_RETRY, failing: false }
    }

    fn answered(&mut self, shared: &Shared, sent: Instant) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(agent = %shared.registration.id, "the store answers again; the lease is renewed");
        }
        self.renewed = sent;
        self.retry = FIRST_RETRY;
        shared.beat.note_answer();
    }

    fn failed(&mut self, shared: &Shared, error: &StoreError) -> Duration {
        // A life that is being released tells itself what it could not do.
        if !std::mem::replace(&mut self.failing, true) && !shared.stop_state.is_releasing() {
            tracing::warn!(agent = %shared.registration.id, %error, "a beat failed; trying again until the store answers");
        }
        if self.renewed.elapsed() >= self.lease && shared.beat.suspend() {
            tracing::warn!(agent = %shared.registration.id, "suspended: the lease has run out; taking no work until it is renewed");
        }
        let pause = self.retry;
        self.retry = (self.retry * 2).min(LONGEST_RETRY).min(self.lease / 4).max(FIRST_RETRY);
        pause
    }
}

async fn beat(shared: &Shared, memory: MemoryUsage) -> Result<Fenced<BeatReply>, StoreError> {
    let (life, said) = (shared.life(), shared.beat.said());
    let beat = Heartbeat {
        agent_id: life.id.to_string(),
        incarnation: Some(life.incarnation),
        timestamp: wall_clock(),
        pid: Some(std::process::id().into()),
        memory_usage: Some(memory),
        state: Some(said.state.to_string()),
        progress: said.progress,
    };
    shared.store.agent(&life).beat(millis(shared.registration.lease), &beat, said.state).await
}

/// For readers of the plain protocol. None of our decisions uses a host's clock.
fn wall_clock() -> Option<HostTime> {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(HostTime::from_host_ms(millis(since_epoch)))
}

/// Tells the store of the tasks in hand. If that fails, the next beat tries again.
async fn tell_tasks(shared: &Shared) {
    if restore_tasks(shared).await.is_err() {
        shared.tasks.mark_untold();
    }
}

async fn restore_tasks(shared: &Shared) -> Result<(), StoreError> {
    let store = shared.agent_store();
    let (_telling, tasks) = shared.tasks.to_tell().await;
    for task in tasks {
        store.restore_task(&task).await?;
    }
    Ok(())
}

/// Takes the life up again in a store that lost its memory. `false` if the life is over.
async fn register_again(shared: &Shared) -> Result<bool, StoreError> {
    let _held = shared.registration_guard.lock().await;
    if shared.stop_state.is_releasing() {
        return Ok(false);
    }
    let life = shared.life();
    let state = shared.beat.said().state;
    match shared.store.newcomer(&shared.registration).register(state, Some(&life)).await? {
        Registered::Ok(again) => {
            tracing::warn!(agent = %life.id, "the store lost its memory; registered again under the same incarnation");
            shared.live_on_as(again);
            Ok(true)
        }
        // The store remembers only the life that this one has replaced. The next beat tries again.
        Registered::Expired(Some(earlier)) => {
            tracing::warn!(
                agent = %life.id, %earlier,
                "the store went back to before this life; reaping the earlier one that it still has"
            );
            takeover::replace_earlier(&shared.store, &shared.registration, earlier).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

async fn fenced(shared: &Shared) {
    if shared.stop_state.is_releasing() {
        return;
    }
    shared.raise(Urgency::Fenced, StopCause::Fenced);
    // A hint for observers; no decision depends on it.
    let _ = shared.agent_store().announce(Payload::AgentFenced {}).await;
}

/// Jitter of ±10 %, so that agents that were started together do not beat together for ever.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}
