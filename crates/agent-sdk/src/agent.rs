//! The handle of a registered agent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifecycle_core::agent::shutdown::{Stop, StopCause, Urgency};
use lifecycle_core::wire::ids::{AgentId, Incarnation, TaskId};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::{AgentState, Order, Registration};
use lifecycle_core::wire::task::Assignment;
use lifecycle_redis::{Fenced, Life, Reap, ReapOutcome, Refusal, Registered, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::error::AgentError;
use crate::settings::AgentSettings;
use crate::{heartbeat, listener, signals, witness};

/// A registered agent. Cheap to clone; all clones are the same agent.
///
/// It beats until [`Agent::shutdown`] is called or the process ends; dropping the handle ends nothing. A process that
/// ends without a shutdown is a crash as far as the fleet is concerned: the lease ends and a sweeper cleans up.
#[derive(Debug, Clone)]
pub struct Agent {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) registration: Registration,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) life: Mutex<Life>,
    pub(crate) said: Mutex<Said>,
    pub(crate) in_flight: Mutex<BTreeMap<TaskId, Assignment>>,
    /// What was proven of the processes that this life started.
    pub(crate) proven: Mutex<ProcessFate>,
    /// Runs that this life has ended, the latest ones: a store that went back in time hands them out again.
    pub(crate) ended_runs: Mutex<VecDeque<(TaskId, u32)>>,
    pub(crate) stop: watch::Sender<Option<Stop>>,
    /// Counts beats that were answered; changes wake whoever looks at keys from time to time.
    pub(crate) beats: watch::Sender<u64>,
    /// The lease has certainly run out and could not be renewed: take no work until a beat is answered.
    pub(crate) suspended: watch::Sender<bool>,
    /// The store may not know of the tasks in hand.
    pub(crate) untold_tasks: AtomicBool,
    /// Beat now.
    pub(crate) beat_now: Notify,
    /// Look for tasks now.
    pub(crate) look_for_tasks: Notify,
    /// We are releasing the life ourselves: what the store says of it from now on is no news.
    pub(crate) releasing: AtomicBool,
    /// It is released: the beat ends.
    pub(crate) released: watch::Sender<bool>,
}

/// What the next beat says.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) state: AgentState,
    pub(crate) progress: Option<String>,
}

impl Agent {
    /// Registers the agent and starts to beat.
    ///
    /// An earlier life of the same id that was never cleaned up is reaped first; its tasks go back to their sprint.
    ///
    /// # Errors
    /// [`AgentError::Held`] when the id is alive (unless [`AgentSettings::takeover`]), [`AgentError::NoParent`] and
    /// [`AgentError::NoSprint`] when those are not there, [`AgentError::Store`] when no store answers in time, or one that
    /// is full, busy or loading stays so for longer than `redis.start_timeout`.
    pub async fn register(settings: AgentSettings) -> Result<Self, AgentError> {
        let store = Store::connect(&settings.settings).await?;
        // Before anything is written, so that nothing that is written can be left behind by a signal.
        let caught = settings.handle_signals.then(signals::catch);
        let registration = settings.registration();
        let life = begin_life_patiently(&store, &registration, settings.takeover).await?;
        tracing::info!(agent = %life.id, incarnation = %life.incarnation, "registered");
        let agent = Self {
            inner: Arc::new(Inner {
                store,
                registration,
                memory_limit: settings.memory_limit,
                life: Mutex::new(life),
                said: Mutex::new(Said { state: AgentState::Starting, progress: None }),
                in_flight: Mutex::default(),
                proven: Mutex::new(ProcessFate::Unknown),
                ended_runs: Mutex::default(),
                stop: watch::Sender::new(None),
                beats: watch::Sender::new(0),
                suspended: watch::Sender::new(false),
                untold_tasks: AtomicBool::new(false),
                beat_now: Notify::new(),
                look_for_tasks: Notify::new(),
                releasing: AtomicBool::new(false),
                released: watch::Sender::new(false),
            }),
        };
        let bus = agent.inner.store.subscribe_as(agent.id())?;
        tokio::spawn(heartbeat::run(agent.inner.clone()));
        tokio::spawn(listener::run(Arc::downgrade(&agent.inner), bus));
        if let Some(caught) = caught {
            caught.pass_to(&agent.inner);
        }
        agent.set_state(AgentState::Running);
        Ok(agent)
    }

