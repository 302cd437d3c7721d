//! The command's process tree: found, ended, waited for.
//!
//! The tree is everything that descends from this process, but for children that were there before (a shell that started
//! them became this program). What a double fork gives away comes back to us, because we are its subreaper. Where the
//! kernel does not let us be that, the tree is also whoever carries this life's token in its environment, wherever it went;
//! finding those costs a look at every process of the machine.
//!
//! What is not held here is the death of this very process by SIGKILL: then what it leaves behind comes to its coordinator,
//! which is a subreaper too.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agent_sdk::Agent;
use agent_sdk::process::{Descent, Ender, ProcessId, Subreaper, Tree, token};
use lifecycle_core::wire::process_fate::{Fate, Findings, ProcessFate};
use tokio::process::Child;

/// Holds the tree; one for this process, as its children are.
static ENDER: OnceLock<Ender> = OnceLock::new();
/// What was found after all commands so far.
static FOUND: Mutex<Option<Findings>> = Mutex::new(None);

/// Makes orphaned descendants come back to this process instead of going to init, and notes who is there already.
///
/// # Errors
/// When the system refuses a thread.
pub(crate) fn begin() -> io::Result<()> {
    let ender = Ender::start(Subreaper::begin())?;
    ender.reap_from_now_on()?;
    // There is one already only if this was called twice.
    let _ = ENDER.set(ender);
    Ok(())
}

/// Starts the command, so that it is told apart from children that are not ours.
pub(crate) fn start<E>(spawn: impl FnOnce() -> Result<Child, E>) -> Result<(Child, Option<ProcessId>), E> {
    match ENDER.get() {
        Some(ender) => ender.subreaper().start(spawn, Child::id),
        None => spawn().map(|child| (child, None)),
    }
}

/// Ends everything the command started, itself included.
pub(crate) async fn end_tree_of(agent: &Agent, kill_after: Duration) {
    let life = agent.life();
    let tree = Tree { descent: Descent::Own, token: Some(token(life.id.as_str(), life.incarnation)) };
    let found = match ENDER.get() {
        Some(ender) => ender.end(tree, kill_after).await,
        None => Findings::default(),
    };
    if !found.left.is_empty() {
        tracing::error!(agent = %life.id, pids = ?found.left, "processes of the command could not be ended");
    }
    let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match all.take() {
        Some(earlier) => earlier.and(found),
        None => found,
    };
    *all = Some(found);
}

/// Tells what was proven of all that this life started, before it is released; with the processes that would not go.
pub(crate) async fn account(agent: &Agent) {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Without a command there was nothing to end.
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

/// Ends whatever the command left running after it ended itself and was waited for.
pub(crate) async fn end_all(agent: &Agent, command: Option<ProcessId>, kill_after: Duration) {
    end_tree_of(agent, kill_after).await;
    if let (Some(ender), Some(command)) = (ENDER.get(), command) {
        ender.subreaper().forget(command);
    }
}

/// The processes of the command's tree: all but ourselves, whose few MB are no part of its budget.
pub(crate) fn command_tree() -> Vec<u32> {
    ENDER.get().map(|ender| ender.subreaper().tree()).unwrap_or_default()
}
