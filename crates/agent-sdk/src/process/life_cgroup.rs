//! The cgroup v2 of a life, where the host lets us have one: its processes cannot leave it, it is ended as a whole, and
//! `populated 0` is proof that none is left (the kernel's cgroup-v2.rst, cgroups(7)).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::identity::ProcessId;
use super::memory_use::unified_path;

/// How the names of these groups begin.
const PREFIX: &str = "lifecycle";

/// A group below the one that this process is in. It is removed when this is dropped, if it is empty.
#[derive(Debug)]
pub struct LifeCgroup {
    path: PathBuf,
}

impl LifeCgroup {
    /// Makes one. `number` tells those of one process apart.
    ///
    /// # Errors
    /// When the host has no cgroup v2, or this process may not write there.
    pub fn create(number: u32) -> io::Result<Self> {
        let unknown = || io::Error::other("this process cannot be told apart");
        let (own, namespace) = ProcessId::own().zip(namespace()).ok_or_else(unknown)?;
        let path = own_group()?.join(format!("{PREFIX}-{namespace}-{}-{}-{number}", own.pid, own.start));
        fs::create_dir(&path)?;
        let group = Self { path };
        // A folder that others own may let us make a folder, and not use it.
        OpenOptions::new().write(true).open(group.path.join("cgroup.procs"))?;
        if !group.path.join("cgroup.kill").exists() {
            return Err(io::Error::other("its kernel has no cgroup.kill (Linux 5.14)"));
        }
        Ok(group)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its folder, opened, for a process that is to be born in it.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn folder(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Lets the kernel end all processes of the group once they use more than this many bytes. `false` where the group does not
    /// account for memory.
    #[must_use]
    pub fn limit_memory(&self, most: u64) -> bool {
        let write = |file: &str, value: &str| fs::write(self.path.join(file), value).is_ok();
        write("memory.oom.group", "1") && write("memory.max", &most.to_string())
    }

    /// What came of its want of memory so far; nothing where it does not account for memory.
    #[must_use]
    pub fn out_of_memory(&self) -> OutOfMemory {
        fs::read_to_string(self.path.join("memory.events"))
            .map_or_else(|_| OutOfMemory::default(), |text| OutOfMemory::read(&text))
    }
}

/// How often a group was short of memory (the kernel's cgroup-v2.rst, `memory.events`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutOfMemory {
    /// It was at its own limit, and could not give anything back.
    pub at_limit: u64,
    /// The kernel ended a process of it, for its own limit or for the host's want.
    pub killed: u64,
}

impl OutOfMemory {
    fn read(text: &str) -> Self {
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
        };
        Self { at_limit: count("oom"), killed: count("oom_kill") }
    }
}

impl Drop for LifeCgroup {
    fn drop(&mut self) {
        // One that is not empty is in the ledger, and its guard's.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Removes groups beside that of this process whose makers are proven to have ended, and which are empty. Where all were
/// killed in one instant, nobody else does.
pub fn remove_left_cgroups() {
    let (Ok(group), Some(namespace)) = (own_group(), namespace()) else { return };
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(|name| maker_of(name, &namespace)).is_some_and(|maker| !maker.is_alive()) {
            // One that is not empty stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The process that made the group of this name, if it was of this PID namespace.
fn maker_of(name: &str, namespace: &str) -> Option<ProcessId> {
    let mut fields = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-');
    let is_here = fields.next() == Some(namespace);
    let (pid, start) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    is_here.then_some(ProcessId { pid, start })
}

/// The number of the PID namespace in which our pids mean something.
fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    let digits: String = link.to_str()?.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// The folder of the group that this process is in.
fn own_group() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let found = mount_point(&mounts).zip(unified_path(&groups));
    let (mount, path) = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 here"))?;
    Ok(Path::new(mount).join(path.trim_start_matches('/')))
}

/// proc(5), mountinfo: `… root mount-point options … - type source options`.
fn mount_point(mounts: &str) -> Option<&str> {
    let line = mounts.lines().find(|line| {
        line.split_once(" - ").is_some_and(|(_, rest)| rest.split(' ').next() == Some("cgroup2"))
    })?;
    line.split(' ').nth(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_the_want_of_memory_is_read_as_the_kernel_writes_it() {
        let events = "low 0\nhigh 3\nmax 120\noom 2\noom_kill 7\noom_group_kill 1\n";
        assert_eq!(OutOfMemory::read(events), OutOfMemory { at_limit: 2, killed: 7 });
        assert_eq!(OutOfMemory::read(""), OutOfMemory::default());
    }

    #[test]
    fn the_name_of_a_group_tells_who_made_it_and_where_that_means_something() {
        let own = ProcessId { pid: 7, start: 99 };
        assert_eq!(maker_of("lifecycle-4026531836-7-99-0", "4026531836"), Some(own));
        for other in [
            "lifecycle-4026531837-7-99-0",
            "lifecycle-7-99-0",
            "lifecycle",
            "user.slice",
            "lifecycle-4026531836-x-9-0",
        ] {
            assert_eq!(maker_of(other, "4026531836"), None, "{other}");
        }
    }

    #[test]
    fn the_mount_of_version_2_is_found_among_those_of_version_1() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point("30 24 0:26 / /sys rw - sysfs cgroup2 rw\n"), None);
    }
}
