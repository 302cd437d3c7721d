//! Sends signals to exactly the process that is meant.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::identity::ProcessId;

/// Sends a signal to a whole process group, as a terminal does. Only for a group whose leader is a child that has not
/// been waited for: another number may have been used again.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // The group may have ended by now.
        let _ = kill_process_group(pid, signal);
    }
}

/// Signals exactly this process, if it is still there and may be signalled.
pub fn signal_process(process: ProcessId, signal: Signal) {
    if let Some(handle) = handle(process) {
        send(&handle, signal);
    }
}

/// A handle on this very process. It is opened first and the start time is compared after that, so a pid that was used
/// again in between is never signalled. `None` when the process has ended.
pub(super) fn handle(process: ProcessId) -> Option<OwnedFd> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    (ProcessId::of(process.pid) == Some(process)).then_some(handle)
}

/// Signals the process of the handle.
pub(super) fn send(handle: &OwnedFd, signal: Signal) {
    // It may have ended since the look. A process that may not be signalled is reported as `left`.
    let _ = pidfd_send_signal(handle, signal);
}

/// Signals the process of the handle, and tells whether it may be: not so for another user's. One that has ended may.
pub(super) fn may_send(handle: &OwnedFd, signal: Signal) -> bool {
    pidfd_send_signal(handle, signal) != Err(Errno::PERM)
}
