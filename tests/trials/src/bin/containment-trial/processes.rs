//! What the host's /proc says of processes. No environment is read, because processes can change it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use lifecycle_tests::eventually::eventually;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Those who look after processes, and clients of the engine that start them in a container. Their arguments name the
/// command, and so its folder.
const ROLES: [&str; 4] = ["agent", "coordinator", "sweeper", "docker"];
const SOON: Duration = Duration::from_secs(10);

/// A process, which a later one with the same pid is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    start: u64,
}

/// The fields of /proc/PID/stat that are of use here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) id: ProcessId,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    is_zombie: bool,
}

/// A process with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) words: Vec<String>,
}

impl ProcessId {
    /// A handle of this very process; `None` if it has ended.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at again: the pid was its own when the handle was made.
        (stat(self.pid)?.id == self).then_some(fd)
    }

    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.id == self && !stat.is_zombie)
    }
}

impl Process {
    /// The name of the program as it was called. A daemon may have written its title into its first argument.
    pub(crate) fn name(&self) -> &str {
        let path = self.words.first().and_then(|word| word.split(' ').next()).unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn is_role(&self) -> bool {
        ROLES.contains(&self.name())
    }

    /// Whether it is `agent SUBCOMMAND` or the like.
    pub(crate) fn runs(&self, role: &str, subcommand: &str) -> bool {
        self.name() == role && self.words.get(1).is_some_and(|word| word == subcommand)
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.words.iter().any(|word| word.contains(text))
    }

    /// Whether it is marked by the folder: it works in it, or its arguments name it.
    fn is_in(&self, folder: &Path) -> bool {
        let works = fs::read_link(format!("/proc/{}/cwd", self.id.pid));
        works.is_ok_and(|works| works.starts_with(folder)) || self.says(&format!("{}/", folder.display()))
    }
}

/// All processes of the machine but zombies and threads of the kernel.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Those that are marked by the folder, roles or not.
pub(crate) fn marked(folder: &Path) -> Vec<Process> {
    all().into_iter().filter(|process| process.is_in(folder)).collect()
}

/// Kills what `chosen` finds until it finds nothing any more.
pub(crate) fn end_all(what: &str, mut chosen: impl FnMut() -> Vec<Process>) -> Result<()> {
    eventually(SOON, what, || {
        let found = chosen();
        for fd in found.iter().filter_map(|process| process.id.open()) {
            // It may have ended by now.
            let _ = pidfd_send_signal(fd, Signal::KILL);
        }
        Ok(found.is_empty().then_some(()))
    })
}

pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let start = fields.get(19)?.parse().ok()?;
    Some(Stat {
        id: ProcessId { pid, start },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn read(pid: i32) -> Option<Process> {
    let id = stat(pid)?.id;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&line);
    let words: Vec<String> = text.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    (!words.is_empty()).then_some(Process { id, words })
}
