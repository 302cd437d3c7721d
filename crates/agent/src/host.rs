//! What lives that are over left on this host is ended, and what they own is undone: by whoever starts here, and by a daemon,
//! within a second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_sdk::leftovers::{bear_witness, end_over, judge, undo_over};
use agent_sdk::process::{self, Ledger, Leftover, Remains};
use agent_sdk::{Agent, AgentSettings, StopCause};
use lifecycle_cli::exit;
use lifecycle_cli::output;
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_redis::{AgentStore, Store, StoreError};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::host_watch::HostWatch;
use crate::run::failure;

/// Pause between two looks at the lives of the host.
const LOOK: Duration = Duration::from_millis(250);
/// Longest time that a start's first look may hold up the end of its command.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How often whoever starts looks at what others left, at most.
const LOOKS_AT_START: usize = 4;
/// Pause between two readings of the host's memory.
const TELL: Duration = Duration::from_secs(5);
/// Pause between two tries to reach a store that is away.
const RETRY: Duration = Duration::from_secs(1);
/// The kind of the daemon as an agent.
const KIND: &str = "host";

/// What a start does for its host, beside its own work.
pub(crate) struct Clearing {
    first_look: oneshot::Receiver<()>,
}

/// Ends what is left of lives that are proven over, undoes what they own, and removes their ledgers.
pub(crate) fn clear(store: AgentStore, by: AgentId) -> Clearing {
    let (looked, first_look) = oneshot::channel();
    tokio::spawn(look_and_look_again(store, by, looked));
    Clearing { first_look }
}

impl Clearing {
    /// Waits until what was found at the start is ended, so that a short command ends it, too.
    pub(crate) async fn first_look(self) {
        let _ = timeout(FIRST_LOOK, self.first_look).await;
    }
}

/// A guard that was just killed, or is about to end what it holds, is given a moment.
async fn look_and_look_again(store: AgentStore, by: AgentId, looked_once: oneshot::Sender<()>) {
    let _ = spawn_blocking(process::remove_left_cgroups).await;
    let address = store.settings().redis.address();
    let mut looked_once = Some(looked_once);
    for _ in 0..LOOKS_AT_START {
        let address = address.clone();
        let is_left =
            move |ledger: &Ledger| ledger.store == address && (ledger.is_orphan() || !ledger.is_here());
        let looked = spawn_blocking(move || process::ledgers().iter().any(is_left).then(process::find));
        let Ok(Some(remains)) = looked.await else { return };
        if let Err(error) = end(&store, remains, by.as_str()).await {
            tracing::debug!(%error, "what others left on this host was not looked at");
        }
        if let Some(looked_once) = looked_once.take() {
            // Nobody may wait for it.
            let _ = looked_once.send(());
        }
        sleep(RETRY).await;
    }
}

/// What was found on the host, and ended.
#[derive(Debug, Default)]
struct Ended {
    count: u64,
    left: Vec<u32>,
}

async fn end(store: &Store, remains: Remains, by: &str) -> Result<Ended, StoreError> {
    let Remains { leftovers, empty } = remains;
    for (life, things) in undo_over(store, &empty, by).await? {
        tracing::warn!(%life, %things, "a life that is over still owned things on this host");
    }
    if let Err(error) = process::tidy(&empty) {
        tracing::debug!(%error, "the ledger of a life of which nothing is left could not be removed");
    }
    if leftovers.is_empty() {
        return Ok(Ended::default());
    }
    let told = end_proven(store, leftovers, by).await?;
    let left: Vec<u32> = told.iter().filter(|told| !told.is_gone).map(|told| told.process.pid).collect();
    let ended = Ended { count: told.len() as u64, left };
    if ended.count > 0 {
        tracing::warn!(
            found = ended.count,
            left = ?ended.left,
            "processes of lives that are over were still on this host; they were ended"
        );
        // Their ledgers tell of nothing any more.
        let _ = process::tidy(&process::find().empty);
    }
    Ok(ended)
}

