//! Tells processes apart: by pid and start time, by the place where pids mean something, and by the token of a life.

use std::fs;
use std::sync::OnceLock;

use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::record::AgentRecord;
use serde::{Deserialize, Serialize};

/// Environment variable with the [`token`] of a life, which every process of an agent's command inherits. It finds
/// processes that left their parent, their session and their process group.
pub const TOKEN_VARIABLE: &str = "LIFECYCLE_TOKEN";

/// The mark of the processes of one life: `<id>:<incarnation>`.
#[must_use]
pub fn token(id: &str, incarnation: Incarnation) -> String {
    format!("{id}:{incarnation}")
}

/// One process. Unlike a pid alone, this is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Stat::read(pid)?.process(pid))
    }

    /// This process.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Whether somebody has stopped it, so that it does nothing until it is told to go on.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start == self.start && stat.is_stopped)
    }

    /// Whether it still runs. A zombie does not: it has ended and only waits to be noticed.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start == self.start && !stat.is_zombie)
    }
}

/// Where a pid means something: this boot of this machine, and this PID namespace. `None` where that cannot be told.
#[must_use]
pub fn place() -> Option<String> {
    // It never changes, and is asked for often. What could not be told may be told later.
    static PLACE: OnceLock<String> = OnceLock::new();
    if PLACE.get().is_none() {
        let _ = PLACE.set(read_place()?);
    }
    PLACE.get().cloned()
}

fn read_place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// Whether the process that a registration names is *proven* to have ended: it was of this very place, and is not there
/// any more. `false` if that cannot be told.
#[must_use]
pub fn is_proven_gone(record: &AgentRecord) -> bool {
    let (Some(pid), Some(start), Some(theirs)) = (record.pid, record.pid_start, &record.place) else {
        return false;
    };
    place().as_ref() == Some(theirs) && !ProcessId { pid, start }.is_alive()
}

/// The process that a registration names, if it is of this very place and runs.
#[must_use]
pub fn process_here(record: &AgentRecord) -> Option<ProcessId> {
    let (pid, start, theirs) = (record.pid?, record.pid_start?, record.place.as_ref()?);
    let process = ProcessId { pid, start };
    (place().as_ref() == Some(theirs) && process.is_alive()).then_some(process)
}

/// The fields of `/proc/<pid>/stat` that are used here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    pub(crate) start: u64,
    pub(crate) is_zombie: bool,
    pub(crate) is_stopped: bool,
    /// Its first thread has ended; others may run on.
    pub(crate) first_ended: bool,
}

impl Stat {
    pub(crate) fn read(pid: u32) -> Option<Self> {
        // Read as bytes: the kernel cuts a command's name to 15 bytes, possibly within a letter. Read as a string, such
        // a living process could not be read, and counted as ended; its agent could be reaped.
        Self::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    pub(crate) fn process(&self, pid: u32) -> ProcessId {
        ProcessId { pid, start: self.start }
    }

    /// proc(5): `pid (comm) state ppid … num_threads itrealvalue starttime`; comm may hold spaces and parentheses.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let threads: u32 = fields.nth(15)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        // A process whose first thread has ended shows as a zombie while its other threads run on.
        let first_ended = matches!(state, "Z" | "X");
        let is_stopped = matches!(state, "T" | "t");
        Some(Self { parent, start, is_zombie: first_ended && threads <= 1, is_stopped, first_ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_confuse_the_reader() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.start, stat.is_zombie, stat.is_stopped), (7, 98_765, false, false));
        assert!(Stat::parse(&line.replace(") S", ") T")).unwrap().is_stopped);
        let zombie = |threads: &str| {
            Stat::parse(&line.replace(") S", ") Z").replace("20 0 1 0", &format!("20 0 {threads} 0")))
        };
        assert_eq!([zombie("1"), zombie("3")].map(|stat| stat.unwrap().is_zombie), [true, false]);
        assert!(Stat::parse("42 (x").is_none());
    }

    #[test]
    fn a_name_that_the_kernel_cut_within_a_letter_makes_nobody_dead() {
        let named = std::thread::spawn(|| {
            let own = fs::read_link("/proc/thread-self").unwrap();
            let tid = own.file_name().unwrap().to_str().unwrap().parse().unwrap();
            fs::write("/proc/thread-self/comm", "abcdefghijklmn\u{e9}").unwrap();
            Stat::read(tid).is_some()
        });
        assert!(named.join().unwrap());
    }

    #[test]
    fn this_process_is_alive_and_one_with_its_pid_and_another_start_is_not() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start: own.start + 1, ..own }.is_alive());
    }
}
