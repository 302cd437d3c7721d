//! Which processes belong to a life: what descends from its supervisor, and whoever carries its token.
//!
//! Descendants are found by walking down the kernel's own lists of children, which costs as much as the tree is large.
//! Where the kernel keeps no such lists, and for tokens, every process of the machine has to be looked at.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::identity::{ProcessId, Stat, TOKEN_VARIABLE};

/// What makes a process one of a life's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// From whom it descends.
    pub descent: Descent,
    /// Whoever has this value of [`TOKEN_VARIABLE`] in its environment belongs to it, wherever it went.
    pub token: Option<String>,
}

/// From whom the processes of a life descend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descent {
    /// From nobody who could be asked: they are known by their token alone.
    Unknown,
    /// From this process, whether it started or adopted them.
    Own,
    /// From a child of this process that has ended, so that this process adopted what it left behind.
    LeftBy(ProcessId),
}

/// Who is whose child: asked of the kernel's lists one by one, or read for the whole machine at one time.
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
    /// Asks as it goes.
    pub(super) fn by_lists() -> Self {
        Self::default()
    }

    /// Looks at every process now. The lists skip over sisters of a process that ends while they are read; a walk over all
    /// pids does not.
    pub(super) fn of_all() -> Self {
        let mut whole = Whole::default();
        for (pid, stat) in all_pids().filter_map(|pid| Some((pid, Stat::read(pid)?))) {
            whole.children.entry(stat.parent).or_default().push(pid);
            whole.processes.insert(pid, stat);
        }
        Self { whole: Some(whole) }
    }

    /// Every process of the machine; empty when only asked as it goes.
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
            // It has just ended and left its children to somebody else.
            None if pid != std::process::id() && listed_children(std::process::id()).is_some() => Vec::new(),
            // A kernel without lists.
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

    /// The descendants that live.
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
            // The thread may have ended meanwhile; a kernel without lists has none for any.
            Err(_) if thread.path().exists() => return None,
            Err(_) => {}
        }
    }
    Some(children)
}

/// The token in the environment that this process was started with. `None` also where that cannot be read: another user's
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
