//! What lives own beside keys: noted in the ledger, and undone by whoever ends the life on its host.
//!
//! ```text
//!   worktree   asks git, and removes what is lost to nobody
//!   container  docker or podman
//!   file       removes the very file that was meant
//!   hands      runs a program for a while, and ends what it leaves
//! ```
//!
//! What may be undone is decided in `lifecycle_core::agent::thing`. Each thing is taken off the ledger as it is undone. A
//! crash in between has it undone again, which does no harm: what is not there any more counts as undone.
//!
//! A user's ledger is that user's word alone: nobody else undoes what stands in it, and least of all root, for whom it
//! would be a way to have anything removed or run.

mod container;
mod file;
mod hands;
mod worktree;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lifecycle_core::agent::thing::{Account, FileMark, MOST_THINGS, Outcome, Thing, ThingKind, check, name};
use rustix::fs::{FlockOperation, flock};

use hands::Hands;

use super::identity::{TOKEN_VARIABLE, token};
use super::ledger::Ledger;
use super::runtime_folder::own_user;
use crate::settings::host;

/// How long a program of others (git, docker) may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why something cannot be owned. Nothing was noted.
#[derive(Debug, thiserror::Error)]
pub enum ThingError {
    /// It is none, or is not there.
    #[error("{0}; nothing was noted")]
    Unfit(String),
    /// The life owns too much.
    #[error("this life owns {MOST_THINGS} things already, which is the most; nothing was noted")]
    TooMany,
    /// The ledger cannot be changed.
    #[error("the ledger of this life could not be changed: {0}; nothing was noted")]
    Ledger(#[from] io::Error),
}

/// What became of one thing, and why, where that has to be said.
type Became = (Outcome, String);

/// Describes a thing as it is now. Paths may be relative; what `run` is to do, is done in the current folder.
///
/// # Errors
/// [`ThingError::Unfit`] when it cannot be of this kind, or is not there.
pub fn describe(kind: ThingKind, what: &str) -> Result<Thing, ThingError> {
    let unfit = |why: String| ThingError::Unfit(why);
    let what = match kind {
        ThingKind::File | ThingKind::Worktree => resolve(what)?,
        ThingKind::Container | ThingKind::Run => what.to_owned(),
    };
    check(kind, &what).map_err(unfit)?;
    let mut thing = Thing { kind, what, host: host(), folder: None, mark: None };
    match kind {
        ThingKind::Container => {}
        ThingKind::Run => {
            let folder =
                std::env::current_dir().map_err(|error| unfit(format!("the current folder: {error}")))?;
            thing.folder = Some(text_of(&folder)?);
        }
        ThingKind::File => {
            thing.mark =
                Some(mark_of(&thing.what).ok_or_else(|| unfit(format!("{} is not there", thing.what)))?);
        }
        ThingKind::Worktree => {
            thing.mark = mark_of(&thing.what);
            worktree::check(&thing, &Hands::own()).map_err(unfit)?;
        }
    }
    Ok(thing)
}

/// The name under which a thing stands, whether or not it is there any more.
#[must_use]
pub fn name_of(kind: ThingKind, what: &str) -> String {
    match kind {
        ThingKind::File | ThingKind::Worktree => name(kind, &resolve(what).unwrap_or_else(|_| what.into())),
        ThingKind::Container | ThingKind::Run => name(kind, what),
    }
}

/// The path from the root, without following a link at its end: the link is what is meant.
fn resolve(path: &str) -> Result<String, ThingError> {
    let unfit = |error: io::Error| ThingError::Unfit(format!("{path}: {error}"));
    let path = std::path::absolute(path).map_err(unfit)?;
    let resolved = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => fs::canonicalize(parent).map_err(unfit)?.join(name),
        _ => path,
    };
    text_of(&resolved)
}

fn text_of(path: &Path) -> Result<String, ThingError> {
    let text = path.to_str().ok_or_else(|| ThingError::Unfit(format!("{} is not UTF-8", path.display())))?;
    Ok(text.to_owned())
}