    /// The agent's id.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.inner.registration.id
    }

    /// The life this is, with what every write carries.
    #[must_use]
    pub fn life(&self) -> Life {
        self.inner.life()
    }

    /// The store, for what this handle does not offer.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Says where the agent is in its life; the next beat goes out at once and carries it. A long model or tool call is
    /// [`AgentState::Waiting`].
    pub fn set_state(&self, state: AgentState) {
        self.inner.said().state = state;
        self.inner.beat_now.notify_one();
    }

    /// Says that something moved, in a few words; carried by the next beat. Progress is not liveness: an agent that
    /// makes none is reported, never reaped.
    pub fn progress(&self, what: impl Into<String>) {
        self.inner.said().progress = Some(what.into().chars().take(200).collect());
    }

    /// Says what was proven of the processes that this agent started, so that the audit log does once it is released. An
    /// agent that says nothing is written down as `unknown`: its own process, at least, still runs then.
    pub fn prove(&self, process: ProcessFate) {
        *lock(&self.inner.proven) = process;
    }

    /// Declares a Redis key as the agent's own: it is removed when the agent goes, however it goes. Call it *before*
    /// creating the key.
    ///
    /// # Errors
    /// [`AgentError::Fenced`] when this life is over, [`AgentError::Store`] when the store refuses or is away.
    pub async fn own_key(&self, key: impl Into<String>) -> Result<(), AgentError> {
        let names = [key.into()];
        self.fenced_write(async |life| self.inner.store.own_keys(&life, &names).await).await
    }

    /// Records what the agent depends on.
    ///
    /// # Errors
    /// As [`Agent::own_key`].
    pub async fn depend_on(&self, names: &[String]) -> Result<(), AgentError> {
        self.fenced_write(async |life| self.inner.store.depend_on(&life, names).await).await
    }

    /// Resolves once the agent is asked to stop, and says how urgently and why.
    pub async fn shutdown_requested(&self) -> Stop {
        self.stop_at_least(Urgency::Drain).await
    }

    /// Resolves once the stop is at least this urgent.
    pub async fn stop_at_least(&self, urgency: Urgency) -> Stop {
        let mut stop = self.inner.stop.subscribe();
        let asked = stop.wait_for(|stop| stop.as_ref().is_some_and(|stop| stop.urgency >= urgency)).await;
        // The sender lives as long as this handle, so there is always an answer in the end.
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

    /// The stop that was asked for, if any.
    #[must_use]
    pub fn stop_requested(&self) -> Option<Stop> {
        *self.inner.stop.borrow()
    }

    /// Asks this agent to stop, as a signal or an order would.
    pub fn request_stop(&self, urgency: Urgency, cause: StopCause) {
        self.inner.raise(urgency, cause);
    }

    /// Runs a fenced write, over a store that lost its memory: waits for the heartbeat to register again.
    pub(crate) async fn fenced_write<T>(
        &self,
        write: impl AsyncFn(Life) -> Result<Fenced<T>, StoreError>,
    ) -> Result<T, AgentError> {
        loop {
            let mut beats = self.inner.beats.subscribe();
            match write(self.life()).await? {
                Fenced::Ok(value) => return Ok(value),
                Fenced::Fenced => {
                    self.inner.raise(Urgency::Fenced, StopCause::Fenced);
                    return Err(AgentError::Fenced);
                }
                Fenced::Unknown => {
                    self.inner.beat_now.notify_one();
                    tokio::select! {
                        _ = beats.changed() => {}
                        () = self.fenced() => return Err(AgentError::Fenced),
                    }
                }
            }
        }
    }
}

impl Inner {
    pub(crate) fn life(&self) -> Life {
        lock(&self.life).clone()
    }

