//! Ends exactly what was listed, and what it starts meanwhile: TERM, time to close files, KILL, until it is gone.
//!
//! Unlike the ender's trees, these processes are nobody's children here. So each is known by pid and start time alone,
//! and what it starts is found below it as long as it lives, and by the marks of its life after that.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::super::identity::ProcessId;
use super::super::ledger::ledgers;
use super::super::signal::{handle, may_send};
use super::machine::{Bounds, Machine};
use super::{Leftover, LifeName, cgroup};

/// How long after KILL the kernel may take to end a process before it counts as left.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How many looks in a row must find nothing: a process that ends during a look can hide another.
const LOOKS: u8 = 2;
/// Pause where no exit can be waited for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(3);
/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Most exits that are waited for at once, because each takes a file descriptor.
const MOST_HANDLES: usize = 256;

/// A process that was told to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The life that it was of.
    pub life: LifeName,
    /// The process.
    pub process: ProcessId,
    /// Whether it is gone. If not, it is stuck in the kernel, or another user's.
    pub is_gone: bool,
}

/// Ends these processes, and what they start meanwhile. TERM first, KILL after `kill_after`. Returns when they are gone,
/// or can be seen not to go. Blocks.
#[must_use]
pub fn end(leftovers: &[Leftover], kill_after: Duration) -> Vec<Told> {
    let mut ending = Ending::of(leftovers, kill_after);
    let mut quiet = 0;
    while !ending.is_hopeless() && quiet < LOOKS {
        // A look comes first: what is below a process is not found any more once it has ended.
        let found = ending.look();
        ending.signal();
        quiet = if found || ending.has_living() { 0 } else { quiet + 1 };
        if quiet == 0 {
            ending.wait();
        }
    }
    ending.outcome()
}

#[derive(Debug)]
struct Ending {
    targets: HashMap<ProcessId, Target>,
    lives: HashMap<LifeName, Life>,
    kill_at: Instant,
}

#[derive(Debug)]
struct Target {
    life: LifeName,
    handle: Option<OwnedFd>,
    is_told: bool,
    is_killed: bool,
    may_be_told: bool,
}

#[derive(Debug)]
struct Life {
    /// When the oldest of its listed processes started: what they start is not older.
    since: u64,
    cgroup: Option<PathBuf>,
}

impl Ending {
    fn of(leftovers: &[Leftover], kill_after: Duration) -> Self {
        let mut ending = Self {
            targets: HashMap::new(),
            lives: HashMap::new(),
            kill_at: Instant::now() + kill_after.min(Duration::from_secs(86_400)),
        };
        for leftover in leftovers {
            let cgroup = leftover.ledger.as_ref().and_then(|ledger| ledger.cgroup.clone());
            let life = Life { since: leftover.process.start, cgroup };
            let life = ending.lives.entry(leftover.life.clone()).or_insert(life);
            life.since = life.since.min(leftover.process.start);
            ending.add(leftover.process, &leftover.life);
        }
        ending
    }

    fn add(&mut self, process: ProcessId, life: &LifeName) -> bool {
        let is_new = !self.targets.contains_key(&process);
        if is_new {
            let life = life.clone();
            let target = Target { life, handle: None, is_told: false, is_killed: false, may_be_told: true };
            self.targets.insert(process, target);
        }
        is_new
    }

    /// Adds what the targets have started. Returns whether there is anything.
    fn look(&mut self) -> bool {
        let mut machine = Machine::look();
        let bounds = Bounds::of(&ledgers());
        let mut found = Vec::new();
        for (process, target) in &self.targets {
            if process.is_alive() {
                let below = machine.below(*process, &target.life, &bounds);
                found.extend(below.into_iter().map(|below| (below, target.life.clone())));
            }
        }
        for (life, known) in &self.lives {
            let members =
                known.cgroup.iter().flat_map(|path| cgroup::members(path)).filter_map(ProcessId::of);
            let marked: HashSet<ProcessId> = machine.carriers(life).into_iter().chain(members).collect();
            let inner = bounds.inner(&marked);
            let is_started = |process: &ProcessId| {
                process.start >= known.since && !machine.is_at_or_below(*process, &inner)
            };
            found.extend(marked.into_iter().filter(is_started).map(|process| (process, life.clone())));
        }
        let is_one = |process: ProcessId, life: &LifeName| {
            bounds.is_of(process, life, machine.token(process))
                && !bounds.spares(process)
                && process.is_alive()
        };
        found.retain(|(process, life)| is_one(*process, life));
        found.into_iter().fold(false, |any, (process, life)| self.add(process, &life) | any)
    }

    /// Sends the signals that are due.
    fn signal(&mut self) {
        let kills = Instant::now() >= self.kill_at;
        if kills {
            let all: HashSet<ProcessId> = self.targets.keys().copied().collect();
            self.lives.values().flat_map(|life| &life.cgroup).for_each(|path| cgroup::kill(path, &all));
        }
        let mut handles = self.targets.values().filter(|target| target.handle.is_some()).count();
        for (process, target) in &mut self.targets {
            let is_due = !target.is_told || (kills && !target.is_killed);
            let taken = target.handle.take();
            handles -= usize::from(taken.is_some());
            if !process.is_alive() {
                continue;
            }
            let Some(taken) = taken.or_else(|| is_due.then(|| handle(*process)).flatten()) else { continue };
            if is_due {
                target.may_be_told = tell(&taken, kills);
                target.is_told = true;
                target.is_killed = kills;
            }
            if handles < MOST_HANDLES {
                handles += 1;
                target.handle = Some(taken);
            }
        }
    }

    fn has_living(&self) -> bool {
        self.targets.keys().any(|process| process.is_alive())
    }

    /// Whether what still lives will not go: it may not be told, or KILL did not end it.
    fn is_hopeless(&self) -> bool {
        let mut living = self.targets.iter().filter(|(process, _)| process.is_alive()).peekable();
        let is_late = Instant::now() >= self.kill_at + KILL_PATIENCE;
        living.peek().is_some() && living.all(|(_, target)| is_late || !target.may_be_told)
    }

    /// Waits for an exit, or for a while.
    fn wait(&self) {
        let handles = self.targets.values().filter_map(|target| target.handle.as_ref());
        let mut watched: Vec<PollFd<'_>> = handles.map(|handle| PollFd::new(handle, PollFlags::IN)).collect();
        let until_kill = self.kill_at.saturating_duration_since(Instant::now());
        let pause = if until_kill.is_zero() { LONGEST_PAUSE } else { until_kill.min(LONGEST_PAUSE) };
        match Timespec::try_from(pause) {
            // Interrupted or not, a look follows.
            Ok(pause) if !watched.is_empty() => {
                let _ = poll(&mut watched, Some(&pause));
            }
            _ => thread::sleep(SHORTEST_PAUSE),
        }
    }

    fn outcome(self) -> Vec<Told> {
        let told = self.targets.into_iter();
        let told =
            told.map(|(process, target)| Told { life: target.life, process, is_gone: !process.is_alive() });
        let mut told: Vec<Told> = told.collect();
        told.sort_by(|one, other| (&one.life, one.process).cmp(&(&other.life, other.process)));
        told
    }
}

fn tell(process: &OwnedFd, kills: bool) -> bool {
    if kills {
        return may_send(process, Signal::KILL);
    }
    // A stopped process does not see TERM before it runs again.
    may_send(process, Signal::TERM) && may_send(process, Signal::CONT)
}
