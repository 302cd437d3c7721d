//! Ends process trees, all from one thread: TERM, time to close files, KILL, and a look whether any process is left.
//!
//! ```text
//!            ┌──────────────── one look for all trees ────────────────┐
//!            │  children of this process, and what is below them      │
//!   end ───▶ │  every process and its token, once nobody else is left │ ──▶ signals ──▶ findings
//!            └───── an exit (pidfd), a new tree, or a pause ◀─────────┘
//! ```
//!
//! Looking reads `/proc`, which may take long, so its thread has nothing else to do. Sixty supervisors that die at once
//! are sixty trees and one look. Looks wait for exits, and pause longer the less happens.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use lifecycle_core::wire::process_fate::Findings;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::endings::{Due, Endings, Owner, Seen};
use super::identity::ProcessId;
use super::signal::{handle, send};
use super::subreaper::Subreaper;
use super::tree::Tree;
use super::tree::{Kinship, token_of};

/// Shortest pause between two looks. Exits within it are handled by one look.
const SHORTEST_PAUSE: Duration = Duration::from_millis(3);
/// Longest pause while nothing happens. A process that starts others without an end is noticed after that time.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Looking may take one part in this many of a processor. On a busy machine a look takes longer than its own work, so
/// the pause for this reason is at most [`LONGEST_REST`].
const SHARE: u32 = 4;
const LONGEST_REST: Duration = Duration::from_millis(250);
/// Most exits that are waited for at once, because each takes a file descriptor. Looks notice the others.
const MOST_HANDLES: usize = 256;

/// Ends process trees that descend from this process. Clones share one thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Ender {
    subreaper: Subreaper,
    wakes: Arc<Wakes>,
}

/// Wakes the thread. Dropping the last clone tells it to end.
#[derive(Debug)]
struct Wakes(Arc<Inbox>);

#[derive(Debug)]
struct Inbox {
    wake: OwnedFd,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    trees: Vec<(Tree, Duration, oneshot::Sender<Findings>)>,
    reap: bool,
    closed: bool,
}

impl Ender {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread or no file descriptor left.
    pub fn start(subreaper: Subreaper) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inbox = Arc::new(Inbox { wake, asked: Mutex::default() });
        let worker = Worker {
            inbox: inbox.clone(),
            subreaper: subreaper.clone(),
            endings: Endings::default(),
            handles: HashMap::new(),
            pause: SHORTEST_PAUSE,
            scan_at: Instant::now(),
        };
        thread::Builder::new().name("ender".into()).spawn(move || worker.run())?;
        Ok(Self { subreaper, wakes: Arc::new(Wakes(inbox)) })
    }

    /// The children of this process that the ender knows of.
    #[must_use]
    pub fn subreaper(&self) -> &Subreaper {
        &self.subreaper
    }

    /// Ends every process of the tree: TERM, then `kill_after` to close files, then KILL, until no process is left or
    /// the kernel does not end the rest. Members that appear meanwhile are ended too. Returns what was found.
    pub async fn end(&self, tree: Tree, kill_after: Duration) -> Findings {
        let (reply, found) = oneshot::channel();
        self.wakes.0.ask(|asked| asked.trees.push((tree, kill_after, reply)));
        // Without an answer, nothing was looked at.
        found.await.unwrap_or_default()
    }

    /// Whether this process has no child at all, of any kind, dead or alive: then nothing descends from it, because what
    /// loses its parent comes here. One call proves that; a look at `/proc` takes many. `false` where orphans do not come
    /// here.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.subreaper.adopts() && has_no_child()
    }

    /// From now on, adopted children are waited for whenever they end, so that none stays a zombie.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub fn reap_from_now_on(&self) -> io::Result<()> {
        let mut exits = signal(SignalKind::child())?;
        let ender = self.clone();
        tokio::spawn(async move {
            while exits.recv().await.is_some() {
                ender.wakes.0.ask(|asked| asked.reap = true);
            }
        });
        Ok(())
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.ask(|asked| asked.closed = true);
    }
}

