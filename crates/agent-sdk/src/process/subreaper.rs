//! Makes this process the reaper of its descendants: orphaned ones become its children, instead of init's.
//!
//! A child of a subreaper is one of three:
//!
//! ```text
//!   own         started here, by [`Subreaper::start`]; waited for by the task that started it
//!   bystander   was there before: a shell that started it became this program (`sleep 1000 & exec agent run …`)
//!   adopted     any other: a descendant whose parent has ended
//! ```
//!
//! Adopted children are ended with the life that left them behind, and waited for here, so that they do not stay
//! zombies. Bystanders and their descendants are not ended. But processes that *they* leave behind are adopted too, and
//! look like any other. So while there are bystanders, an adopted process needs a further proof of its owner. The same
//! holds for the first process of a PID namespace, which adopts every orphan there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use super::identity::{ProcessId, Stat};
use super::tree::Kinship;

/// This process as a subreaper, once it is one.
static CURRENT: OnceLock<Subreaper> = OnceLock::new();

/// This process as a subreaper. Clones are the same.
#[derive(Debug, Clone)]
pub struct Subreaper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    adopts: bool,
    known: Mutex<ChildRegistry>,
}

#[derive(Debug, Default)]
struct ChildRegistry {
    own: HashSet<ProcessId>,
    bystanders: HashSet<ProcessId>,
    /// Processes of our own that hold others, and are not ended with them.
    spared: HashSet<ProcessId>,
    /// Whether only children of our own can have left adopted processes behind.
    is_sure: bool,
}

/// The living children of this process, as one look saw them.
#[derive(Debug, Default)]
pub(super) struct Children {
    pub(super) own: Vec<ProcessId>,
    pub(super) adopted: Vec<ProcessId>,
    /// Whether only children of our own can have left these behind.
    pub(super) is_sure: bool,
}

impl Subreaper {
    /// Makes orphaned descendants come to this process. Called before it starts a child of its own: children that are
    /// there by then are bystanders. From then on every child has to be started through [`Subreaper::start`], or it
    /// would be taken for an adopted one.
    #[must_use]
    pub fn begin() -> Self {
        let descendants = || Kinship::by_lists().living_below(std::process::id());
        let mut bystanders: HashSet<ProcessId> = descendants().into_iter().collect();
        let adopted = set_child_subreaper(Some(getpid()));
        if let Err(error) = adopted {
            tracing::warn!(%error, "cannot adopt orphaned processes: those that clear their environment and leave their parent cannot be found");
        }
        // Processes that a bystander left behind in between.
        bystanders.extend(descendants());
        let is_sure = is_sure(&bystanders);
        let known = Mutex::new(ChildRegistry { bystanders, is_sure, ..ChildRegistry::default() });
        let begun = Self { inner: Arc::new(Inner { adopts: adopted.is_ok(), known }) };
        // A second one would not know of the first one's children: it is for tests.
        let _ = CURRENT.set(begun.clone());
        begun
    }

