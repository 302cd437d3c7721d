//! The command's process tree: how it is found, ended and waited for.
//!
//! The tree is all that descends from this process, except children that were there before (a shell that started them
//! became this program). Processes that a double fork gives away come back to us, because we are their subreaper. Where
//! the kernel does not allow that, the tree also includes every process with this life's token in its environment;
//! finding those costs a look at all processes of the machine.
//!
//! One case is not covered here: the death of this process by SIGKILL. Then the processes it leaves behind come to its
//! coordinator, which is a subreaper too.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agent_sdk::Agent;
use agent_sdk::process::{Descent, Ender, ProcessId, Subreaper, Tree, token};
use lifecycle_core::wire::process_fate::{Fate, Findings, ProcessFate};
use tokio::process::Child;

/// The ender of the tree; one per process, because children are too.
static ENDER: OnceLock<Ender> = OnceLock::new();
/// What was found at the end of all commands so far.
static FOUND: Mutex<Option<Findings>> = Mutex::new(None);

/// Makes orphaned descendants come to this process instead of init, and notes the children that are there already.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn begin() -> io::Result<()> {
    let ender = Ender::start(Subreaper::begin())?;
    ender.reap_from_now_on()?;
    // It is set already only if this was called twice.
    let _ = ENDER.set(ender);
    Ok(())
}

/// Starts the command, in a way that tells it apart from children that are not ours.
pub(crate) fn start<E>(spawn: impl FnOnce() -> Result<Child, E>) -> Result<(Child, Option<ProcessId>), E> {
    match ENDER.get() {
        Some(ender) => ender.subreaper().start(spawn, Child::id),
        None => spawn().map(|child| (child, None)),
    }
}

/// Ends the command and everything it started.
pub(crate) async fn end_tree_of(agent: &Agent, kill_after: Duration) {
    let life = agent.life();
    let tree = Tree { descent: Descent::Own, token: Some(token(life.id.as_str(), life.incarnation)) };
    let found = match ENDER.get() {
        Some(ender) if ender.is_alone() => Findings::NOTHING_LEFT,
        Some(ender) => ender.end(tree, kill_after).await,
        None => Findings::default(),
    };
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
/// end.
pub(crate) async fn account(agent: &Agent) {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Without a command there was no process to end.
    let fate = found.map_or(Fate { process: ProcessFate::Dead, pids: Vec::new() }, |found| found.fate(false));
    agent.prove(fate.process);
    if fate.pids.is_empty() {
        return;
    }
    let life = agent.life();
    let said =
        agent.store().host(life.id.as_str()).acknowledge(life.id.as_str(), life.incarnation, &fate).await;
    if let Err(error) = said {
        tracing::warn!(pids = ?fate.pids, %error, "the audit log will not know which processes of the command are still there");
    }
}

/// Ends the processes that the command left running after it ended and was waited for.
pub(crate) async fn end_all(agent: &Agent, command: Option<ProcessId>, kill_after: Duration) {
    end_tree_of(agent, kill_after).await;
    if let (Some(ender), Some(command)) = (ENDER.get(), command) {
        ender.subreaper().forget(command);
    }
}

/// The processes of the command's tree. This process is not among them: its few MB do not count in the budget.
pub(crate) fn command_tree() -> Vec<u32> {
    ENDER.get().map(|ender| ender.subreaper().tree()).unwrap_or_default()
}
