//! The heartbeat: one loop, one beat at a time, which no error ends.
//!
//! A beat that fails is tried again with a growing pause; the life goes on, because nobody can reap it while the store
//! is away. Only two answers end the loop: *fenced*, and our own release.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lifecycle_core::agent::shutdown::{StopCause, Urgency};
use lifecycle_core::wire::event::EventKind;
use lifecycle_core::wire::memory::MemoryUsage;
use lifecycle_core::wire::record::Heartbeat;
use lifecycle_core::wire::time::millis;
use lifecycle_redis::{BeatReply, Fenced, Registered, StoreError};
use tokio::time::{Instant, sleep};

use crate::agent::Inner;
use crate::memory_tracker::MemoryTracker;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// However often somebody calls our name, no more beats than this.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(inner: Arc<Inner>) {
    let mut released = inner.released.subscribe();
    let mut rhythm = Rhythm::new(&inner);
    let mut tracker = MemoryTracker::new(inner.registration.role, inner.memory_limit);
    loop {
        let sent = Instant::now();
        let memory = tracker.sample().await;
        let pause = match beat(&inner, memory).await {
            Ok(Fenced::Ok(reply)) => {
                rhythm.answered(&inner, sent);
                if let Some((order, why)) = reply.order {
                    inner.obey(order, &why);
                }
                if inner.untold_tasks.swap(false, Ordering::SeqCst) {
                    tell_tasks(&inner).await;
                }
                jittered(inner.store.settings().heartbeat.interval)
            }
            // What is being released must not come back.
            Ok(Fenced::Unknown) if inner.releasing.load(Ordering::SeqCst) => return,
            Ok(Fenced::Unknown) => match register_again(&inner).await {
                Ok(true) => {
                    tell_tasks(&inner).await;
                    Duration::ZERO
                }
                Ok(false) => return fenced(&inner).await,
                Err(error) => rhythm.failed(&inner, &error),
            },
            Ok(Fenced::Fenced) => return fenced(&inner).await,
            Err(error) => rhythm.failed(&inner, &error),
        };
        sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = sleep(pause) => {}
            () = inner.beat_now.notified() => {}
            _ = released.wait_for(|released| *released) => return,
        }
    }
}

/// What the loop remembers from beat to beat.
struct Rhythm {
    /// When the last beat that was answered had been *sent*: the lease ends no later than its length after that.
    renewed: Instant,
    lease: Duration,
    retry: Duration,
    failing: bool,
}

impl Rhythm {
    fn new(inner: &Inner) -> Self {
        Self { renewed: Instant::now(), lease: inner.registration.lease, retry: FIRST_RETRY, failing: false }
    }

    fn answered(&mut self, inner: &Inner, sent: Instant) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(agent = %inner.registration.id, "the store answers again; the lease is renewed");
        }
        self.renewed = sent;
        self.retry = FIRST_RETRY;
        inner.suspended.send_replace(false);
        inner.beats.send_modify(|beats| *beats += 1);
    }

    fn failed(&mut self, inner: &Inner, error: &StoreError) -> Duration {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(agent = %inner.registration.id, %error, "a beat failed; trying again until the store answers");
        }
        if self.renewed.elapsed() >= self.lease && !inner.suspended.send_replace(true) {
            tracing::warn!(agent = %inner.registration.id, "the lease has run out; taking no work until it is renewed");
        }
        let pause = self.retry;
        self.retry = (self.retry * 2).min(LONGEST_RETRY).min(self.lease / 4).max(FIRST_RETRY);
        pause
    }
}

async fn beat(inner: &Inner, memory: MemoryUsage) -> Result<Fenced<BeatReply>, StoreError> {
    let (life, said) = (inner.life(), inner.said().clone());
    let beat = Heartbeat {
        agent_id: life.id.to_string(),
        incarnation: Some(life.incarnation),
        timestamp: wall_clock_ms(),
        pid: Some(std::process::id().into()),
        memory_usage: Some(memory),
        state: Some(said.state.to_string()),
        progress: said.progress,
    };
    inner.store.beat(&life, millis(inner.registration.lease), &beat, said.state).await
}

/// For readers of the plain protocol; no decision of ours uses a host's clock.
fn wall_clock_ms() -> Option<u64> {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok().map(millis)
}

/// Tells the store of the tasks in hand; after a failure, with the next beat again.
async fn tell_tasks(inner: &Inner) {
    if restore_tasks(inner).await.is_err() {
        inner.untold_tasks.store(true, Ordering::SeqCst);
    }
}

async fn restore_tasks(inner: &Inner) -> Result<(), StoreError> {
    let life = inner.life();
    let in_hand: Vec<_> = inner.in_flight().values().cloned().collect();
    for task in in_hand {
        inner.store.restore_task(&life, &task).await?;
    }
    Ok(())
}

/// The store lost its memory: the life is taken up again. `false` if it is over.
async fn register_again(inner: &Inner) -> Result<bool, StoreError> {
    let life = inner.life();
    let state = inner.said().state;
    match inner.store.register(&inner.registration, state, Some(&life)).await? {
        Registered::Ok(again) => {
            tracing::warn!(agent = %life.id, "the store lost its memory; registered again under the same incarnation");
            *crate::agent::lock(&inner.life) = again;
            Ok(true)
        }
        // It remembers only the life that this one has replaced. The next beat tries again.
        Registered::Expired(Some(earlier)) => {
            tracing::warn!(
                agent = %life.id, %earlier,
                "the store went back to before this life; cleaning up the earlier one that it still has"
            );
            crate::agent::replace_earlier(&inner.store, life.id.as_str(), earlier).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

async fn fenced(inner: &Inner) {
    if inner.releasing.load(Ordering::SeqCst) {
        return;
    }
    inner.raise(Urgency::Fenced, StopCause::Fenced);
    let life = inner.life();
    // Only a hint for people who watch; nothing depends on it.
    let _ = inner
        .store
        .announce(EventKind::AgentFenced, |event| {
            event.agent_id = Some(life.id.to_string());
            event.incarnation = Some(life.incarnation);
        })
        .await;
}

/// ±10 %, so that agents started together do not beat together for ever.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}
