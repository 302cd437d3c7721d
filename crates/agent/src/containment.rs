//! What holds the command's process tree, and how it is found, ended and waited for.
//!
//! ```text
//!   supervisor ── guard ── command      ([`crate::guard`], [`crate::hold`])
//!                   └── init            of the PID namespace, where the host allows one
//!   cgroup                              of the command, where the host lets us have one
//! ```
//!
//! The tree is all that descends from the guard. Where there is none (`containment.mode = none`), it is all that descends
//! from this process, except children that were there before (a shell that started them became this program). Processes
//! that a double fork gives away come back to the guard, or to us, because both are subreapers. Where the kernel does
//! not allow that, the tree also includes every process with this life's token in its environment; finding those costs
//! a look at all processes of the machine.
//!
//! When this process is killed, its guard ends the tree. When both are, the kernel ends the namespace; without one, what
//! they leave comes to the coordinator, which is a subreaper too.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agent_sdk::Agent;
use agent_sdk::process::{
    Descent, Ender, Ledger, LifeCgroup, OutOfMemory, ProcessId, Subreaper, Tree, token,
};
use lifecycle_core::agent::containment::{ContainmentMode, Layers};
use lifecycle_core::agent::memory_budget::MemoryBudget;
use lifecycle_core::agent::thing::Account;
use lifecycle_core::wire::process_fate::{Fate, Findings, ProcessFate};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::child::Child;
use crate::command::CommandLine;
use crate::guard::Guard;
use crate::task_log::TaskLog;

/// Pause between two looks at which processes there are, where only a guard holds them.
const NOTING: Duration = Duration::from_secs(10);
/// How long a guard may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// After so long a guard that was stopped runs again.
const WAKING: Duration = Duration::from_secs(5);

/// The ender of the tree; one per process, because children are too.
static ENDER: OnceLock<Ender> = OnceLock::new();
/// What holds the tree.
static HELD: Mutex<Option<Arc<Held>>> = Mutex::new(None);
/// What the life under way has written down of its processes.
static LEDGER: Mutex<Option<Ledger>> = Mutex::new(None);
/// What was found at the end of all commands so far.
static FOUND: Mutex<Option<Findings>> = Mutex::new(None);

/// The layers around the commands of this process.
#[derive(Debug)]
struct Held {
    guard: Guard,
    cgroup: Option<LifeCgroup>,
}

impl Held {
    fn cgroup_path(&self) -> PathBuf {
        self.cgroup.as_ref().map_or_else(PathBuf::new, |cgroup| cgroup.path().into())
    }
}

/// Why the tree cannot be held as was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainmentError {
    /// The system gives no thread or no descriptor.
    #[error("cannot watch over the command's processes: {0}; nothing was started")]
    Watch(#[from] io::Error),
    /// The host does not have the layer.
    #[error(
        "containment.mode is {mode}, and this host does not allow it: {problem}; nothing was started; use auto for what it allows"
    )]
    NotHere { mode: ContainmentMode, problem: Problem },
}

/// What the host refused.
#[derive(Debug)]
pub(crate) struct Problem {
    layer: &'static str,
    error: io::Error,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.error)
    }
}

/// Makes orphaned descendants come to this process instead of init, notes the children that are there already, and
/// starts what holds the commands.
///
/// # Errors
/// When the system gives no thread, or does not have a layer that was asked for by name.
pub(crate) async fn begin(
    mode: ContainmentMode,
    budget: MemoryBudget,
    at_terminal: bool,
) -> Result<(), ContainmentError> {
    let ender = Ender::start(Subreaper::begin())?;
    ender.reap_from_now_on()?;
    let held = hold(ender.subreaper(), mode, at_terminal).await;
    // It is set already only if this was called twice.
    let _ = ENDER.set(ender);
    let held = held.map_err(|problem| ContainmentError::NotHere { mode, problem })?;
    if let Some(cgroup) = held.as_ref().and_then(|held| held.cgroup.as_ref()) {
        limit(cgroup, budget);
    }
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = held.map(Arc::new);
    tokio::spawn(keep_awake());
    Ok(())
}

/// Where the cgroup accounts for memory, the kernel holds the hard limit, which a burst cannot pass between two looks.
fn limit(cgroup: &LifeCgroup, budget: MemoryBudget) {
    if let Some(hard) = budget.hard
        && !cgroup.limit_memory(hard)
    {
        tracing::debug!("its cgroup does not account for memory: the limit is held by looking");
    }
}

