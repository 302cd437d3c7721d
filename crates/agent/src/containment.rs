//! The command's process tree: found, ended, buried.
//!
//! The tree is everything that descends from this process. What a double fork gives away comes back to us, because we
//! are its subreaper. Where the kernel does not let us be that, the tree is also whoever carries this life's token in its
//! environment, wherever it went; finding those costs a look at every process of the machine.
//!
//! What is not held here is the death of this very process by SIGKILL: then the coordinator on this host finds the tree
//! by its token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_sdk::Agent;
use agent_sdk::process::{Ended, TOKEN_VARIABLE, Tree, descendants_of, end_tree, token};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

/// Whether orphaned descendants come back to us.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes orphaned descendants come back to this process instead of going to init.
pub(crate) fn adopt_orphans() {
    let adopted = set_child_subreaper(Some(getpid()));
    ADOPTS.store(adopted.is_ok(), Ordering::Relaxed);
    if let Err(error) = adopted {
        tracing::warn!(%error, variable = TOKEN_VARIABLE, "cannot adopt orphaned processes; finding them by their environment only");
    }
}

/// Ends everything the command started, itself included. What was adopted stays to be buried.
pub(crate) async fn end_tree_of(agent: &Agent, kill_after: Duration) -> Ended {
    let life = agent.life();
    let mark = (!ADOPTS.load(Ordering::Relaxed)).then(|| token(life.id.as_str(), life.incarnation));
    let tree = Tree { supervisor: Some(std::process::id()), token: mark };
    let ended = end_tree(&tree, kill_after).await;
    if ended.left > 0 {
        tracing::error!(agent = %life.id, left = ended.left, "processes of the command could not be ended");
    }
    ended
}

/// Ends whatever the command left running after it ended itself, and buries all of it.
pub(crate) async fn end_all(agent: &Agent, kill_after: Duration) {
    end_tree_of(agent, kill_after).await;
    bury();
}

/// The processes of the command's tree: all but ourselves, whose few MB are no part of its budget.
pub(crate) fn command_tree() -> Vec<u32> {
    descendants_of(std::process::id())
}

/// Adopted processes stay zombies until somebody waits for them. Only called when no child of our own is running, so
/// nobody else's exit status is taken.
fn bury() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
