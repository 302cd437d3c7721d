//! The folder with the ledgers of lives, of this user or of another one.
//!
//! Whoever may read other users' folders must not be led elsewhere by a link in one: every part of the way that a user
//! could change is opened without following links, and a file counts only if it is the folder's owner's.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, open, openat, unlinkat,
};
use rustix::io::Errno;

use super::runtime_folder::{make, own_user, runtime_folder};

/// What it is called in a runtime folder.
const NAME: &str = "lives";
/// Longest file that is read. A ledger of 10,000 processes and of as many things as a life can own is shorter.
const LONGEST: u64 = 4 << 20;
/// How long a file may be in the hands of another writer. One that was stopped meanwhile holds up nobody for longer.
const LOCKED: Duration = Duration::from_secs(2);
/// Pause between two tries to get it.
const RETRY: Duration = Duration::from_millis(3);

/// A folder that was opened for reading.
#[derive(Debug)]
pub(super) struct LivesFolder {
    path: PathBuf,
    folder: OwnedFd,
    /// The user whose folder it is.
    pub(super) owner: u32,
}

impl LivesFolder {
    /// The one in this runtime folder. `None` where there is none that this user should read.
    pub(super) fn open(runtime: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let outer = open(runtime, flags, Mode::empty()).ok()?;
        let folder = openat(&outer, NAME, flags, Mode::empty()).ok()?;
        let owner = fstat(&folder).ok()?.st_uid;
        let is_one_users = fstat(&outer).ok()?.st_uid == owner;
        // What another user's folder says is of use only to who may end that user's processes.
        let is_of_interest = owner == own_user() || own_user() == 0;
        (is_one_users && is_of_interest).then(|| Self { path: runtime.join(NAME), folder, owner })
    }

    /// Which folder it is, whatever its path.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        let found = fstat(&self.folder).ok()?;
        Some((found.st_dev, found.st_ino))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the ledgers in it.
    pub(super) fn names(&self) -> Vec<String> {
        self.all().into_iter().filter(|name| name.ends_with(".json")).collect()
    }

    fn all(&self) -> Vec<String> {
        let Ok(entries) = Dir::read_from(&self.folder) else { return Vec::new() };
        let name = |name: &CStr| name.to_str().ok().map(str::to_owned);
        entries.flatten().filter_map(|entry| name(entry.file_name())).collect()
    }

    /// The text of one of its files.
    pub(super) fn read(&self, name: &str) -> io::Result<String> {
        // A pipe under this name would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::empty())?;
        let found = fstat(&file)?;
        if found.st_uid != self.owner || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no file of the folder's owner"));
        }
        let mut text = String::new();
        File::from(file).take(LONGEST).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Removes one of its files, with what writers that were killed left of it; no error if it is not there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let beside = format!("{name}.");
        let left = self.all().into_iter().filter(|other| other.starts_with(&beside));
        left.map(|other| self.unlink(&other)).fold(Ok(()), io::Result::and)?;
        self.unlink(name)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.folder, name, AtFlags::empty()) {
            Err(error) if error != rustix::io::Errno::NOENT => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The path of this user's own folder, which is made if it is not there.
pub(super) fn own() -> io::Result<PathBuf> {
    let folder = runtime_folder()?.join(NAME);
    make(&folder)?;
    Ok(folder)
}

/// The path of this user's own folder, if there is one.
pub(super) fn own_if_there() -> Option<PathBuf> {
    runtime_folder().ok().map(|folder| folder.join(NAME)).filter(|folder| folder.is_dir())
}

/// A lock on a file, of which there may be another version by the time that it is held.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process holds it for too long; when the file cannot be opened.
pub(super) fn lock(file: &File) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error == Errno::WOULDBLOCK && begun.elapsed() < LOCKED => thread::sleep(RETRY),
            other => return Ok(other?),
        }
    }
}

/// Changes a file of this folder that several processes write: reads it, and writes what `change` makes of it, while no
/// other does. `None` leaves it as it is.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when it is not there; those of `change`, of reading and of writing.
pub(super) fn change(
    folder: &Path,
    name: &str,
    change: impl FnOnce(&str) -> io::Result<Option<String>>,
) -> io::Result<()> {
    let path = folder.join(name);
    let _held = held(&path)?;
    match change(&fs::read_to_string(&path)?)? {
        Some(text) => write(folder, name, &text),
        None => Ok(()),
    }
}

/// The file, locked. A writer puts another file in its place, so it has to be the one of this name still.
pub(super) fn held(path: &Path) -> io::Result<File> {
    loop {
        let file =
            OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?;
        lock(&file)?;
        let (locked, there) = (file.metadata()?, fs::symlink_metadata(path)?);
        if (locked.dev(), locked.ino()) == (there.dev(), there.ino()) {
            return Ok(file);
        }
    }
}

/// Writes a file that only this user can read. Whoever reads meanwhile sees all of the old one or all of the new one.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    // Not a name that is read, and another one in each process.
    let temporary = folder.join(format!("{name}.{}", std::process::id()));
    let written = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, folder.join(name))
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}