async fn end_proven(store: &Store, found: Vec<Leftover>, by: &str) -> Result<Vec<process::Told>, StoreError> {
    let mut judged = judge(Some(store), found.clone()).await?;
    if bear_witness(store, &judged, by).await? {
        judged = judge(Some(store), found).await?;
    }
    Ok(end_over(store, &judged, by).await)
}

/// The daemon of a host, until it is told to stop. It is an agent itself, so that the fleet sees whether it lives.
///
/// # Errors
/// A [`Failure`](exit::Failure): code 73 if another one looks after this host, and as for every agent.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<u8> {
    let agent = register(&settings).await?;
    tracing::info!(agent = %agent.id(), "looking after the lives of this host");
    let watch = Arc::new(Mutex::new(HostWatch::default()));
    let mut told_at: Option<Instant> = None;
    let mut waiting: BTreeMap<String, Ledger> = BTreeMap::new();
    while agent.stop_requested().is_none() {
        let looking = Arc::clone(&watch);
        let look = move || {
            let mut watch = looking.lock().unwrap_or_else(PoisonError::into_inner);
            (watch.look(Instant::now()), watch.len())
        };
        let Ok((orphans, lives)) = spawn_blocking(look).await else { continue };
        if told_at.is_none_or(|at| at.elapsed() >= TELL) {
            agent.progress(told(lives));
            told_at = Some(Instant::now());
        }
        if !orphans.is_empty() {
            let _ = spawn_blocking(process::remove_left_cgroups).await;
        }
        waiting.extend(
            orphans.into_iter().map(|ledger| (format!("{}@{}", ledger.id, ledger.incarnation), ledger)),
        );
        if !waiting.is_empty() {
            match settle(&agent, waiting.values().cloned().collect()).await {
                Ok(()) => waiting.clear(),
                Err(error) => {
                    tracing::warn!(%error, lives = waiting.len(), "what they left waits for the store")
                }
            }
        }
        tokio::select! {
            () = sleep(if waiting.is_empty() { LOOK } else { RETRY }) => {}
            _ = agent.shutdown_requested() => {}
        }
    }
    agent.shutdown(StopCause::Requested).await.map_err(|error| failure(&error))?;
    Ok(exit::OK)
}

/// Waits for a store that is away, as daemons do.
async fn register(settings: &Settings) -> anyhow::Result<Agent> {
    let host =
        agent_sdk::host().replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-', "-");
    loop {
        let wanted = AgentSettings::new(format!("{KIND}.{host}"))?.kind(KIND).settings(settings.clone());
        match Agent::register(wanted).await {
            Ok(agent) => return Ok(agent),
            Err(agent_sdk::AgentError::Store(error)) if error.is_transient() => {
                tracing::warn!(%error, "no store yet; trying again");
            }
            Err(error) => return Err(failure(&error).into()),
        }
    }
}

/// These have lost their supervisor: tells the store, and ends what they left.
async fn settle(agent: &Agent, orphans: Vec<Ledger>) -> Result<(), StoreError> {
    let (store, by) = (agent.store(), agent.id().as_str().to_owned());
    for ledger in &orphans {
        // Only its own store knows it.
        if ledger.store == store.settings().redis.address() {
            store.host(&by).process_exited(ledger.id.as_str(), ledger.incarnation, "gone").await?;
        }
    }
    let Ok(remains) = spawn_blocking(move || process::find_noting(&orphans)).await else { return Ok(()) };
    let ended = end(&store, remains, &by).await?;
    if ended.count > 0 {
        let host = Some(agent_sdk::host());
        store.announce(Payload::LeftoversFound { count: Some(ended.count), host, pids: ended.left }).await?;
    }
    Ok(())
}

/// What it knows of its host, for `ps` and for the record.
fn told(lives: usize) -> String {
    let lives = output::count(lives as u64, "agent");
    let Some(host) = process::host_memory() else { return lives };
    let (used, total) = (host.total.saturating_sub(host.available), host.total);
    let pressure = host.pressure.map_or_else(String::new, |share| format!(", pressure {share:.1} %"));
    format!("{lives}, memory {} of {}{pressure}", output::size(used), output::size(total))
}
