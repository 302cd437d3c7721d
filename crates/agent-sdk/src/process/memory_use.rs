//! How much memory processes use, as the kernel tells.
//!
//! `statm` is one short read per process, so every sample takes it. `smaps_rollup` walks page tables, which takes about
//! 100 times as long. It divides shared pages among the processes that share them. It is read only where there is cause
//! for suspicion.
//!
//! A process may end between being listed and being read. A process that cannot be read counts as zero, which is then
//! true.

use std::fs;
use std::path::Path;

use super::tree::descendants;

/// Memory of several processes together, in bytes; pages they share are counted once per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resident {
    /// How many processes were counted.
    pub processes: u64,
    /// Resident memory.
    pub rss: u64,
    /// The part of it that is in files or shared memory.
    pub shared: u64,
    /// Address space reserved for data and stacks.
    pub reserved: u64,
}

impl Resident {
    /// Resident memory that one process alone has: heap and stacks.
    #[must_use]
    pub fn private(&self) -> u64 {
        self.rss.saturating_sub(self.shared)
    }
}

/// What a control group (cgroup v2) holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cgroup {
    /// `memory.current`: all memory charged to it, page cache included.
    pub current: u64,
    /// `memory.max`, where there is a limit.
    pub max: Option<u64>,
}

/// The process and all its descendants, each once.
#[must_use]
pub fn tree_of(root: u32) -> Vec<u32> {
    let mut tree = descendants(root);
    tree.insert(root);
    tree.into_iter().collect()
}

/// The memory of these processes. Those that have ended meanwhile count as zero.
#[must_use]
pub fn resident(pids: &[u32]) -> Resident {
    let page = rustix::param::page_size() as u64;
    let read =
        pids.iter().filter_map(|pid| statm(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?, page));
    read.fold(Resident::default(), |sum, one| Resident {
        processes: sum.processes + 1,
        rss: sum.rss.saturating_add(one.rss),
        shared: sum.shared.saturating_add(one.shared),
        reserved: sum.reserved.saturating_add(one.reserved),
    })
}

/// The proportional share (PSS) of these processes. A process whose share cannot be read (another user's, or one that
/// hides its memory) counts with all its resident memory, so that being unreadable is no way around a limit. `None`
/// when no share can be read at all, as in kernels before 4.14.
#[must_use]
pub fn proportional(pids: &[u32]) -> Option<u64> {
    let share = |pid: u32| pss(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?);
    sum_of_shares(pids, share, |pid| resident(&[pid]).rss)
}

/// Resident memory is read only where the share is not known.
fn sum_of_shares(
    pids: &[u32],
    share: impl Fn(u32) -> Option<u64>,
    resident: impl Fn(u32) -> u64,
) -> Option<u64> {
    let (sum, is_known) = pids.iter().fold((0_u64, false), |(sum, is_known), pid| {
        let share = share(*pid);
        (sum.saturating_add(share.unwrap_or_else(|| resident(*pid))), is_known || share.is_some())
    });
    is_known.then_some(sum)
}

/// The control group of this process. `None` without cgroup v2, or where it does not account for memory.
#[must_use]
pub fn own_cgroup() -> Option<Cgroup> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = unified_path(&groups)?;
    let folder = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    Some(Cgroup { current: number("memory.current")?, max: number("memory.max") })
}

/// proc(5): `size resident shared text lib data dt`, in pages. For an ended process the text is empty or missing.
fn statm(text: &str, page: u64) -> Option<Resident> {
    let mut fields = text.split_whitespace().map(|field| field.parse::<u64>().ok());
    let (_, resident, shared) = (fields.next()??, fields.next()??, fields.next()??);
    let reserved = fields.nth(2)??;
    let bytes = |pages: u64| pages.saturating_mul(page);
    // A zombie, or a process that has just ended, is listed but has no memory.
    (resident > 0).then(|| Resident {
        processes: 1,
        rss: bytes(resident),
        shared: bytes(shared),
        reserved: bytes(reserved),
    })
}

/// proc(5): one line is `Pss:   1234 kB`.
fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// cgroups(7): the line of the unified hierarchy is `0::/path`.
pub(super) fn unified_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_counted_once_and_this_one_uses_memory() {
        let own = std::process::id();
        let tree = tree_of(own);
        assert_eq!(tree.iter().filter(|pid| **pid == own).count(), 1);
        let used = resident(&[own]);
        assert!(used.rss > 1 << 20 && used.private() > 0 && used.private() < used.rss, "{used:?}");
        assert!(used.reserved >= used.private() / 2, "{used:?}");
        let share = proportional(&[own]).unwrap();
        assert!(share > 0 && share <= used.rss + (1 << 20), "{share} of {used:?}");
    }

    #[test]
    fn a_process_that_has_just_ended_counts_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(resident(&[pid]), Resident::default());
        assert_eq!(proportional(&[pid]), None);
        assert_eq!(statm("", 4096), None);
        assert_eq!(statm("0 0 0 0 0 0 0\n", 4096), None, "a zombie");
    }

    #[test]
    fn a_process_that_hides_its_share_counts_with_all_that_is_resident() {
        let resident = |pid| if pid == 1 { 10 } else { 200 };
        assert_eq!(sum_of_shares(&[1, 2], |pid| (pid == 1).then_some(3), resident), Some(203));
        assert_eq!(sum_of_shares(&[1, 2], |_| None, resident), None, "nothing better is known");
    }

    #[test]
    fn what_the_kernel_writes_is_read_and_what_it_does_not_is_missing() {
        assert_eq!(statm("100 20 5 1 0 30 0\n", 4096).unwrap().private(), 15 * 4096);
        assert_eq!(statm("100 x 5", 4096), None);
        assert_eq!(pss("Rss:  10 kB\nPss:      7 kB\nPss_Dirty: 3 kB\n"), Some(7 * 1024));
        assert_eq!(pss("Rss:  10 kB\n"), None);
        assert_eq!(unified_path("4:memory:/a\n0::/user.slice\n"), Some("/user.slice"));
        assert_eq!(unified_path("4:memory:/a\n"), None, "a kernel without cgroup v2");
    }
}
