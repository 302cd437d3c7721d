//! The end of an agent, in this order: take no more work, finish the work in hand, hand the rest back, stop the beat
//! last.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;
use lifecycle_core::agent::shutdown::{StopCause, Urgency};
use lifecycle_redis::Removed;
use tokio::time::{Instant, sleep};

use crate::agent::Agent;
use crate::error::AgentError;

/// How long a store that is away is waited for before the cleanup is left to a sweeper.
pub(crate) const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

impl Agent {
    /// Runs `life`, which is all that this agent does, and shuts the agent down however `life` ends. After a panic it
    /// hands the tasks in hand back at once, removes every key, and lets the panic go on. So the process still ends as
    /// panics end it, and no success is reported.
    ///
    /// # Errors
    /// As [`Agent::shutdown`].
    ///
    /// # Panics
    /// When `life` does.
    pub async fn live<T>(&self, life: impl AsyncFnOnce() -> T) -> Result<T, AgentError> {
        match AssertUnwindSafe(life()).catch_unwind().await {
            Ok(value) => self.shutdown(StopCause::Done).await.map(|_| value),
            Err(panic) => {
                self.shared.raise(Urgency::Terminate, StopCause::Panic);
                if let Err(error) = self.shutdown(StopCause::Panic).await {
                    tracing::warn!(agent = %self.id(), %error, "panicked, and could not be released; a sweeper cleans up");
                }
                resume_unwind(panic)
            }
        }
    }

    /// Stops the agent. It takes no more work, and waits up to `shutdown.drain_timeout` for tasks in hand (not at all
    /// if the stop is urgent). What it owns beside keys is undone. Then it removes every key it owns, hands unfinished tasks back, and only after that
    /// stops to beat. Calling it again does nothing more. The audit log gets the cause, which also decides what the end
    /// costs tasks that were begun and not finished ([`StopCause::cost`]). The cause of a stop that was asked for
    /// earlier is used instead.
    ///
    /// # Errors
    /// [`AgentError::Fenced`] when this life was over already. [`AgentError::Store`] when the store was away for too
    /// long; then a sweeper cleans up once the lease is over.
    pub async fn shutdown(&self, cause: StopCause) -> Result<Removed, AgentError> {
        self.shared.raise(Urgency::Drain, cause);
        self.finish_tasks().await;
        self.undo_things_on_record(self.shared.stop_state.proven()).await;
        self.remove_own_ledger().await;
        if self.stop_requested().is_some_and(|stop| !stop.urgency.may_write()) {
            // There is nothing left to beat for.
            self.shared.stop_state.end_release();
            return Err(AgentError::Fenced);
        }
        // From here on the beats' answers are about our own doing.
        if !self.shared.stop_state.begin_release() {
            return Ok(Removed { keys_deleted: 0, tasks_requeued: 0 });
        }
        let cause = self.stop_requested().map_or(cause, |stop| stop.cause);
        let released = self.release(cause).await;
        self.shared.stop_state.end_release();
        released
    }

    async fn release(&self, cause: StopCause) -> Result<Removed, AgentError> {
        let _held = self.shared.registration_guard.lock().await;
        let begun = Instant::now();
        let process = self.shared.stop_state.proven();
        loop {
            match self.store().release(cause, process).await {
                Ok(Some(removed)) => {
                    tracing::info!(agent = %self.id(), keys = removed.keys_deleted, tasks = removed.tasks_requeued, "released");
                    return Ok(removed);
                }
                Ok(None) => return Err(AgentError::Fenced),
                Err(error) if !error.is_transient() || begun.elapsed() > RELEASE_PATIENCE => {
                    return Err(AgentError::Store(error));
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn finish_tasks(&self) {
        let begun = Instant::now();
        let drain_timeout = self.shared.store.settings().shutdown.drain_timeout;
        let mut stop = self.shared.stop_state.stops();
        while !self.shared.tasks.is_empty() {
            let urgency = stop.borrow_and_update().as_ref().map_or(Urgency::Drain, |stop| stop.urgency);
            let Some(left) = urgency.work_may_go_on(begun.elapsed(), drain_timeout) else { return };
            tokio::select! {
                () = sleep(left.min(Duration::from_millis(50))) => {}
                _ = stop.changed() => {}
            }
        }
    }
}
