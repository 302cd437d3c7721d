//! The control group (cgroup v2) of a life: who is in it, ending it, and removing it.
//!
//! Its path stands in a ledger, which a user may have written: nothing outside the kernel's own tree is touched, and
//! nothing is ended in a group of which anybody else is a member.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use super::super::identity::ProcessId;
use super::super::ledger::Ledger;

/// Where the kernel shows them.
const ROOT: &str = "/sys/fs/cgroup";
/// A group is removed once the kernel has let go of its last process.
const DEPTH: usize = 8;

fn is_a_group(path: &Path) -> bool {
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    is_plain && path.starts_with(ROOT) && path != Path::new(ROOT)
}

/// The pids of all members, those of groups below it too.
pub(super) fn members(path: &Path) -> Vec<u32> {
    if !is_a_group(path) {
        return Vec::new();
    }
    let listed = |group: &Path| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids = |group: &Path| listed(group).lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>();
    // A process of another PID namespace shows as 0.
    groups(path, DEPTH).iter().flat_map(|group| pids(group)).filter(|pid| *pid > 0).collect()
}

/// The group and those below it, the lowest last.
fn groups(path: &Path, depth: usize) -> Vec<std::path::PathBuf> {
    let mut found = vec![path.to_path_buf()];
    if depth > 0 {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(below.flat_map(|entry| groups(&entry.path(), depth - 1)));
    }
    found
}

/// Whether the kernel says that no process is in it, nor in a group below it; or it is not there.
pub(super) fn is_empty(path: &Path) -> bool {
    is_a_group(path)
        && match fs::read_to_string(path.join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 0"),
            Err(error) => error.kind() == io::ErrorKind::NotFound && !path.exists(),
        }
}

/// Kills all members at once, those that fork meanwhile too, if there are no others than these.
pub(super) fn kill(path: &Path, only: &HashSet<ProcessId>) {
    let members: Vec<ProcessId> = members(path).into_iter().filter_map(ProcessId::of).collect();
    if !members.is_empty() && members.iter().all(|member| only.contains(member) || !member.is_alive()) {
        // Kernels before 5.14 have no such file: then each process is killed by itself.
        let _ = fs::write(path.join("cgroup.kill"), "1");
    }
}

/// Removes a group of which no process is left, and those below it; no error if it is not there.
pub(super) fn remove(path: &Path, ledger: &Ledger) -> io::Result<()> {
    if !is_a_group(path) || !path.exists() {
        return Ok(());
    }
    // A user's word is no reason to remove another user's group.
    if ledger.owner() != 0 && fs::symlink_metadata(path)?.uid() != ledger.owner() {
        return Ok(());
    }
    groups(path, DEPTH).iter().rev().try_for_each(fs::remove_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_below_the_kernels_tree_is_one() {
        for wrong in
            ["/", "/sys/fs/cgroup", "/sys/fs/cgroup/../x", "/etc", "sys/fs/cgroup/a", "/sys/fs/cgroups/a"]
        {
            assert!(!is_a_group(Path::new(wrong)), "{wrong}");
        }
        assert!(is_a_group(Path::new("/sys/fs/cgroup/user.slice/a")));
    }
}
