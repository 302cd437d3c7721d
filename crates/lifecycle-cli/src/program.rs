//! Finds a program as the system would, before it is started or registered for.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where the system looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What `program` means: itself if it has a slash, else the first executable file of that name on `path`.
///
/// # Errors
/// What starting it would say: there is no such file, or it may not be executed.
pub fn find(program: &str, path: Option<&OsStr>) -> io::Result<PathBuf> {
    if program.contains('/') {
        return executable(Path::new(program));
    }
    let mut problem = Errno::NOENT.into();
    for folder in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        match executable(&folder.join(program)) {
            Ok(file) => return Ok(file),
            // A file that may not be executed does not hide another one further on. But if there is none, this error
            // tells more.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => problem = error,
            Err(_) => {}
        }
    }
    Err(problem)
}

fn executable(file: &Path) -> io::Result<PathBuf> {
    let is_file = std::fs::metadata(file)?.is_file();
    if !is_file {
        return Err(Errno::ACCESS.into());
    }
    access(file, Access::EXEC_OK)?;
    Ok(file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(program: &str, path: Option<&str>) -> Result<PathBuf, io::ErrorKind> {
        find(program, path.map(OsStr::new)).map_err(|error| error.kind())
    }

    #[test]
    fn programs_are_found_by_name_and_by_path_as_the_system_finds_them() {
        assert_eq!(kind("sh", Some("/nowhere:/bin")), Ok("/bin/sh".into()));
        assert_eq!(kind("/bin/sh", None), Ok("/bin/sh".into()));
        assert!(kind("sh", None).is_ok(), "without a PATH the system's own counts");
        assert_eq!(kind("no-such-program", Some("/bin")), Err(io::ErrorKind::NotFound));
        assert_eq!(kind("/no/such/program", None), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_may_not_be_executed_is_told_apart_from_what_is_not_there() {
        assert_eq!(kind("/etc/passwd", None), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(kind("/etc", None), Err(io::ErrorKind::PermissionDenied), "a folder");
        assert_eq!(kind("passwd", Some("/etc:/nowhere")), Err(io::ErrorKind::PermissionDenied));
    }
}
