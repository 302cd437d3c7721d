//! What other agents' programs left on this host: nobody's children any more, without a terminal.
//!
//! Nothing marks them as left but that, and a name. So they are shown to a person, and each is ended only if that person
//! names it.

use std::fs;
use std::time::Duration;

use lifecycle_core::agent::stranger::recognise;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::identity::ProcessId;
use super::leftovers::{age, command_of, is_adopter, own_line, resident_of, user_name, user_of, words_of};
use super::memory_use::tree_of;
use super::runtime_folder::own_user;
use super::signal::{handle, may_send};
use super::tree::{Kinship, token_of};

/// How long after KILL the kernel may take to end a process.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A process that another agent's program left, or that seems so.
#[derive(Debug, Clone)]
pub struct Stranger {
    /// The process.
    pub process: ProcessId,
    /// Which program it is of, or `mcp` for a server of tools.
    pub kind: &'static str,
    /// The user whose process it is.
    pub uid: u32,
    /// That user's name, if this host knows it.
    pub user: Option<String>,
    /// How long it has run.
    pub age: Option<Duration>,
    /// Resident memory of it and of all that is below it, in bytes.
    pub rss: u64,
    /// The words of its command, as they are; shortened.
    pub command: String,
}

/// Those of this user; for root, of everybody.
#[must_use]
pub fn strangers() -> Vec<Stranger> {
    let machine = Kinship::of_all();
    let mut found: Vec<Stranger> =
        machine.everybody().filter_map(|process| stranger(process, &machine)).collect();
    found.sort_by_key(|stranger| stranger.process);
    found
}

fn stranger(process: ProcessId, machine: &Kinship) -> Option<Stranger> {
    let parent = machine.stat(process.pid)?.parent;
    let uid = user_of(process.pid)?;
    let is_left = is_adopter(parent) && !has_terminal(process.pid)?;
    let is_ours = own_user() == 0 || own_user() == uid;
    // What carries a token of ours is no stranger. Who asks may itself run without a terminal.
    if !is_left || !is_ours || token_of(process.pid).is_some() || own_line().contains(&process.pid) {
        return None;
    }
    let kind = recognise(&words_of(process.pid))?;
    Some(Stranger {
        kind,
        uid,
        user: user_name(uid),
        age: age(process),
        rss: tree_of(process.pid).into_iter().filter_map(ProcessId::of).map(resident_of).sum(),
        command: command_of(process.pid),
        process,
    })
}

/// Ends this very process: TERM, KILL after `kill_after`. What is below it is not told; a program ends its own. Returns
/// whether it is gone. Blocks.
#[must_use]
pub fn end_stranger(process: ProcessId, kill_after: Duration) -> bool {
    let Some(taken) = handle(process) else { return !process.is_alive() };
    for (signal, patience) in [(Signal::TERM, kill_after), (Signal::KILL, KILL_PATIENCE)] {
        if !may_send(&taken, signal) {
            return false;
        }
        let _ = may_send(&taken, Signal::CONT);
        let patience = Timespec::try_from(patience).ok();
        // Readable once it has ended.
        let _ = poll(&mut [PollFd::new(&taken, PollFlags::IN)], patience.as_ref());
        if !process.is_alive() {
            return true;
        }
    }
    false
}

/// proc(5): `state ppid pgrp session tty_nr`; 0 for none.
fn has_terminal(pid: u32) -> Option<bool> {
    let stat = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    let terminal: i64 = stat.rsplit_once(") ")?.1.split(' ').nth(4)?.parse().ok()?;
    Some(terminal != 0)
}