    /// The one that this process has begun to be, or one that adopts nobody: whoever starts a child for a moment starts it
    /// through this.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.get().cloned().unwrap_or_else(Self::absent)
    }

    /// For a process that adopts no orphans, and whose children it leaves alone.
    #[must_use]
    pub fn absent() -> Self {
        Self { inner: Arc::new(Inner { adopts: false, known: Mutex::default() }) }
    }

    /// Whether orphaned descendants come here.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.inner.adopts
    }

    /// Starts a child, which the caller waits for. No look takes place meanwhile: a child that is not noted yet would
    /// be taken for an adopted one, and ended.
    ///
    /// # Errors
    /// Those of `spawn`.
    pub fn start<T, E>(
        &self,
        spawn: impl FnOnce() -> Result<T, E>,
        pid: impl FnOnce(&T) -> Option<u32>,
    ) -> Result<(T, Option<ProcessId>), E> {
        let mut known = self.known();
        let started = spawn()?;
        // The child has not been waited for, so the pid is still its own, even if it has ended.
        let process = pid(&started).and_then(ProcessId::of);
        known.own.extend(process);
        Ok((started, process))
    }

    /// This process holds others, below a child of our own, and is not to be ended with them.
    pub fn spare(&self, process: ProcessId) {
        self.known().spared.insert(process);
    }

    /// Whether it is not to be ended with the tree that it is in.
    pub(super) fn spares(&self, process: ProcessId) -> bool {
        self.known().spared.contains(&process)
    }

    /// A child of our own was waited for, and the processes that it left behind were dealt with.
    pub fn forget(&self, process: ProcessId) {
        let mut known = self.known();
        known.own.remove(&process);
        known.spared.remove(&process);
    }

    /// The descendants of this process, without bystanders and their descendants, and without those that only hold others.
    #[must_use]
    pub fn tree(&self) -> Vec<u32> {
        let mut kinship = Kinship::by_lists();
        let children = self.children(&mut kinship);
        let roots = children.own.into_iter().chain(children.adopted);
        let below = roots.flat_map(|root| {
            let mut tree = kinship.descendants(root.pid);
            tree.insert(root.pid);
            tree
        });
        let spared: HashSet<u32> = self.known().spared.iter().map(|process| process.pid).collect();
        below.filter(|pid| !spared.contains(pid)).collect()
    }

    /// Waits for adopted children that have ended. Never for our own: the caller that started one reads its exit
    /// status.
    pub(super) fn reap(&self) {
        self.children(&mut Kinship::by_lists());
    }

    /// Looks at the children, and waits for adopted ones that have ended.
    pub(super) fn children(&self, kinship: &mut Kinship) -> Children {
        // The order matters. From here on a bystander that lives may leave a process behind. A process that an ended
        // bystander left behind is in the list.
        self.follow_bystanders();
        let mut listed: HashSet<u32> = kinship.children(std::process::id()).into_iter().collect();
        listed.extend(Kinship::by_lists().children(std::process::id()));
        // A child of our own in this list has been noted by the time that we hold the lock.
        let known = self.known();
        let mut children = Children { is_sure: known.is_sure, ..Children::default() };
        for pid in listed {
            // What was read a moment ago has to hold now, or the pid could be another process's.
            let Some(stat) = Stat::read(pid).filter(|stat| stat.parent == std::process::id()) else {
                continue;
            };
            let process = stat.process(pid);
            if known.own.contains(&process) {
                children.own.extend((!stat.is_zombie).then_some(process));
            } else if !self.inner.adopts {
                // Others deal with it, zombie or not.
            } else if stat.is_zombie {
                wait_for(pid);
            } else if !known.bystanders.contains(&process) {
                children.adopted.push(process);
            }
        }
        children
    }

    /// Drops bystanders that have ended. Their children are bystanders too, even once they are adopted by this process.
    fn follow_bystanders(&self) {
        let mut known = self.known();
        let mut kinship = Kinship::by_lists();
        let found: Vec<_> =
            known.bystanders.iter().flat_map(|bystander| kinship.living_below(bystander.pid)).collect();
        known.bystanders.extend(found);
        known.bystanders.retain(|bystander| bystander.is_alive());
    }

    /// Adopted processes that bystanders may have left behind. As long as there are any, or bystanders, the next look
    /// is not sure either.
    pub(super) fn doubt(&self, doubtful: &[ProcessId]) {
        let mut known = self.known();
        known.is_sure = doubtful.is_empty() && is_sure(&known.bystanders);
    }

    /// Children of our own that have ended, or are about to, and were not dealt with. Processes that they leave behind
    /// come here a moment before their last thread is gone.
    pub(super) fn ended(&self) -> Vec<ProcessId> {
        let lives = |process: &ProcessId| {
            Stat::read(process.pid).is_some_and(|stat| stat.start == process.start && !stat.first_ended)
        };
        self.known().own.iter().filter(|process| !lives(process)).copied().collect()
    }

    /// Whether this is a child of our own that was not dealt with.
    pub(super) fn expects(&self, process: ProcessId) -> bool {
        self.known().own.contains(&process)
    }

    /// A panic elsewhere cannot leave the registry half changed.
    fn known(&self) -> MutexGuard<'_, ChildRegistry> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_sure(bystanders: &HashSet<ProcessId>) -> bool {
    // The first process of a namespace adopts every orphan there.
    bystanders.is_empty() && std::process::id() != 1
}

/// Only for a zombie that is a child of ours and that no other code waits for, so its pid cannot be another process's.
fn wait_for(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Its exit status is not needed.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
