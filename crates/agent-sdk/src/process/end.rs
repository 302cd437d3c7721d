//! Ending processes: TERM, time to close files, KILL, and a look whether anybody is left.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use super::{ProcessId, Tree};

/// How often a tree that is ending is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// After KILL, how long the kernel may take to bury the processes.
const BURIAL: Duration = Duration::from_secs(5);

/// How a tree ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// Processes that were told to end.
    pub told: usize,
    /// Processes that had to be killed.
    pub killed: usize,
    /// Processes that are still there (stuck in the kernel, or another user's).
    pub left: usize,
}

/// Ends every process of the tree: TERM, `kill_after` to close files, then KILL, until nobody is left. New members
/// that appear meanwhile are ended too.
pub async fn end_tree(tree: &Tree, kill_after: Duration) -> Ended {
    let begun = Instant::now();
    let (mut told, mut killed) = (HashSet::new(), HashSet::new());
    loop {
        let members = tree.members();
        let elapsed = begun.elapsed();
        // A process that ends just then can hide its sisters from a look at the kernel's lists: look twice.
        let nobody = members.is_empty() && tree.members().is_empty();
        if nobody || elapsed > kill_after + BURIAL {
            return Ended { told: told.len(), killed: killed.len(), left: members.len() };
        }
        for process in members {
            if told.insert(process) {
                signal(process, Signal::TERM);
                // A stopped process does not see TERM before it runs again.
                signal(process, Signal::CONT);
            }
            if elapsed >= kill_after {
                signal(process, Signal::KILL);
                killed.insert(process);
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Sends a signal to a whole process group, as a terminal does. Only for a group whose leader is a child that has not
/// been waited for: any other number may be somebody else's by now.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // The group may have ended by now.
        let _ = kill_process_group(pid, signal);
    }
}

/// Signals this very process: the pidfd is taken first and the start time compared after, so a pid that was used
/// again in between is never hit.
fn signal(process: ProcessId, signal: Signal) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if ProcessId::of(process.pid) == Some(process) {
        // It may have ended between the look and the signal.
        let _ = pidfd_send_signal(&handle, signal);
    }
}
