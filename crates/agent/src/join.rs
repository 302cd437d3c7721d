//! `agent run --epic E --sprint S --pool P`: an agent that joins a sprint from any host.
//!
//! ```text
//!   wait until the sprint is at work ──▶ one life: take its tasks ──▶ the sprint is over: leave
//!     ▲                                              │
//!     └── the coordinator is gone, or this life is ──┘
//! ```
//!
//! Whoever has started it need not know when a coordinator comes and goes: an epic that waits is waited for.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use agent_sdk::{Stop, StopCause};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::{Plan, SprintPlan};
use lifecycle_core::wire::epic_record::{EpicRecord, EpicStatus};
use lifecycle_core::wire::ids::{AgentId, AgentName, EpicId, SprintId, SprintName};
use lifecycle_redis::{Store, StoreError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::RunArguments;
use crate::run::{Life, Lived, live};

/// Pause between two looks whether the sprint is at work.
const LOOK: Duration = Duration::from_millis(500);
/// How long a sprint that is about to end is given for it.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// The longest one, for an epic that is not there for long.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// What is joined.
struct Place {
    epic: EpicId,
    sprint: SprintId,
    pool: AgentName,
    coordinator: AgentId,
}

/// Whether there is work to join.
enum Work {
    /// The sprint is at work.
    There,
    /// It is not yet, or waits; with why.
    NotYet(String),
    /// It has ended.
    Over(String),
}

/// Joins, works, and joins again, until the sprint is over or it is told to stop.
pub(crate) async fn run(
    arguments: &RunArguments,
    settings: &Settings,
    (epic, pool): (&EpicId, &AgentName),
) -> anyhow::Result<u8> {
    let place = place(arguments, epic, pool)?;
    let id = own_id(arguments, &place)?;
    let store = Store::connect(settings).await.map_err(of_store)?;
    let mut signals = Signals::catch()?;
    let mut seen = false;
    loop {
        let work = tokio::select! {
            work = await_work(&store, &place, &mut seen) => work?,
            code = signals.next() => {
                store.close().await;
                return Ok(code);
            }
        };
        if let Some(over) = work {
            tracing::info!(sprint = %place.sprint, "{over}: there is nothing left to join");
            store.close().await;
            return Ok(exit::OK);
        }
        let life = Life {
            id: &id,
            sprint: Some(&place.sprint),
            parent: Some(&place.coordinator),
            pool: Some(&place.pool),
            helper: None,
        };
        let (code, again) = match live(arguments, settings, life).await {
            Ok(Lived::Ended { code, stop }) => {
                if stop.is_some_and(|stop| stop.cause == StopCause::SprintCompleted) {
                    await_end(&store, &place).await;
                }
                (Ok(code), stop.is_some_and(|stop| is_to_come_back(&stop)))
            }
            Ok(Lived::Nothing(why)) => {
                tracing::debug!(why, "not joined yet");
                (Ok(exit::OK), true)
            }
            Err(error) => {
                // Its life is over, or the store was away for long: both pass.
                let passes = [exit::FENCED, exit::UNAVAILABLE].contains(&exit::code(&error));
                (Err(error), passes)
            }
        };
        if !again {
            store.close().await;
            return code;
        }
        if let Err(error) = code {
            tracing::warn!("{error}; joining again");
        }
        sleep(LOOK).await;
    }
}

/// The sprint is about to end, once all its agents have left: gives it time to, or this one would come back too soon. If a task
/// was added in the last moment, it goes on after all.
async fn await_end(store: &Store, place: &Place) {
    let begun = Instant::now();
    while begun.elapsed() < END_PATIENCE {
        match store.sprint_record(&place.sprint).await {
            Ok(record) if record.is_there && record.outcome.is_none() => {}
            _ => return,
        }
        sleep(LOOK).await;
    }
}

/// Whether the end of a life was no end of the work.
fn is_to_come_back(stop: &Stop) -> bool {
    matches!(
        stop.cause,
        StopCause::CoordinatorLost
            | StopCause::CoordinatorStopping
            | StopCause::Fenced
            | StopCause::SprintCompleted
    )
}

fn place(arguments: &RunArguments, epic: &EpicId, pool: &AgentName) -> Result<Place, Failure> {
    let usage = |what: String| Failure::new(exit::USAGE, what);
    let named = arguments.sprint.as_ref().ok_or_else(|| usage("--pool needs --sprint".into()))?.as_str();
    let name = named.strip_prefix(&format!("{epic}.")).unwrap_or(named);
    let name = SprintName::new(name).map_err(|invalid| usage(format!("--sprint: {invalid}")))?;
    let sprint = epic.sprint(&name).map_err(|invalid| usage(format!("--sprint: {invalid}")))?;
    let coordinator = epic.coordinator().map_err(|invalid| usage(format!("--epic: {invalid}")))?;
    Ok(Place { epic: epic.clone(), sprint, pool: pool.clone(), coordinator })
}

/// The id that was given, or one of its own: the pool with a number that no other agent has.
fn own_id(arguments: &RunArguments, place: &Place) -> Result<AgentId, Failure> {
    let usage = |what: String| Failure::new(exit::USAGE, what);
    let Some(id) = &arguments.id else {
        let id = AgentId::new(format!("{}.{}-{}", place.epic, place.pool, made_up()));
        return id
            .map_err(|invalid| usage(format!("--pool: {invalid}, with what is added to it: shorten it")));
    };
    let begins = format!("{}.", place.epic);
    match id.as_str().strip_prefix(&begins) {
        Some("coordinator") => {
            Err(usage(format!("--id {id} is that of the epic's own coordinator: choose another")))
        }
        Some(_) => Ok(id.clone()),
        None => Err(usage(format!(
            "--id {id}: the id of an agent that joins epic {} begins with {begins}",
            place.epic
        ))),
    }
}

/// Some letters that no other agent has: of this process, on this host.
fn made_up() -> String {
    let random: u64 = RandomState::new().hash_one(std::process::id());
    format!("{:08x}", random >> 32)
}

/// Waits until the sprint is at work: `None`. Or it is over, with what is to be said of that.
async fn await_work(store: &Store, place: &Place, seen: &mut bool) -> anyhow::Result<Option<String>> {
    let (mut told, mut pause) = (None, LOOK);
    loop {
        match look(store, place, seen).await {
            Ok(Work::There) => return Ok(None),
            Ok(Work::Over(how)) => return Ok(Some(how)),
            Ok(Work::NotYet(why)) => {
                if told.as_ref() != Some(&why) {
                    // A silent wait at a terminal looks like a hang.
                    tracing::warn!("waiting to join: {why}");
                    told = Some(why);
                }
            }
            Err(Look::Wrong(failure)) => return Err(failure.into()),
            Err(Look::Store(error)) if error.is_transient() => {
                tracing::debug!(%error, "the store does not answer; waiting for it");
            }
            Err(Look::Store(error)) => return Err(of_store(error).into()),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_LOOK);
    }
}

/// Why it could not be found out whether there is work.
enum Look {
    Store(StoreError),
    Wrong(Failure),
}

impl From<StoreError> for Look {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// `seen`: whether the epic was there before. If it is not any more, it has ended.
async fn look(store: &Store, place: &Place, seen: &mut bool) -> Result<Work, Look> {
    let (epic, sprint) = (&place.epic, &place.sprint);
    let Some(record) = store.epic(epic).await? else {
        if *seen && has_ended(store, epic).await? {
            return Ok(Work::Over(format!("epic {epic} has ended")));
        }
        return Ok(Work::NotYet(format!("there is no epic {epic} yet")));
    };
    *seen = true;
    check_pool(&record, place).map_err(Look::Wrong)?;
    let state = store.sprint_record(sprint).await?;
    if let Some(outcome) = state.outcome {
        return Ok(Work::Over(format!("sprint {sprint} is over ({outcome})")));
    }
    Ok(match record.status {
        EpicStatus::Waiting => Work::NotYet(format!("epic {epic} waits for a coordinator")),
        EpicStatus::Running if state.started_at.is_none() => {
            Work::NotYet(format!("sprint {sprint} has not begun"))
        }
        EpicStatus::Running => Work::There,
    })
}

/// Whether the store remembers the end of this epic. One that lost its memory will be told of an epic that goes on.
async fn has_ended(store: &Store, epic: &EpicId) -> Result<bool, StoreError> {
    Ok(store.operator().latest_end(epic).await?.is_some())
}

/// Refuses a sprint or a pool that the plan does not have.
fn check_pool(record: &EpicRecord, place: &Place) -> Result<(), Failure> {
    // A plan of another version is its coordinator's business.
    let Ok(plan) = Plan::parse(&record.plan) else { return Ok(()) };
    let Some(sprint) = plan.sprints.iter().find(|sprint| sprint.id == place.sprint) else {
        let names: Vec<&str> = plan.sprints.iter().map(|sprint| sprint.name.as_str()).collect();
        let what = format!("epic {} has no sprint {}: it has {}", place.epic, place.sprint, names.join(", "));
        return Err(Failure::new(exit::USAGE, what));
    };
    let names = pools(sprint);
    if names.contains(&place.pool.as_str()) {
        return Ok(());
    }
    let what = format!(
        "sprint {} has no agents {:?} to join: it has {}",
        place.sprint,
        place.pool.as_str(),
        names.join(", ")
    );
    Err(Failure::new(exit::USAGE, what))
}

/// What can be joined: its pools, and further hands for the agents that its coordinator starts.
fn pools(sprint: &SprintPlan) -> Vec<&str> {
    let mut names: Vec<&str> = sprint.pools.iter().map(|pool| pool.name.as_str()).collect();
    for agent in &sprint.agents {
        if !names.contains(&agent.kind.as_str()) {
            names.push(&agent.kind);
        }
    }
    names
}

#[allow(clippy::needless_pass_by_value)] // For map_err.
fn of_store(error: StoreError) -> Failure {
    Failure::new(exit::of_store(&error), error.to_string())
}

/// The signals that end a process which has not joined. A life listens for its own.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with the exit code for the signal that came. Nothing is in hand, so there is nothing to drain.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => exit::OK,
            _ = self.interrupt.recv() => exit::OK,
            _ = self.hangup.recv() => exit::OK,
        }
    }
}
