//! Whether a PID namespace has ended: the place of an agent that was started within another one's command, say.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The PID namespace in which a machine begins: only from there all processes are seen (the kernel's `proc_ns.h`).
const FIRST: &str = "pid:[4026531836]";

/// The PID namespaces in which a process runs, if all of them can be seen from here.
#[derive(Debug)]
pub(super) struct Namespaces {
    boot: String,
    running: HashSet<String>,
}

impl Namespaces {
    /// Looks at every process. `None` where some may not be seen: in a namespace, or without being root.
    pub(super) fn look(here: &str) -> Option<Self> {
        let (boot, namespace) = here.split_once('/')?;
        if namespace != FIRST || !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut running = HashSet::new();
        for process in fs::read_dir("/proc").ok()?.flatten() {
            // A process may start others in a namespace that it is not in itself.
            for link in ["ns/pid", "ns/pid_for_children"] {
                running.extend(name(&process.path().join(link)));
            }
        }
        Some(Self { boot: boot.to_owned(), running })
    }

    /// Whether nothing runs in this place any more. `false` for one of another boot.
    pub(super) fn has_ended(&self, place: &str) -> bool {
        place.split_once('/').is_some_and(|(boot, namespace)| {
            boot == self.boot && namespace.starts_with("pid:[") && !self.running.contains(namespace)
        })
    }
}

fn name(link: &Path) -> Option<String> {
    let target: PathBuf = fs::read_link(link).ok()?;
    target.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::place;

    #[test]
    fn a_namespace_in_which_nothing_runs_has_ended_and_ours_has_not() {
        let here = place().unwrap();
        let Some(seen) = Namespaces::look(&here) else { return };
        let boot = here.split_once('/').unwrap().0;
        assert!(!seen.has_ended(&here));
        assert!(seen.has_ended(&format!("{boot}/pid:[1]")));
        assert!(
            !seen.has_ended("another-boot/pid:[1]")
                && !seen.has_ended("")
                && !seen.has_ended(&format!("{boot}/"))
        );
    }
}
