//! This process as the reaper of its descendants: whom they leave behind comes here, instead of going to init.
//!
//! A child of a subreaper is one of three:
//!
//! ```text
//!   own         started here, by [`Subreaper::start`]; waited for by whoever started it
//!   bystander   was there before: a shell that started it became this program (`sleep 1000 & exec agent run …`)
//!   adopted     any other: a descendant whose parent has ended
//! ```
//!
//! Adopted ones are ended with the life that left them behind, and waited for here, so that they do not stay zombies.
//! Bystanders, and what descends from them, are nobody's to end. What *they* leave behind is adopted too and looks like
//! any other; so while there are bystanders, an adopted process needs a further proof of whose it is. The same holds for
//! the first process of a PID namespace, which adopts whatever anybody leaves behind there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use super::identity::{ProcessId, Stat};
use super::tree::Kinship;

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
    /// Whether what is adopted can only have been left behind by children of our own.
    is_sure: bool,
}

/// The living children of this process, at one look.
#[derive(Debug, Default)]
pub(super) struct Children {
    pub(super) own: Vec<ProcessId>,
    pub(super) adopted: Vec<ProcessId>,
    /// Whether these can only have been left behind by children of our own.
    pub(super) is_sure: bool,
}

impl Subreaper {
    /// Makes orphaned descendants come to this process. Called before it starts a child of its own: whoever is there by
    /// then is a bystander. From then on every child has to be started through [`Subreaper::start`], or it would be taken
    /// for an adopted one.
    #[must_use]
    pub fn begin() -> Self {
        let descendants = || Kinship::by_lists().living_below(std::process::id());
        let mut bystanders: HashSet<ProcessId> = descendants().into_iter().collect();
        let adopted = set_child_subreaper(Some(getpid()));
        if let Err(error) = adopted {
            tracing::warn!(%error, "cannot adopt orphaned processes: those that clear their environment and leave their parent cannot be found");
        }
        // Whom a bystander left behind in between.
        bystanders.extend(descendants());
        let is_sure = is_sure(&bystanders);
        let known = Mutex::new(ChildRegistry { bystanders, is_sure, ..ChildRegistry::default() });
        Self { inner: Arc::new(Inner { adopts: adopted.is_ok(), known }) }
    }

    /// For a process that adopts nobody, and whose children are none of our business.
    #[must_use]
    pub fn absent() -> Self {
        Self { inner: Arc::new(Inner { adopts: false, known: Mutex::default() }) }
    }

    /// Whether orphaned descendants come here.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.inner.adopts
    }

    /// Starts a child that is waited for by whoever starts it. Nobody looks at the children meanwhile: one that is not
    /// noted yet would be taken for an adopted one, and ended.
    ///
    /// # Errors
    /// As `spawn` does.
    pub fn start<T, E>(
        &self,
        spawn: impl FnOnce() -> Result<T, E>,
        pid: impl FnOnce(&T) -> Option<u32>,
    ) -> Result<(T, Option<ProcessId>), E> {
        let mut known = self.known();
        let started = spawn()?;
        // It has not been waited for, so the pid is its own, even if it has ended.
        let process = pid(&started).and_then(ProcessId::of);
        known.own.extend(process);
        Ok((started, process))
    }

    /// A child of our own has been waited for, and what it left behind has been dealt with.
    pub fn forget(&self, process: ProcessId) {
        self.known().own.remove(&process);
    }

    /// The processes below this one, bystanders and what descends from them left out.
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
        below.collect()
    }

    /// Waits for adopted children that have ended. Never for one of our own: its exit status is somebody else's to read.
    pub(super) fn reap(&self) {
        self.children(&mut Kinship::by_lists());
    }

    /// Looks at the children, and waits for the adopted ones that have ended.
    pub(super) fn children(&self, kinship: &mut Kinship) -> Children {
        // The order matters. A bystander that lives here may leave somebody behind only from now on; whom one that has
        // ended left behind is in the list.
        self.follow_bystanders();
        let mut listed: HashSet<u32> = kinship.children(std::process::id()).into_iter().collect();
        listed.extend(Kinship::by_lists().children(std::process::id()));
        // A child of our own that is in the list has been noted by the time we hold the lock.
        let known = self.known();
        let mut children = Children { is_sure: known.is_sure, ..Children::default() };
        for pid in listed {
            // What was read a moment ago has to hold now, or the pid could be another's.
            let Some(stat) = Stat::read(pid).filter(|stat| stat.parent == std::process::id()) else {
                continue;
            };
            let process = stat.process(pid);
            if known.own.contains(&process) {
                children.own.extend((!stat.is_zombie).then_some(process));
            } else if !self.inner.adopts {
                // Somebody else's business, zombie or not.
            } else if stat.is_zombie {
                wait_for(pid);
            } else if !known.bystanders.contains(&process) {
                children.adopted.push(process);
            }
        }
        children
    }

    /// Bystanders that have ended are forgotten; whom they have started is one too, and still is when it comes to us.
    fn follow_bystanders(&self) {
        let mut known = self.known();
        let mut kinship = Kinship::by_lists();
        let found: Vec<_> =
            known.bystanders.iter().flat_map(|bystander| kinship.living_below(bystander.pid)).collect();
        known.bystanders.extend(found);
        known.bystanders.retain(|bystander| bystander.is_alive());
    }

    /// Adopted processes that may have been left behind by bystanders: as long as there are any, or bystanders, the next
    /// look is not sure either.
    pub(super) fn doubt(&self, doubtful: &[ProcessId]) {
        let mut known = self.known();
        known.is_sure = doubtful.is_empty() && is_sure(&known.bystanders);
    }

    /// Children of our own that have ended, or are about to, and were not dealt with. What they leave behind comes here a
    /// moment before the last of their threads is gone.
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

    /// A panic elsewhere does not make what is noted any less true.
    fn known(&self) -> MutexGuard<'_, ChildRegistry> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_sure(bystanders: &HashSet<ProcessId>) -> bool {
    // The first process of a namespace adopts from everybody.
    bystanders.is_empty() && std::process::id() != 1
}

/// Only for a zombie that is a child of ours and that nobody else waits for: so its pid cannot be another's.
fn wait_for(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Nobody asks how it ended.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