/// What tells the file at this path from later ones. `None` if nothing is there.
fn mark_of(path: &str) -> Option<FileMark> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::symlink_metadata(path).ok()?;
    let born = found.created().ok().and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
    Some(FileMark { device: found.dev(), inode: found.ino(), born })
}

impl Ledger {
    /// Writes down that the life owns this, over an earlier note of the same thing.
    ///
    /// # Errors
    /// [`ThingError`]: nothing was written then.
    pub fn own(&self, thing: &Thing) -> Result<(), ThingError> {
        let mut fits = true;
        self.change_things(|things| {
            things.retain(|other| other.name() != thing.name());
            fits = things.len() < MOST_THINGS;
            if fits {
                things.push(thing.clone());
                Ok(())
            } else {
                Err(io::Error::other("too many"))
            }
        })
        .map_err(|error| if fits { error.into() } else { ThingError::TooMany })
    }

    /// Takes it off the list; `false` if it was not on it.
    ///
    /// # Errors
    /// When the ledger cannot be changed.
    pub fn disown(&self, name: &str) -> io::Result<bool> {
        let mut was_there = false;
        self.change_things(|things| {
            let before = things.len();
            things.retain(|thing| thing.name() != name);
            was_there = things.len() < before;
            Ok(())
        })?;
        Ok(was_there)
    }

    /// Undoes what this life owns, which is over on this host: its processes have ended. Nothing of another user's life,
    /// and nothing while another process is at it. Blocks.
    #[must_use]
    pub fn undo(&self, limit: Duration) -> Account {
        let (hands, mut account) = (Hands::own(), Account { host: host(), ..Account::default() });
        if self.owner() != own_user() {
            return account;
        }
        let Ok(Some(_turn)) = self.turn() else { return account };
        for thing in self.things_now() {
            let (outcome, why) = self.undo_one(&thing, &hands, limit);
            if outcome != Outcome::Undone {
                tracing::warn!(agent = %self.id, thing = %thing.name(), %outcome, why, "a thing of this life stays");
            }
            if let Err(error) = self.disown(&thing.name()) {
                tracing::warn!(agent = %self.id, thing = %thing.name(), %error, "it was dealt with and stays on the ledger");
            }
            account.add(thing.name(), outcome, why);
        }
        account
    }

    /// What stands in the file by now. Its commands may have added to it.
    #[must_use]
    pub fn things_now(&self) -> Vec<Thing> {
        let mut now = Vec::new();
        // Without a file there is nothing.
        let _ = self.change_things(|things| {
            now.clone_from(things);
            Ok(())
        });
        now
    }

    fn undo_one(&self, thing: &Thing, hands: &Hands, limit: Duration) -> Became {
        match thing.kind {
            ThingKind::Worktree => worktree::undo(thing, hands),
            ThingKind::Container => container::undo(thing, hands),
            ThingKind::File => file::undo(thing),
            ThingKind::Run => self.run(thing, hands, limit),
        }
    }

    fn run(&self, thing: &Thing, hands: &Hands, limit: Duration) -> Became {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &thing.what]);
        command.env("LIFECYCLE_AGENT_ID", self.id.as_str());
        command.env("LIFECYCLE_INCARNATION", self.incarnation.to_string());
        // If this process is killed too, what it started is found by this.
        command.env(TOKEN_VARIABLE, token(self.id.as_str(), self.incarnation));
        if let Some(folder) = &thing.folder {
            command.current_dir(folder);
        }
        match hands.run(command, limit) {
            Ok(answer) if answer.is_success => (Outcome::Undone, String::new()),
            Ok(answer) => (Outcome::Left, answer.complaint()),
            Err(error) => (Outcome::Left, error),
        }
    }

    /// The turn to undo this life's things, until it is dropped. `None` while another process has it.
    fn turn(&self) -> io::Result<Option<Turn>> {
        let path = self.folder()?.join(format!("{}.undo", self.file_name()));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive)
            .is_ok()
            .then_some(Turn { path, _file: file }))
    }
}

/// Kept in a file of its own, because each change of a ledger is another file.
#[derive(Debug)]
struct Turn {
    path: PathBuf,
    _file: fs::File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Whoever waits for this very file finds nothing left to undo.
        let _ = fs::remove_file(&self.path);
    }
}