async fn hold(
    subreaper: &Subreaper,
    mode: ContainmentMode,
    at_terminal: bool,
) -> Result<Option<Held>, Problem> {
    if mode == ContainmentMode::None {
        return Ok(None);
    }
    let refused = |layer| move |error| Problem { layer, error };
    let cgroup = match mode.wants_cgroup().then(|| LifeCgroup::create(0)) {
        Some(Err(error)) if mode == ContainmentMode::Cgroup => return Err(refused("cgroup v2")(error)),
        Some(Err(error)) => {
            tracing::debug!(%error, "no cgroup of its own for the command");
            None
        }
        made => made.and_then(Result::ok),
    };
    // A shell at a terminal hands the terminal from group to group, and cannot name those outside of its namespace.
    let wants_namespace = mode == ContainmentMode::Namespace || (mode.wants_namespace() && !at_terminal);
    let guard = match wants_namespace {
        true => match Guard::start(subreaper, true).await {
            Err(error) if mode == ContainmentMode::Namespace => return Err(refused("PID namespace")(error)),
            Err(error) => {
                tracing::debug!(%error, "no PID namespace for the command");
                Guard::start(subreaper, false).await
            }
            started => started,
        },
        false => Guard::start(subreaper, false).await,
    };
    let guard = match guard {
        Err(error) if mode != ContainmentMode::Auto => return Err(refused("guard")(error)),
        Err(error) => {
            tracing::warn!(%error, "no guard could be started: if this process is killed, only its coordinator ends the command");
            return Ok(None);
        }
        Ok(guard) => guard,
    };
    let held = Held { guard, cgroup };
    held.guard.tell_life(held.cgroup_path(), PathBuf::new()).await;
    Ok(Some(held))
}

/// What holds the commands of this process.
pub(crate) fn layers() -> Layers {
    held().map_or(Layers::default(), |held| Layers {
        namespace: held.guard.init().is_some(),
        cgroup: held.cgroup.is_some(),
        guard: true,
    })
}

/// What came of the command's want of memory so far, where a cgroup keeps account of it.
pub(crate) fn out_of_memory() -> OutOfMemory {
    held().and_then(|held| Some(held.cgroup.as_ref()?.out_of_memory())).unwrap_or_default()
}

/// Lets go of what held the commands, of which none is left.
pub(crate) async fn finish() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut held) = held else { return };
    // Whoever else has it right now has it for a moment.
    let Held { guard, cgroup } = loop {
        match Arc::try_unwrap(held) {
            Ok(held) => break held,
            Err(shared) => held = shared,
        }
        sleep(Duration::from_millis(1)).await;
    };
    guard.dismiss().await;
    drop(cgroup);
}

/// Writes down what holds the processes of the life that begins, so that they are found if all of us are killed.
pub(crate) async fn begin_life(agent: &Agent) {
    let held = held();
    let address = agent.store().settings().redis.address();
    let begun = Ledger::new(agent.id().clone(), agent.life().incarnation, address).and_then(|mut ledger| {
        ledger.guard = held.as_ref().map(|held| held.guard.process());
        ledger.init = held.as_ref().and_then(|held| held.guard.init());
        ledger.cgroup = held.as_ref().and_then(|held| Some(held.cgroup.as_ref()?.path().into()));
        ledger.containment = layers().to_string();
        ledger.write()?;
        Ok((ledger.path()?, ledger))
    });
    match begun {
        Ok((path, ledger)) => {
            *LEDGER.lock().unwrap_or_else(PoisonError::into_inner) = Some(ledger);
            if let Some(held) = held {
                held.guard.tell_life(held.cgroup_path(), path).await;
            }
        }
        Err(error) => {
            tracing::warn!(%error, "no ledger of this life: what it leaves behind may not be found")
        }
    }
}

/// The life is over, and nothing is left of it.
pub(crate) async fn end_life() {
    if let Some(held) = held() {
        held.guard.tell_life(held.cgroup_path(), PathBuf::new()).await;
    }
    let ledger = LEDGER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let left =
        FOUND.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |found| found.left.len());
    // What is left has to be found.
    if let Some(Err(error)) = ledger.filter(|_| left == 0).map(|ledger| ledger.remove()) {
        tracing::warn!(%error, "the ledger of this life could not be removed");
    }
}