impl Inbox {
    fn ask(&self, ask: impl FnOnce(&mut Asked)) {
        ask(&mut self.asked());
        // This fails only if more wake-ups are pending than fit in 64 bits.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// What was asked since the last time; `closed` stays set.
    fn take(&self) -> Asked {
        // Fails if there was no wake-up, which does no harm.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut asked = self.asked();
        let closed = asked.closed;
        std::mem::replace(&mut *asked, Asked { closed, ..Asked::default() })
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process has no child of any kind, dead or alive. waitid(2): `ECHILD` where there is nothing that could be waited
/// for.
#[must_use]
pub fn has_no_child() -> bool {
    let without_waiting = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Children that tell of their end by another signal than SIGCHLD count too.
    let all_kinds = WaitIdOptions::from_bits_retain(0x4000_0000);
    waitid(WaitId::All, without_waiting | all_kinds).is_err_and(|error| error == Errno::CHILD)
}

/// The thread's state.
struct Worker {
    inbox: Arc<Inbox>,
    subreaper: Subreaper,
    endings: Endings<oneshot::Sender<Findings>>,
    /// Handles of processes that were told to end.
    handles: HashMap<ProcessId, OwnedFd>,
    pause: Duration,
    /// When all processes of the machine may be looked at again.
    scan_at: Instant,
}

impl Worker {
    fn run(mut self) {
        loop {
            let asked = self.inbox.take();
            if !asked.trees.is_empty() {
                self.pause = SHORTEST_PAUSE;
            }
            for (tree, kill_after, reply) in asked.trees {
                self.endings.begin(tree, kill_after, self.subreaper.adopts(), Instant::now(), reply);
            }
            if !self.endings.is_idle() {
                self.round();
            } else if asked.closed {
                return;
            } else {
                if asked.reap && !has_no_child() {
                    self.subreaper.reap();
                }
                self.wait(None);
            }
        }
    }

    /// Looks until nothing has to be confirmed, sends the signals that are due, and waits.
    fn round(&mut self) {
        let begun = Instant::now();
        let scans = self.endings.wants_scan() && begun >= self.scan_at;
        let mut happened = self.step(scans);
        while self.endings.is_to_confirm(false) || (scans && self.endings.is_to_confirm(true)) {
            happened |= self.step(scans);
        }
        if self.endings.is_idle() {
            return;
        }
        let cost = begun.elapsed();
        if scans {
            self.scan_at = Instant::now() + (cost * SHARE).min(LONGEST_REST);
        }
        self.pause = if happened { SHORTEST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        // However large the machine is, looking leaves most of a processor to others.
        thread::sleep((cost * (SHARE - 1)).clamp(SHORTEST_PAUSE, LONGEST_REST));
        let now = Instant::now();
        let scan = self.endings.wants_scan().then(|| self.scan_at.saturating_duration_since(now));
        let pauses = [Some(self.pause), self.endings.next_due(now), scan];
        self.wait(pauses.into_iter().flatten().min());
    }

    /// One look, and the signals that are due after it. Returns whether anything happened.
    fn step(&mut self, scans: bool) -> bool {
        let seen = self.note_members(scans);
        let subreaper = &self.subreaper;
        self.endings.ask(ProcessId::is_alive, |supervisor| subreaper.expects(supervisor));
        let endings = &self.endings;
        let told = self.handles.len();
        self.handles.retain(|process, _| endings.owners(*process).is_some() && process.is_alive());
        let mut happened = self.handles.len() < told;
        let now = Instant::now();
        for (process, due) in self.endings.due(now) {
            happened = true;
            self.signal(process, due);
        }
        for (reply, owner, findings) in self.endings.finish(&seen, now) {
            happened = true;
            if let Owner::Supervisor(supervisor) = owner {
                self.subreaper.forget(supervisor);
            }
            // The caller may have gone.
            let _ = reply.send(findings);
        }
        happened
    }

    fn signal(&mut self, process: ProcessId, due: Due) {
        let taken = self.handles.remove(&process).or_else(|| handle(process));
        let Some(taken) = taken else { return };
        match due {
            Due::Term => {
                send(&taken, Signal::TERM);
                // A stopped process does not see TERM before it runs again.
                send(&taken, Signal::CONT);
            }
            Due::Kill => send(&taken, Signal::KILL),
        }
        if self.handles.len() < MOST_HANDLES {
            self.handles.insert(process, taken);
        }
    }

    /// Notes every process that belongs to a tree.
    fn note_members(&mut self, scans: bool) -> Seen {
        let mut kinship = if scans { Kinship::of_all() } else { Kinship::by_lists() };
        let children = self.subreaper.children(&mut kinship);
        if self.endings.ends_own() {
            for child in children.own {
                self.note(&mut kinship, child, &[Owner::Own]);
            }
        }
        let mut doubtful = Vec::new();
        for child in children.adopted {
            match self.owners(child, children.is_sure) {
                Some(owners) => self.note(&mut kinship, child, &owners),
                None => doubtful.push(child),
            }
        }
        if !children.is_sure {
            self.subreaper.doubt(&doubtful);
        }
        if scans {
            self.look_for_tokens(&mut kinship);
        }
        Seen { all: scans, doubtful }
    }

    /// The owners of an adopted child; `None` when nothing tells.
    fn owners(&self, child: ProcessId, is_sure: bool) -> Option<Vec<Owner>> {
        if let Some(owners) = self.endings.owners(child) {
            return Some(owners.to_vec());
        }
        let mut candidates = Vec::new();
        if is_sure && self.endings.ends_own() {
            candidates.push(Owner::Own);
        } else if is_sure {
            // Any supervisor that was dead when the child was first seen may have left it, even one whose death was not
            // reported yet.
            candidates.extend(self.subreaper.ended().into_iter().map(Owner::Supervisor));
        }
        if candidates.len() != 1
            && self.endings.has_tokens()
            && let Some(owner) = token_of(child.pid).and_then(|token| self.endings.by_token(&token))
        {
            return Some(vec![owner]);
        }
        (!candidates.is_empty()).then_some(candidates)
    }

    /// Notes the process, and its descendants that have no other owner.
    fn note(&mut self, kinship: &mut Kinship, process: ProcessId, owners: &[Owner]) {
        let below = kinship.living_below(process.pid);
        for member in std::iter::once(process).chain(below) {
            if !self.subreaper.spares(member) {
                self.endings.note(member, owners);
            }
        }
    }

    /// Notes processes that left their tree and still carry its token.
    fn look_for_tokens(&mut self, kinship: &mut Kinship) {
        let everybody: HashSet<ProcessId> = kinship.everybody().collect();
        for process in everybody {
            if process.pid == std::process::id() || self.endings.owners(process).is_some() {
                continue;
            }
            if let Some(owner) = token_of(process.pid).and_then(|token| self.endings.by_token(&token)) {
                self.note(kinship, process, &[owner]);
            }
        }
    }

    /// Waits for a request, for the exit of a process that was told to end, or for the time to pass.
    fn wait(&self, longest: Option<Duration>) {
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        let mut watched: Vec<PollFd<'_>> =
            self.handles.values().map(|handle| PollFd::new(handle, PollFlags::IN)).collect();
        watched.push(PollFd::new(&self.inbox.wake, PollFlags::IN));
        // Interrupted or not, a look follows.
        let _ = poll(&mut watched, longest.as_ref());
    }
}
