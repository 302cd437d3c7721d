//! The end: whatever is left of the command is told to end, given a moment, and killed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agent_sdk::process::{has_no_child, living_below, remove_ledger, signal_process};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitOptions, wait};

use super::Hold;
use super::init::short;

/// How long a command has between TERM and KILL once its supervisor is gone. Nobody records any more what it does.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(50);
/// Pause between two looks at what is still there.
const LOOK: Duration = Duration::from_millis(5);
/// How long the kernel may take to end what was killed. What is left then, it cannot end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Hold {
    /// Ends all that was started here. Afterwards nothing is left, unless the kernel cannot end it.
    pub(super) fn end_everything(&mut self) {
        self.wait_for_exits();
        if !self.is_alone() {
            self.terminate();
            self.wait(LAST_WORDS);
        }
        let until = Instant::now() + KILL_PATIENCE;
        if let Some(init) = &self.init {
            init.kill();
        }
        while !self.is_over_for_good() && Instant::now() < until {
            self.kill();
            self.wait_a_moment();
        }
        if let Some(cgroup) = &self.cgroup {
            remove(cgroup);
        }
        if let Some(ledger) = self.ledger.as_ref().filter(|_| self.is_over_for_good()) {
            // No process is left of those that it tells of. Its supervisor may have removed it.
            let _ = remove_ledger(ledger);
        }
    }

    fn terminate(&self) {
        if let Some(init) = &self.init {
            return init.terminate_others();
        }
        for process in living_below(std::process::id()) {
            signal_process(process, Signal::TERM);
            // A stopped process sees no TERM before it runs again.
            signal_process(process, Signal::CONT);
        }
    }

    fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        }
        if self.init.is_none() {
            living_below(std::process::id())
                .into_iter()
                .for_each(|process| signal_process(process, Signal::KILL));
        }
    }

    /// The namespace's first process can be waited for once all others of it are gone.
    fn is_over_for_good(&self) -> bool {
        has_no_child() && self.cgroup.as_deref().is_none_or(is_empty)
    }

    /// Waits until all is over, for so long at most.
    fn wait(&mut self, most: Duration) {
        let until = Instant::now() + most;
        while !self.is_alone() && Instant::now() < until {
            self.wait_a_moment();
        }
    }

    fn wait_a_moment(&mut self) {
        let _ = poll(&mut [PollFd::new(&self.exits, PollFlags::IN)], Some(&short(LOOK)));
        self.wait_for_exits();
    }

    fn wait_for_exits(&mut self) {
        self.exits.clear();
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            self.commands.remove(&pid.as_raw_nonzero().get());
            if self.init.as_ref().is_some_and(|init| init.pid() == pid) {
                self.init = None;
            }
        }
    }
}

/// cgroups(7): `populated 0` says that no process is in it or below it. One that is gone has none either.
fn is_empty(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events")).map_or(true, |events| events.contains("populated 0"))
}

/// Removes it with the groups that the command has made below it.
fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // It may have been removed by the supervisor; one that is not empty stays, and is in the ledger.
    let _ = fs::remove_dir(cgroup);
}
