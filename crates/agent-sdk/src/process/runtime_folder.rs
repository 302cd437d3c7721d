//! The folder in which the product keeps its small files on a host, and the rule by which it is found.
//!
//! Not every process of a user is given the same environment: a service has no `XDG_RUNTIME_DIR` where a shell has one.
//! So whoever looks for what others wrote looks in [`candidates`], not only where it would write itself.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What the folder is called in a runtime folder of the system.
const NAME: &str = "lifecycle";
/// Where root keeps it.
const OF_ROOT: &str = "/run";
/// Where the runtime folders of users are.
const OF_USERS: &str = "/run/user";

/// The folder of this user alone, which is made if it is not there.
///
/// # Errors
/// When it cannot be made, or when somebody else has made it.
pub(super) fn runtime_folder() -> io::Result<PathBuf> {
    let folder = own_place();
    make(&folder)?;
    // A folder for everybody may hold a link, or a folder of another user, under this name.
    let found = fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != own_user() {
        return Err(io::Error::other(format!("{} is not a folder of this user", folder.display())));
    }
    Ok(folder)
}

/// Makes a folder that only this user can read, where it is not there.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The user whose files these are.
pub(super) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn own_place() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR");
    let run_is_writable = || access(OF_ROOT, Access::WRITE_OK).is_ok();
    place_for(given.as_deref(), own_user(), run_is_writable, &std::env::temp_dir())
}

/// `$XDG_RUNTIME_DIR/lifecycle`, for root `/run/lifecycle`, else `<tmp>/lifecycle-<uid>`.
fn place_for(
    given: Option<&OsStr>,
    user: u32,
    run_is_writable: impl Fn() -> bool,
    temporary: &Path,
) -> PathBuf {
    match given.map(Path::new).filter(|path| path.is_dir()) {
        Some(runtime) => runtime.join(NAME),
        None if user == 0 && run_is_writable() => Path::new(OF_ROOT).join(NAME),
        None => temporary.join(format!("{NAME}-{user}")),
    }
}

/// Every folder on this host that may be such a folder, of any user. None was looked at.
pub(super) fn candidates() -> Vec<PathBuf> {
    let mut found = vec![own_place(), Path::new(OF_ROOT).join(NAME)];
    found.extend(entries(Path::new(OF_USERS)).map(|user| user.join(NAME)));
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        let user = name.and_then(|name| name.strip_prefix(NAME)?.strip_prefix('-'));
        user.is_some_and(|user| user.bytes().all(|byte| byte.is_ascii_digit()))
    };
    found.extend(entries(&std::env::temp_dir()).filter(is_ours));
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_folder_comes_first_then_roots_then_one_among_temporary_files() {
        let temporary = std::env::temp_dir();
        let place = |given: Option<&str>, user, writable| {
            place_for(given.map(OsStr::new), user, || writable, Path::new("/t"))
        };
        let given = temporary.to_str();
        assert_eq!(place(given, 7, true), temporary.join("lifecycle"));
        assert_eq!(place(Some("/not/there"), 7, true), Path::new("/t/lifecycle-7"));
        assert_eq!(place(None, 0, true), Path::new("/run/lifecycle"));
        assert_eq!(place(None, 0, false), Path::new("/t/lifecycle-0"));
        assert_eq!(place(None, 7, true), Path::new("/t/lifecycle-7"));
    }
}
