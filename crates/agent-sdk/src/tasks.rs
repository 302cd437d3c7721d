//! Doing tasks: getting the next one, and one attempt at it from its beginning to its end.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use lifecycle_core::agent::shutdown::Urgency;
use lifecycle_core::wire::ids::TaskId;
use lifecycle_core::wire::record::AgentState;
use lifecycle_core::wire::task::{Assignment, MAX_RESULT_LEN, Outcome};
use lifecycle_redis::{AgentStore, Fenced, StoreError, TaskReply};
use tokio::time::{Instant, sleep};

use crate::agent::Agent;
use crate::error::AgentError;
use crate::shutdown::RELEASE_PATIENCE;

const RETRY: Duration = Duration::from_millis(200);
/// How long an agent that has ended a task is called busy while it waits for the next one.
const IDLE_AFTER: Duration = Duration::from_millis(200);

/// How the work on an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The work is done. The text goes into the record.
    Completed(String),
    /// The same, with a result that is kept with the task and handed to the tasks that need it. What is over
    /// [`MAX_RESULT_LEN`] bytes of it is cut off.
    CompletedWith {
        /// The text for the record.
        detail: String,
        /// The result.
        result: String,
    },
    /// The work failed. Another attempt follows while there are any left. The text goes into the record.
    Failed(String),
    /// The work is not finished because the agent stops. The attempt is handed back when the agent is released.
    Abandoned,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The outcome is in the task's record.
    Recorded(Outcome),
    /// The task was taken back from this agent, and the result, if any, does not count.
    TakenBack,
    /// The attempt is handed back when the agent is released.
    Abandoned,
}

impl Agent {
    /// Waits for a task. `None` once the agent is asked to stop. No task is returned while the lease has run out and
    /// cannot be renewed, because another agent may be given the same one.
    pub async fn next_task(&self) -> Option<Assignment> {
        let shared = &self.shared;
        let mut beats = shared.beat.answers();
        let begun = Instant::now();
        loop {
            if self.stop_requested().is_some() {
                return None;
            }
            // A beat for each task and another one for each pause between two would cost more than the tasks.
            let is_idle = begun.elapsed() >= IDLE_AFTER && shared.tasks.is_empty();
            if is_idle && shared.beat.said().state == AgentState::Busy {
                self.set_state(AgentState::Running);
            }
            if !shared.beat.is_suspended() {
                match self.store().assignments(self.id()).await {
                    Ok(tasks) => {
                        let next = tasks.into_iter().find(|task| shared.tasks.is_new(task));
                        if next.is_some() {
                            return next;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "could not look for tasks; the next beat tries again");
                    }
                }
            }
            tokio::select! {
                () = shared.tasks.looked_for() => {}
                _ = beats.changed() => {}
                _ = self.shutdown_requested() => {}
                () = sleep(IDLE_AFTER), if !is_idle => {}
            }
        }
    }

    /// Makes one attempt at a task: records that it begins, runs `work`, records how it ended. A panic of `work` is a
    /// failed attempt. `work` should end soon after [`Agent::shutdown_requested`] resolves.
    ///
    /// # Errors
    /// [`AgentError::Fenced`] when this life is over, and then the result does not count. [`AgentError::Store`] when
    /// the store refuses.
    pub async fn run_task<W>(&self, task: Assignment, work: W) -> Result<Attempt, AgentError>
    where
        W: AsyncFnOnce(&Assignment) -> Work,
    {
        if self.patiently(async |store| store.start_task(&task).await).await? != TaskReply::Ok {
            // Should it be handed out again and again, that must not cost a processor.
            sleep(RETRY).await;
            return Ok(Attempt::TakenBack);
        }
        self.shared.tasks.begin(&task);
        if self.shared.beat.said().state != AgentState::Busy {
            self.set_state(AgentState::Busy);
        }
        let ended = AssertUnwindSafe(work(&task)).catch_unwind().await;
        let result = match ended.unwrap_or_else(|_| Work::Failed("panicked".into())) {
            Work::Completed(detail) => self.record(&task, Outcome::Completed, (&detail, None)).await,
            Work::CompletedWith { detail, result } => {
                let kept = up_to(&result, MAX_RESULT_LEN);
                self.record(&task, Outcome::Completed, (&detail, Some(kept))).await
            }
            Work::Failed(detail) => self.record(&task, Outcome::Failed, (&detail, None)).await,
            Work::Abandoned => Ok(Attempt::Abandoned),
        };
        self.shared.tasks.end(&task, matches!(result, Ok(Attempt::Recorded(_) | Attempt::TakenBack)));
        result
    }