    pub(crate) fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    pub(crate) fn in_flight(&self) -> MutexGuard<'_, BTreeMap<TaskId, Assignment>> {
        lock(&self.in_flight)
    }

    /// Whether this life has ended that run of the task before.
    pub(crate) fn has_ended(&self, task: &Assignment) -> bool {
        lock(&self.ended_runs).iter().any(|(id, run)| *id == task.task && *run == task.run)
    }

    pub(crate) fn note_ended(&self, task: &Assignment) {
        let mut ended = lock(&self.ended_runs);
        ended.push_back((task.task.clone(), task.run));
        if ended.len() > ENDED_RUNS_KEPT {
            ended.pop_front();
        }
    }

    /// Makes the stop at least this urgent. A less urgent one changes nothing.
    pub(crate) fn raise(&self, urgency: Urgency, cause: StopCause) {
        let raised = self.stop.send_if_modified(|stop| {
            let higher = stop.as_ref().is_none_or(|stop| stop.urgency < urgency);
            if higher {
                *stop = Some(Stop { urgency, cause });
            }
            higher
        });
        if raised {
            // Nobody should hand out work that will not be done.
            self.said().state = AgentState::Draining;
            self.beat_now.notify_one();
            self.look_for_tasks.notify_one();
            if let Some(stop) = self.stop.borrow().as_ref() {
                tracing::info!(agent = %self.registration.id, cause = %stop.cause, urgency = ?stop.urgency, "stopping");
            }
        }
    }

    pub(crate) fn obey(&self, order: Order, why: &str) {
        // Orders of others may give reasons that we know nothing of.
        self.raise(Urgency::of(order), why.parse().unwrap_or(StopCause::Operator));
    }
}

/// A panic elsewhere does not make what the mutex guards any less true: every critical section is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More tasks than an agent ends in the time that a store can forget.
const ENDED_RUNS_KEPT: usize = 1_000;

/// How often an earlier life may turn out to be alive, and the pause before it is looked at again.
const MOST_REFUSALS: u32 = 5;
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);

/// The pause before a registration that was refused is tried again; it grows up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Begins a life in a store that may be full, busy or loading: such refusals pass, and nothing was written by them. Waits
/// for `redis.start_timeout` in all, as for a store that is away.
async fn begin_life_patiently(
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
    let id = registration.id.as_str();
    let mut refusals = 0;
    loop {
        match store.register(registration, AgentState::Starting, None).await? {
            Registered::Ok(life) => return Ok(life),
            Registered::Held { .. } if takeover => {
                clean_up(store, id, Reason::Operator, true).await?;
            }
            Registered::Held { incarnation: Some(incarnation), .. }
                if bears_witness(store, id, incarnation).await? => {}
            Registered::Held { incarnation, host, pid, lease_left_ms } => {
                return Err(AgentError::Held { id: id.into(), incarnation, host, pid, lease_left_ms });
            }
            Registered::Expired(incarnation) => {
                if !clean_up(store, id, Reason::StaleHeartbeat, takeover).await? {
                    refusals += 1;
                    sleep(REFUSAL_PAUSE).await;
                }
                if refusals > MOST_REFUSALS {
                    // It beats, or its lease was lost and a sweeper has not restored it yet.
                    let (host, pid) = ("its host".into(), "unknown".into());
                    return Err(AgentError::Held { id: id.into(), incarnation, host, pid, lease_left_ms: 0 });
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

async fn bears_witness(store: &Store, id: &str, incarnation: Incarnation) -> Result<bool, AgentError> {
    let record = store.record(id).await?.filter(|record| record.incarnation == incarnation);
    let Some(record) = record else { return Ok(false) };
    Ok(witness::bear(store, &record, id, id).await?)
}

/// Reaps a life of our own id that ours has replaced, and that a store which lost its memory still has.
pub(crate) async fn replace_earlier(store: &Store, id: &str, earlier: Incarnation) -> Result<(), StoreError> {
    if let Some(record) = store.record(id).await?.filter(|record| record.incarnation == earlier) {
        store.reap_replaced(id, &record).await?;
    }
    Ok(())
}

/// Reaps the earlier life of our own id, so that its keys and tasks are handed on and not inherited. `false` if that
/// life turned out to be alive.
async fn clean_up(store: &Store, id: &str, reason: Reason, force: bool) -> Result<bool, AgentError> {
    let now = store.server_time().await?;
    let Some(suspect) = store.suspects(&[(id.to_string(), now)], now).await?.pop() else { return Ok(true) };
    // A plain agent's lease is renewed only by sweepers; its heartbeat says more.
    if !force && suspect.is_alive(now) {
        return Ok(false);
    }
    let ended = suspect.record.as_ref().and_then(|record| record.ended.as_deref());
    let reason = ended.and_then(|ended| ended.parse().ok()).unwrap_or(reason);
    let left_behind = match suspect.record {
        Some(_) => Vec::new(),
        None => store.left_behind(&[id]).await?.remove(id).unwrap_or_default(),
    };
    tracing::info!(agent = id, "cleaning up the earlier life of this id");
    let reap = Reap { left_behind: &left_behind, force, ..Reap::of(&suspect, reason, id) };
    let outcome = store.reap(&reap).await?;
    Ok(outcome != ReapOutcome::Refuted)
}
