//! Opens a log file in a folder where a command may have put something else.
//!
//! Commands may write in the folders of their logs. At a log's path they can put a link to a file of somebody else's,
//! or a FIFO, which blocks its opener until there is a reader, for ever. So the path is walked folder by folder, each
//! opened relative to the one before. No link is followed, nothing is waited for, and only a regular file with one name
//! is written to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fcntl_setfl, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

/// How the line begins that stands in a task's log for its middle, once that was dropped to keep within
/// `coordinator.log_limit`. Who writes the log cuts it; who follows it goes on behind the cut.
pub const MIDDLE_DROPPED: &str = "--- the middle is missing here";

/// An open log.
#[derive(Debug)]
pub struct LogFile {
    /// Opened for appending: each write goes to the end.
    pub end: File,
    /// The same file, for reading and writing at any place.
    pub whole: File,
}

// A folder on the way to the file need not be readable.
#[cfg(target_os = "linux")]
const ON_THE_WAY: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const ON_THE_WAY: OFlags = OFlags::RDONLY;

const FOLDER: OFlags = ON_THE_WAY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LOG: OFlags = OFlags::CREATE
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens the log at `path` for appending, for its owner alone (0600). Creates it and its folders (0700) if they are
/// missing. Does not block, unless the file system does.
///
/// # Errors
/// When something else than a file is there, or a link is on the way; the text names the place and tells what it is.
pub fn open(path: &Path) -> io::Result<LogFile> {
    let name = path.file_name().ok_or_else(|| refused(path, "it names no file"))?;
    let (folder, way) = folder_of(path.parent().unwrap_or(Path::new("")))?;
    let open = |flags: OFlags| {
        openat(&folder, name, LOG | flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| explained(&folder, name.as_ref(), &way.join(name), error))
    };
    let (whole, end) = (open(OFlags::RDWR)?, open(OFlags::WRONLY | OFlags::APPEND)?);
    let (stat, again) = (fstat(&whole)?, fstat(&end)?);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused(path, what_it_is(FileType::from_raw_mode(stat.st_mode))));
    }
    if stat.st_nlink != 1 || (stat.st_dev, stat.st_ino) != (again.st_dev, again.st_ino) {
        return Err(refused(path, "the file has another name too, or was just replaced"));
    }
    // Only the opening had to be non-blocking. A process that inherits the file does not expect it.
    fcntl_setfl(&end, OFlags::APPEND)?;
    Ok(LogFile { end: end.into(), whole: whole.into() })
}

/// The folder, created if it is missing, and its path.
fn folder_of(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let start = if path.is_absolute() { "/" } else { "." };
    let mut way = PathBuf::new();
    let mut folder = openat(CWD, start, FOLDER, Mode::empty())?;
    for part in path.components() {
        way.push(part);
        if matches!(part, Component::RootDir | Component::CurDir | Component::Prefix(_)) {
            continue;
        }
        let name = part.as_os_str();
        folder = match openat(&folder, name, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(&folder, name, Mode::RWXU) {
                    // Another process may have created it at the same time.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(explained(&folder, name.as_ref(), &way, error)),
                }
                openat(&folder, name, FOLDER, Mode::empty())
            }
            other => other,
        }
        .map_err(|error| explained(&folder, name.as_ref(), &way, error))?;
    }
    Ok((folder, way))
}

/// The error in words: the system's own text for a FIFO or a link does not tell what is there.
fn explained(folder: impl AsFd, name: &Path, path: &Path, error: Errno) -> io::Error {
    let there =
        statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match (error, there) {
        (Errno::LOOP | Errno::NXIO | Errno::NOTDIR | Errno::ISDIR | Errno::NODEV, Ok(there)) => {
            refused(path, what_it_is(there))
        }
        (error, _) => {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display()))
        }
    }
}

fn what_it_is(there: FileType) -> &'static str {
    match there {
        FileType::Symlink => "it is a symbolic link, and links are not followed",
        FileType::Directory => "it is a folder",
        FileType::Fifo => "it is a FIFO, not a file",
        FileType::Socket => "it is a socket, not a file",
        FileType::CharacterDevice | FileType::BlockDevice => "it is a device, not a file",
        FileType::RegularFile => "it is a file, not a folder",
        FileType::Unknown => "it is no file",
    }
}

fn refused(path: &Path, problem: &str) -> io::Error {
    io::Error::other(format!("{} cannot be written: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_log_and_its_folders_are_made_for_their_owner_alone_and_appended_to() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let path = top.join("epic/sprint/task.log");
        for _ in 0..2 {
            open(&path).unwrap().end.write_all(b"x").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "xx");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&path), mode(&top.join("epic")), mode(&top.join("epic/sprint"))),
            (0o600, 0o700, 0o700)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn whatever_else_stands_at_its_path_is_refused_at_once_by_name() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        rustix::fs::mknodat(CWD, top.join("fifo.log"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::create_dir(top.join("folder.log")).unwrap();
        symlink(outside.path(), top.join("link.log")).unwrap();
        symlink("nowhere", top.join("dangling.log")).unwrap();
        symlink(outside.path().parent().unwrap(), top.join("way")).unwrap();
        std::fs::write(top.join("file"), "").unwrap();
        std::fs::write(top.join("one.log"), "").unwrap();
        std::fs::hard_link(top.join("one.log"), top.join("other.log")).unwrap();
        for (at, named, problem) in [
            ("fifo.log", "fifo.log", "a FIFO"),
            ("folder.log", "folder.log", "a folder"),
            ("link.log", "link.log", "a symbolic link"),
            ("dangling.log", "dangling.log", "a symbolic link"),
            ("way/task.log", "way", "a symbolic link"),
            ("file/task.log", "file", "not a folder"),
            ("one.log", "one.log", "another name"),
        ] {
            let error = open(&top.join(at)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{} cannot be written", top.join(named).display())),
                "{at}: {error}"
            );
            assert!(error.contains(problem), "{at}: {error}");
        }
        assert!(!top.join("nowhere").exists());
        assert!(open(Path::new("/dev/null")).unwrap_err().to_string().contains("a device"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_fifo_with_a_reader_is_no_file_either() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().canonicalize().unwrap().join("fifo.log");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _reader = openat(CWD, &path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("a FIFO"));
    }
}