    /// Resolves once the run is not this agent's any more: its task was cancelled, or taken back. The work on it is of no
    /// use then and should end.
    pub async fn task_taken_back(&self, task: &Assignment) {
        let (shared, store) = (&self.shared, self.store());
        let (mut beats, mut hints) = (shared.beat.answers(), shared.tasks.cancellations());
        loop {
            match store.task_record(&task.sprint, &task.task).await {
                Ok(Some(record)) if record.is_beyond(task.run) => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "could not look at the task; the next beat does"),
            }
            tokio::select! {
                _ = beats.changed() => {}
                _ = hints.changed() => {}
            }
        }
    }

    /// The results of the tasks that this one needed, of those that left one.
    ///
    /// # Errors
    /// [`AgentError::Store`] when the store does not answer or refuses.
    pub async fn results_for(&self, task: &Assignment) -> Result<BTreeMap<TaskId, String>, AgentError> {
        Ok(self.store().task_results(&task.sprint, &task.needs).await?)
    }

    async fn record(
        &self,
        task: &Assignment,
        outcome: Outcome,
        said: (&str, Option<&str>),
    ) -> Result<Attempt, AgentError> {
        let tasks = &self.shared.tasks;
        let finish = async |store: AgentStore| {
            tasks.begin_to_end(task).await;
            let reply = store.finish_task(task, outcome, said).await;
            if !matches!(reply, Ok(Fenced::Ok(TaskReply::Ok | TaskReply::TakenBack))) {
                // It is in hand until that is recorded.
                tasks.is_not_over(task);
            }
            reply
        };
        Ok(match self.patiently(finish).await? {
            TaskReply::Ok => Attempt::Recorded(outcome),
            TaskReply::TakenBack | TaskReply::NoSprint => Attempt::TakenBack,
        })
    }

    /// A result must not be lost because the store is away, or because its sprint is not restored yet. The write is
    /// fenced and ends the attempt once, so trying again is safe.
    async fn patiently(
        &self,
        write: impl AsyncFn(AgentStore) -> Result<Fenced<TaskReply>, StoreError>,
    ) -> Result<TaskReply, AgentError> {
        let mut without_sprint = 0;
        let mut begun_to_end: Option<Instant> = None;
        let is_recent = |begun: Instant| begun.elapsed() < RELEASE_PATIENCE;
        loop {
            let urgent = self.stop_requested().is_some_and(|stop| stop.urgency >= Urgency::Terminate);
            if urgent {
                begun_to_end.get_or_insert_with(Instant::now);
            }
            match self.fenced_write(&write).await {
                // Once the agent is told to end, its coordinator may be gone too, so waiting for the sprint is of no
                // use.
                Ok(TaskReply::NoSprint) if without_sprint < 50 && !urgent => without_sprint += 1,
                // Nor may a store that stays away keep an agent from ending: the attempt is handed back instead.
                Err(AgentError::Store(error))
                    if error.is_transient() && begun_to_end.is_none_or(is_recent) => {}
                other => return other,
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                _ = self.stop_at_least(Urgency::Terminate), if !urgent => {}
                () = self.fenced() => return Err(AgentError::Fenced),
            }
        }
    }
}

/// The beginning of a text, in whole letters.
fn up_to(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    &text[..end]
}
