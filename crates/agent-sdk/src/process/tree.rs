//! Which processes belong to an agent: descendants of its supervisor, and whoever carries its token.

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
        let all = all_processes();
        let mut members: HashSet<u32> =
            self.supervisor.map(|root| descendants(&all, root)).unwrap_or_default();
        if let Some(token) = &self.token {
            let wanted = format!("{TOKEN_VARIABLE}={token}");
            let carriers: Vec<u32> =
                all.keys().copied().filter(|pid| !members.contains(pid) && carries(*pid, &wanted)).collect();
            for carrier in carriers {
                members.insert(carrier);
                members.extend(descendants(&all, carrier));
            }
        }
        members.remove(&std::process::id());
        let alive = members.into_iter().filter_map(|pid| {
            let stat = all.get(&pid)?;
            (!stat.is_zombie).then_some(ProcessId { pid, start: stat.start })
        });
        alive.collect()
    }
}

fn all_processes() -> HashMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, Stat::read(pid)?))).collect()
}

fn descendants(all: &HashMap<u32, Stat>, root: u32) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut found = HashSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                next.push(*child);
            }
        }
    }
    found
}

fn carries(pid: u32, wanted: &str) -> bool {
    // Unreadable: another user's process, or one that has just ended. Neither is ours to end.
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// Resident memory in bytes of a process and all its descendants. Pages they share are counted once per process.
#[must_use]
pub fn rss_of(root: u32) -> u64 {
    let tree = Tree { supervisor: Some(root), token: None };
    tree.members()
        .into_iter()
        .map(|process| process.pid)
        .filter(|pid| *pid != root)
        .chain([root])
        .map(rss_of_process)
        .sum()
}

/// Resident memory in bytes of one process; 0 once it has ended.
#[must_use]
pub fn rss_of_process(pid: u32) -> u64 {
    // Another number of pages can only mean that the process has just ended.
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
