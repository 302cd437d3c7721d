//! Which processes belong to an agent: descendants of its supervisor, and whoever carries its token.
//!
//! Descendants are found by walking down the kernel's own lists of children, which costs as much as the tree is large.
//! Where the kernel keeps no such lists, and for tokens, every process of the machine has to be looked at.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::{ProcessId, Stat, TOKEN_VARIABLE};

/// What makes a process one of an agent's.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Descendants of this process belong to it, the process itself does not.
    pub supervisor: Option<u32>,
    /// Whoever has this value of [`TOKEN_VARIABLE`] in its environment belongs to it.
    pub token: Option<String>,
}

impl Tree {
    /// Every living process of the tree. Never contains the caller.
    #[must_use]
    pub fn members(&self) -> Vec<ProcessId> {
        let mut members: HashSet<u32> = self.supervisor.map(descendants).unwrap_or_default();
        if let Some(token) = &self.token {
            let wanted = format!("{TOKEN_VARIABLE}={token}");
            for pid in all_pids().filter(|pid| carries(*pid, &wanted)) {
                if members.insert(pid) {
                    members.extend(descendants(pid));
                }
            }
        }
        members.remove(&std::process::id());
        let alive = members.into_iter().filter_map(|pid| {
            let stat = Stat::read(pid)?;
            (!stat.is_zombie).then_some(ProcessId { pid, start: stat.start })
        });
        alive.collect()
    }
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(super) fn descendants(root: u32) -> HashSet<u32> {
    let mut found = HashSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let children = match listed_children(pid) {
            Some(children) => children,
            // No lists in this kernel, or the process has just ended and left its children to somebody else.
            None if pid == root => return descendants_by_scan(root),
            None => continue,
        };
        next.extend(children.into_iter().filter(|child| found.insert(*child)));
    }
    found
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

fn descendants_by_scan(root: u32) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in all_pids().filter_map(|pid| Some((pid, Stat::read(pid)?))) {
        children.entry(stat.parent).or_default().push(pid);
    }
    let mut found = HashSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let of_this = children.get(&pid).into_iter().flatten();
        next.extend(of_this.copied().filter(|child| found.insert(*child)));
    }
    found
}

fn carries(pid: u32, wanted: &str) -> bool {
    // Unreadable: another user's process, or one that has just ended. Neither is ours to end.
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
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
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        let walked = descendants(child.id());
        assert_eq!(walked.len(), 1);
        assert_eq!(walked, descendants_by_scan(child.id()));
        assert!(descendants_by_scan(std::process::id()).contains(&child.id()));
        let usage = resident(&tree_of(child.id()));
        assert_eq!(usage.processes, 2);
        assert!(usage.rss > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
