//! The handle of a registered agent.

use std::sync::Arc;

use lifecycle_core::agent::shutdown::{Stop, StopCause, Urgency};
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::AgentState;
use lifecycle_redis::{AgentStore, Fenced, Life, Store, StoreError};

use crate::error::AgentError;
use crate::settings::AgentSettings;
use crate::shared::Shared;
use crate::{coordinator_loss, heartbeat, listener, signals, takeover};

/// A registered agent. Cheap to clone; all clones are the same agent.
///
/// It beats until [`Agent::shutdown`] is called or the process ends. Dropping the handle ends nothing. A process that
/// ends without a shutdown has crashed, for the fleet: its lease ends, and a sweeper cleans up.
#[derive(Debug, Clone)]
pub struct Agent {
    pub(crate) shared: Arc<Shared>,
}

impl Agent {
    /// Registers the agent and starts to beat.
    ///
    /// An earlier life of the same id that was never cleaned up is reaped first; its tasks go back to their sprint.
    ///
    /// # Errors
    /// [`AgentError::Held`] when a living agent has the id (unless [`AgentSettings::takeover`]).
    /// [`AgentError::NoParent`] and [`AgentError::NoSprint`] when the parent or the sprint is not there.
    /// [`AgentError::Store`] when no store answers in time, or one stays full, busy or loading for longer than
    /// `redis.start_timeout`.
    pub async fn register(settings: AgentSettings) -> Result<Self, AgentError> {
        let store = Store::connect(&settings.settings).await?;
        // Signals are caught before anything is written, so that a signal cannot leave anything behind.
        let caught = settings.handle_signals.then(signals::catch);
        let registration = settings.registration();
        let life = takeover::begin_life_patiently(&store, &registration, settings.takeover).await?;
        tracing::info!(agent = %life.id, incarnation = %life.incarnation, "registered");
        let bus = store.subscribe_as(&registration.id)?;
        let agent = Self { shared: Arc::new(Shared::new(store, registration, life)) };
        tokio::spawn(heartbeat::run(agent.shared.clone(), settings.memory_limit));
        if agent.shared.registration.parent.is_some() {
            tokio::spawn(coordinator_loss::run(Arc::downgrade(&agent.shared)));
        }
        tokio::spawn(listener::run(Arc::downgrade(&agent.shared), bus));
        if let Some(caught) = caught {
            caught.pass_to(&agent.shared);
        }
        agent.set_state(AgentState::Running);
        Ok(agent)
    }

    /// The agent's id.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.shared.registration.id
    }

    /// The life of this agent, with what every write carries.
    #[must_use]
    pub fn life(&self) -> Life {
        self.shared.life()
    }

    /// The store's handle for this life, with operations that this type does not offer.
    #[must_use]
    pub fn store(&self) -> AgentStore {
        self.shared.agent_store()
    }

    /// Says where the agent is in its life. The next beat goes out at once and carries it. In a long model or tool
    /// call, say [`AgentState::Waiting`].
    pub fn set_state(&self, state: AgentState) {
        self.shared.beat.say_state(state);
    }

    /// Says in a few words what moved; the next beat carries it. Progress is not liveness: an agent without progress is
    /// reported, never reaped.
    pub fn progress(&self, what: impl Into<String>) {
        self.shared.beat.say_progress(what.into().chars().take(200).collect());
    }

    /// Says what was proven of the processes that this agent started; the audit log records it at the release. Without
    /// it the log says `unknown`, because at least the agent's own process still runs then.
    pub fn prove(&self, process: ProcessFate) {
        self.shared.stop_state.prove(process);
    }

    /// Declares a Redis key as the agent's own: it is removed when the agent goes, however it goes. Call it *before*
    /// creating the key.
    ///
    /// # Errors
    /// [`AgentError::Fenced`] when this life is over; [`AgentError::Store`] when the store does not answer or refuses.
    pub async fn own_key(&self, key: impl Into<String>) -> Result<(), AgentError> {
        let names = [key.into()];
        self.fenced_write(async |store| store.own_keys(&names).await).await
    }

    /// Records what the agent depends on.
    ///
    /// # Errors
    /// As [`Agent::own_key`].
    pub async fn depend_on(&self, names: &[String]) -> Result<(), AgentError> {
        self.fenced_write(async |store| store.depend_on(names).await).await
    }

    /// Resolves once the agent is asked to stop, with the urgency and the cause.
    pub async fn shutdown_requested(&self) -> Stop {
        self.stop_at_least(Urgency::Drain).await
    }

    /// Resolves once the stop is at least this urgent.
    pub async fn stop_at_least(&self, urgency: Urgency) -> Stop {
        let mut stop = self.shared.stop_state.stops();
        let asked = stop.wait_for(|stop| stop.as_ref().is_some_and(|stop| stop.urgency >= urgency)).await;
        // The sender lives as long as this handle, so an answer comes in the end.
        let asked = asked.ok().and_then(|stop| *stop);
        match asked {
            Some(stop) => stop,
            None => std::future::pending().await,
        }
    }

    /// Resolves once this life is over: it was reaped or replaced. Stop at once; nothing can be written any more.
    pub async fn fenced(&self) {
        self.stop_at_least(Urgency::Fenced).await;
    }

    /// The stop that was asked for; `None` if none was.
    #[must_use]
    pub fn stop_requested(&self) -> Option<Stop> {
        self.shared.stop_state.stop()
    }

    /// Asks this agent to stop, as a signal or an order would.
    pub fn request_stop(&self, urgency: Urgency, cause: StopCause) {
        self.shared.raise(urgency, cause);
    }

    /// Tells the agent that its coordinator seems to be gone. It goes on with the task in hand, for at most
    /// `coordinator.adopt_timeout`, unless another coordinator adopts it.
    pub fn coordinator_is_gone(&self) {
        self.shared.loss.tell();
    }

    /// Runs a fenced write. If the store lost its memory, waits until the heartbeat has registered again, and repeats
    /// it.
    pub(crate) async fn fenced_write<T>(
        &self,
        write: impl AsyncFn(AgentStore) -> Result<Fenced<T>, StoreError>,
    ) -> Result<T, AgentError> {
        loop {
            let mut beats = self.shared.beat.answers();
            match write(self.store()).await? {
                Fenced::Ok(value) => return Ok(value),
                Fenced::Fenced => {
                    self.shared.raise(Urgency::Fenced, StopCause::Fenced);
                    return Err(AgentError::Fenced);
                }
                Fenced::Unknown => {
                    self.shared.beat.want();
                    tokio::select! {
                        _ = beats.changed() => {}
                        () = self.fenced() => return Err(AgentError::Fenced),
                    }
                }
            }
        }
    }
}