/// Keeps the guard running, which the command could stop. Never resolves.
async fn keep_awake() {
    loop {
        sleep(WAKING).await;
        if let Some(held) = held() {
            held.guard.wake();
        }
    }
}

/// Writes down from time to time which processes there are, where only a guard holds them. Never resolves.
pub(crate) async fn keep_noting() {
    let layers = layers();
    if layers.namespace || layers.cgroup {
        return std::future::pending().await;
    }
    for pause in
        [Duration::from_millis(50), Duration::from_secs(1)].into_iter().chain(std::iter::repeat(NOTING))
    {
        sleep(pause).await;
        // A look at /proc and a small file.
        let _ = spawn_blocking(note).await;
    }
}

fn note() {
    if let Some(ledger) = LEDGER.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        let noted = ledger.note(command_tree().into_iter().filter_map(ProcessId::of));
        if let Err(error) = noted {
            tracing::debug!(%error, "the ledger was not brought up to date");
        }
    }
}

fn held() -> Option<Arc<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Starts the command, in a way that tells it apart from children that are not ours.
///
/// # Errors
/// Those of the system; nothing runs then.
pub(crate) async fn start(line: &CommandLine, log: Option<&TaskLog>) -> io::Result<Child> {
    if let Some(held) = held() {
        let mut start = line.held(log)?;
        if let Some(cgroup) = &held.cgroup {
            start.files.push(OwnedFd::from(cgroup.folder()?));
        }
        return held.guard.spawn(start).await.map(Child::Held);
    }
    let Some(ender) = ENDER.get() else { return Err(io::Error::other("nothing watches over it")) };
    let (child, process) = ender.subreaper().start(|| line.direct(log), tokio::process::Child::id)?;
    Ok(Child::Direct { child, process })
}

/// Ends the command and everything it started.
pub(crate) async fn end_tree_of(agent: &Agent, kill_after: Duration) {
    let life = agent.life();
    let tree = Tree { descent: Descent::Own, token: Some(token(life.id.as_str(), life.incarnation)) };
    let is_alone = match held() {
        Some(held) => {
            held.guard.wake();
            // One that was stopped again does not answer; then it is looked at from outside.
            timeout(ANSWER, held.guard.is_alone()).await.unwrap_or(false)
        }
        None => ENDER.get().is_some_and(Ender::is_alone),
    };
    let found = match ENDER.get() {
        _ if is_alone => Findings::NOTHING_LEFT,
        Some(ender) => ender.end(tree, kill_after).await,
        None => Findings::default(),
    };
    if let Some(held) = held().filter(|_| !is_alone) {
        // What could stop it has ended, and it has to wait for its children.
        held.guard.wake();
    }
    if !found.left.is_empty() {
        tracing::error!(agent = %life.id, pids = ?found.left, "left: processes of the command could not be ended");
    }
    let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match all.take() {
        Some(earlier) => earlier.and(found),
        None => found,
    };
    *all = Some(found);
}

/// Before the release, records what was proven of all processes that this life started, and names those that did not
/// end, and what became of the things that it owned.
pub(crate) async fn account(agent: &Agent, things: &Account) {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Without a command there was no process to end.
    let fate = found.map_or(Fate { process: ProcessFate::Dead, pids: Vec::new() }, |found| found.fate(false));
    agent.prove(fate.process);
    if fate.pids.is_empty() && things.is_empty() {
        return;
    }
    let (life, store) = (agent.life(), agent.store());
    let id = life.id.as_str();
    if let Err(error) = store.host(id).acknowledge_all(id, life.incarnation, &fate, things).await {
        tracing::warn!(pids = ?fate.pids, %things, %error, "the audit log will not know which processes of the command are still there, and what became of what it owned");
    }
}

/// Ends the processes that the command left running after it ended and was waited for.
pub(crate) async fn end_all(agent: &Agent, command: &Child, kill_after: Duration) {
    end_tree_of(agent, kill_after).await;
    if let (Some(ender), Child::Direct { process: Some(process), .. }) = (ENDER.get(), command) {
        ender.subreaper().forget(*process);
    }
}

/// The processes of the command's tree. This process and its guard are not among them: their few MB do not count in the
/// budget.
pub(crate) fn command_tree() -> Vec<u32> {
    ENDER.get().map(|ender| ender.subreaper().tree()).unwrap_or_default()
}
