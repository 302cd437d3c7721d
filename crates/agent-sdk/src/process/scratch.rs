//! A folder for the small files of one process. Whatever ends the process, the folder does not stay: the next process of
//! the product on this host removes what processes left that are proven to have ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::identity::{ProcessId, place};
use super::runtime_folder::{make, runtime_folder};

/// A folder that only this user can read. It is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder of this process, and removes those of processes that have ended. There is one for a process.
    ///
    /// # Errors
    /// When it cannot be made, or when somebody else has made the folder that it is to be in.
    pub fn create() -> io::Result<Self> {
        let base = runtime_folder()?;
        remove_left_behind(&base);
        let own = ProcessId::own().ok_or_else(|| io::Error::other("this process cannot be told apart"))?;
        let scratch = Self(base.join(name(&here(), own)));
        scratch.make()?;
        Ok(scratch)
    }

    /// Makes the folder where it is not there: somebody else may have removed it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> io::Result<()> {
        runtime_folder()?;
        make(&self.0)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now, the next process removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders that processes of this host left which are proven to have ended.
pub fn remove_left_scratch() {
    if let Ok(base) = runtime_folder() {
        remove_left_behind(&base);
    }
}

fn name(here: &str, process: ProcessId) -> String {
    format!("{here}-{}-{}", process.pid, process.start)
}

/// This boot and this PID namespace, as a part of a file's name.
fn here() -> String {
    place().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect()
}

fn remove_left_behind(base: &Path) {
    let (Ok(entries), here) = (fs::read_dir(base), here()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_left_behind(name, &here)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether this is the folder of a process of this very place that has ended.
fn is_left_behind(name: &str, here: &str) -> bool {
    let owner = || {
        let (rest, start) = name.rsplit_once('-')?;
        let (theirs, pid) = rest.rsplit_once('-')?;
        (theirs == here).then_some(ProcessId { pid: pid.parse().ok()?, start: start.parse().ok()? })
    };
    owner().is_some_and(|process| !process.is_alive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_processes_of_this_place_that_have_ended_are_left_behind() {
        let own = ProcessId::own().unwrap();
        let here = here();
        assert!(!is_left_behind(&name(&here, own), &here));
        assert!(is_left_behind(&name(&here, ProcessId { start: own.start + 1, ..own }), &here));
        assert!(!is_left_behind(&name("elsewhere", ProcessId { start: own.start + 1, ..own }), &here));
        for foreign in ["", "x", "a-b-c", "-1-", &format!("{here}-x-1")] {
            assert!(!is_left_behind(foreign, &here), "{foreign:?}");
        }
    }
}
