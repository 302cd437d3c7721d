//! Waits for the end of a tree, from outside: by the pidfd of each process, and with a look for new ones.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};

use crate::processes::{Process, ProcessId};
use crate::tree::{Tree, is_command, kind};

/// Time between two looks for new processes. Ends are noticed at once.
const LOOKS: Duration = Duration::from_millis(25);
/// So many looks in a row have to find nothing: a process that forks may be missed by one.
const CLEAN_LOOKS: u32 = 2;

/// The processes of one tree.
pub(crate) struct Watch<'a> {
    tree: &'a Tree,
    alive: Vec<Watched>,
    known: HashSet<ProcessId>,
    last_gone: Option<Instant>,
    last_seen: Option<Seen>,
}

struct Watched {
    process: Process,
    fd: OwnedFd,
}

/// When a process was certainly still alive.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: SystemTime,
    pub(crate) who: String,
}

/// How a watch ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// Those of the seven that are still there.
    pub(crate) kinds: BTreeSet<&'static str>,
    /// How many others are, such as what those have started.
    pub(crate) others: usize,
    /// From the blow until the last one was gone.
    pub(crate) took: Option<Duration>,
    pub(crate) last_seen: Option<Seen>,
}

impl End {
    pub(crate) fn is_clean(&self) -> bool {
        self.kinds.is_empty() && self.others == 0
    }
}

impl<'a> Watch<'a> {
    /// Notes who is there before the blow.
    pub(crate) fn begin(tree: &'a Tree) -> Self {
        let mut watch =
            Self { tree, alive: Vec::new(), known: HashSet::new(), last_gone: None, last_seen: None };
        watch.add(tree.processes());
        watch
    }

    /// Waits until nothing of the tree is left, or until the bound is over.
    ///
    /// # Errors
    /// When the system does not say who has ended.
    pub(crate) fn until_gone(mut self, struck: Instant, bound: Duration) -> Result<End> {
        let mut clean = 0;
        while clean < CLEAN_LOOKS && struck.elapsed() < bound {
            self.wait_for_ends(Instant::now() + LOOKS)?;
            self.look();
            clean = if self.alive.is_empty() { clean + 1 } else { 0 };
        }
        let kinds: BTreeSet<_> = self.alive.iter().filter_map(|watched| kind(&watched.process)).collect();
        Ok(End {
            others: self.alive.iter().filter(|watched| kind(&watched.process).is_none()).count(),
            kinds,
            took: self.last_gone.map(|gone| gone.saturating_duration_since(struck)),
            last_seen: self.last_seen,
        })
    }

    /// Adds processes that are new. A command that begins now is another life's, which finds the tree begun and ends.
    fn look(&mut self) {
        let mut found = self.tree.processes();
        found.retain(|process| !is_command(process));
        self.add(found);
    }

    fn add(&mut self, found: Vec<Process>) {
        for process in found {
            // Known ones are watched, or have ended in this moment.
            if self.known.contains(&process.id) {
                continue;
            }
            if let Some(fd) = process.id.open() {
                self.known.insert(process.id);
                self.alive.push(Watched { process, fd });
            }
        }
    }

    /// Takes in who ends until then; returns at once when nobody is left.
    fn wait_for_ends(&mut self, until: Instant) -> Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.alive.is_empty() {
                std::thread::sleep(left);
                return Ok(());
            }
            let now = SystemTime::now();
            let mut fds: Vec<_> =
                self.alive.iter().map(|watched| PollFd::new(&watched.fd, PollFlags::IN)).collect();
            poll(&mut fds, Some(&left.try_into()?))?;
            let mut ended = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
            if ended.clone().any(|ended| ended) {
                self.last_gone = Some(Instant::now());
            }
            self.alive.retain(|_| !ended.next().unwrap_or(false));
            // Who has not ended by the end of the poll was alive when it began.
            let named = self.alive.iter().find(|watched| kind(&watched.process).is_some());
            if let Some(watched) = named.or(self.alive.first()) {
                self.last_seen = Some(Seen { at: now, who: watched.name() });
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }
}

impl Watched {
    fn name(&self) -> String {
        let pid = self.process.id.pid;
        kind(&self.process).map_or_else(|| format!("process {pid}"), |kind| format!("{kind} ({pid})"))
    }
}
