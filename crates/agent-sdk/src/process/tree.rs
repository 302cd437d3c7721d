//! Which processes belong to a life: the descendants of its supervisor, and all that carry its token.
//!
//! Descendants are found by walking down the kernel's lists of children, at a cost in proportion to the tree. Where the
//! kernel has no such lists, and for tokens, all processes of the machine have to be looked at.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::identity::{ProcessId, Stat, TOKEN_VARIABLE};

/// How the processes of a life are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The process from which they descend.
    pub descent: Descent,
    /// The value of [`TOKEN_VARIABLE`]. A process with it in its environment belongs to the life, wherever it went.
    pub token: Option<String>,
}

/// The process from which the processes of a life descend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descent {
    /// None that could be asked: they are known by their token alone.
    Unknown,
    /// This process, whether it started or adopted them.
    Own,
    /// A child of this process that has ended, so that this process adopted what it left behind.
    LeftBy(ProcessId),
}

/// Which process is whose child: asked of the kernel's lists one by one, or read for the whole machine at once.
#[derive(Debug, Default)]
pub(super) struct Kinship {
    whole: Option<Whole>,
}

#[derive(Debug, Default)]
struct Whole {
    processes: HashMap<u32, Stat>,
    children: HashMap<u32, Vec<u32>>,
}

impl Kinship {
    /// Asks the kernel's lists when needed.
    pub(super) fn by_lists() -> Self {
        Self::default()
    }

    /// Reads all processes now. The kernel's lists skip sisters of a process that ends while they are read; a walk over
    /// all pids does not.
    pub(super) fn of_all() -> Self {
        let mut whole = Whole::default();
        for (pid, stat) in all_pids().filter_map(|pid| Some((pid, Stat::read(pid)?))) {
            whole.children.entry(stat.parent).or_default().push(pid);
            whole.processes.insert(pid, stat);
        }
        Self { whole: Some(whole) }
    }

    /// All processes of the machine; empty when the kernel's lists are used.
    pub(super) fn everybody(&self) -> impl Iterator<Item = ProcessId> {
        let processes = self.whole.iter().flat_map(|whole| &whole.processes);
        processes.filter(|(_, stat)| !stat.is_zombie).map(|(pid, stat)| stat.process(*pid))
    }

    /// The children of this process, zombies included.
    pub(super) fn children(&mut self, pid: u32) -> Vec<u32> {
        if let Some(whole) = &self.whole {
            return whole.children.get(&pid).cloned().unwrap_or_default();
        }
        match listed_children(pid) {
            Some(children) => children,
            // It has just ended, and its children have another parent now.
            None if pid != std::process::id() && listed_children(std::process::id()).is_some() => Vec::new(),
            // The kernel has no such lists.
            None => {
                *self = Self::of_all();
                self.children(pid)
            }
        }
    }

    pub(super) fn stat(&self, pid: u32) -> Option<Stat> {
        match &self.whole {
            Some(whole) => whole.processes.get(&pid).copied(),
            None => Stat::read(pid),
        }
    }

    /// All descendants, each once, without the process itself; zombies included.
    pub(super) fn descendants(&mut self, root: u32) -> HashSet<u32> {
        let mut found = HashSet::new();
        let mut next = vec![root];
        while let Some(pid) = next.pop() {
            next.extend(self.children(pid).into_iter().filter(|child| found.insert(*child)));
        }
        found
    }

    /// The descendants that live; without zombies.
    pub(super) fn living_below(&mut self, root: u32) -> Vec<ProcessId> {
        let pids = self.descendants(root);
        let alive = |pid: u32| self.stat(pid).filter(|stat| !stat.is_zombie).map(|stat| stat.process(pid));
        pids.into_iter().filter_map(alive).collect()
    }
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The living descendants of this process.
#[must_use]
pub fn living_below(root: u32) -> Vec<ProcessId> {
    Kinship::by_lists().living_below(root)
}

pub(super) fn descendants(root: u32) -> HashSet<u32> {
    Kinship::by_lists().descendants(root)
}

/// proc(5), `/proc/pid/task/tid/children`: each thread lists the processes it started or adopted.
fn listed_children(pid: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => {
                children.extend(list.split_whitespace().filter_map(|child| child.parse::<u32>().ok()))
            }
            // The thread may have ended meanwhile. A kernel without lists has none for any thread.
            Err(_) if thread.path().exists() => return None,
            Err(_) => {}
        }
    }
    Some(children)
}

/// The token in the environment with which this process was started. `None` also if that cannot be read: another user's
/// process, or one that has just ended.
pub(super) fn token_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |entry: &[u8]| {
        let value = entry.strip_prefix(TOKEN_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    environment.split(|byte| *byte == 0).find_map(value)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process::{resident, tree_of};

    #[test]
    fn both_ways_to_find_descendants_agree_and_all_are_counted() {
        // A child with a child of its own, which waits for its input. A shell gives what runs in the background none, and
        // it would end at once. The input ends when we drop it.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0; cat <&3 & echo up; wait"])
            .env(TOKEN_VARIABLE, "a:7")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        let walked = descendants(child.id());
        assert_eq!(walked.len(), 1);
        let mut all = Kinship::of_all();
        assert_eq!(walked, all.descendants(child.id()));
        assert!(all.descendants(std::process::id()).contains(&child.id()));
        assert_eq!(all.living_below(child.id()).len(), 1);
        assert_eq!(token_of(child.id()).as_deref(), Some("a:7"));
        let usage = resident(&tree_of(child.id()));
        assert_eq!(usage.processes, 2);
        assert!(usage.rss > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(token_of(child.id()), None);
    }
}
