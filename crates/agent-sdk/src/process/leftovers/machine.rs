//! One look at all processes of the machine, and the bounds within which a life's processes are looked for.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::super::identity::{ProcessId, Stat, place};
use super::super::ledger::Ledger;
use super::super::tree::{Kinship, token_of};
use super::LifeName;

/// All processes, whose children they are, and which tokens they carry.
#[derive(Debug)]
pub(super) struct Machine {
    kinship: Kinship,
    tokens: HashMap<ProcessId, LifeName>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let kinship = Kinship::of_all();
        let token = |process: ProcessId| Some((process, LifeName::of_token(&token_of(process.pid)?)?));
        let tokens = kinship.everybody().filter_map(token).collect();
        Self { kinship, tokens }
    }

    /// The life whose token this process carries.
    pub(super) fn token(&self, process: ProcessId) -> Option<LifeName> {
        self.tokens.get(&process).cloned().or_else(|| token_now(process))
    }

    pub(super) fn carriers(&self, life: &LifeName) -> Vec<ProcessId> {
        self.tokens.iter().filter(|(_, of)| *of == life).map(|(process, _)| *process).collect()
    }

    pub(super) fn all_carriers(&self) -> Vec<(ProcessId, LifeName)> {
        self.tokens.iter().map(|(process, life)| (*process, life.clone())).collect()
    }

    /// The user whose process it is.
    pub(super) fn user(&self, process: ProcessId) -> u32 {
        user_of(process.pid).unwrap_or(u32::MAX)
    }

    /// Whether this very process lives and can be of the ledger's life.
    pub(super) fn is_held_by(&self, process: ProcessId, ledger: &Ledger) -> bool {
        user_of(process.pid).is_some_and(|user| ledger.may_hold(user)) && process.is_alive()
    }

    /// The process and what is below it, without what another life's token or supervisor begins.
    pub(super) fn below(&mut self, root: ProcessId, life: &LifeName, bounds: &Bounds) -> Vec<ProcessId> {
        let mut seen = HashSet::from([root.pid]);
        let (mut found, mut next) = (Vec::new(), vec![root]);
        while let Some(process) = next.pop() {
            if !bounds.is_of(process, life, self.token(process)) {
                continue;
            }
            found.push(process);
            let children = self.kinship.children(process.pid).into_iter().filter(|child| seen.insert(*child));
            let children: Vec<u32> = children.collect();
            let living = |pid: u32| {
                self.kinship.stat(pid).filter(|stat| !stat.is_zombie).map(|stat| stat.process(pid))
            };
            next.extend(children.into_iter().filter_map(living));
        }
        found
    }

    /// Whether the process is one of these, or below one.
    pub(super) fn is_at_or_below(&self, process: ProcessId, roots: &HashSet<ProcessId>) -> bool {
        let is_one = |pid: u32| ProcessId::of(pid).is_some_and(|process| roots.contains(&process));
        !roots.is_empty() && (roots.contains(&process) || self.above(process).any(is_one))
    }

    /// The processes above this one, the nearest first.
    fn above(&self, process: ProcessId) -> impl Iterator<Item = u32> {
        let parent = |pid: &u32| self.kinship.stat(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
        // Pids that were used again between two reads could lead round in a circle.
        std::iter::successors(parent(&process.pid), parent).take(1_000)
    }

    /// Whether nothing above it could be its supervisor: the uppermost process of its life was left to whoever adopts
    /// orphans. A supervisor adopts what its command leaves, so it is above all of it.
    pub(super) fn is_orphan(&self, process: ProcessId, life: &LifeName) -> bool {
        let carries =
            |pid: u32| ProcessId::of(pid).and_then(|process| self.token(process)).as_ref() == Some(life);
        self.above(process).find(|pid| !carries(*pid)).is_none_or(is_adopter)
    }
}

/// The life whose token this process carries at this moment.
pub(super) fn token_now(process: ProcessId) -> Option<LifeName> {
    LifeName::of_token(&token_of(process.pid)?)
}

/// Whether orphans come to this process because it adopts everybody's: the first process, or a user's service manager.
/// A supervisor that is the first process of a container is none.
pub(in super::super) fn is_adopter(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim_end() {
        "systemd" => true,
        "agent" | "coordinator" => false,
        _ => pid == 1,
    }
}

/// proc(5), `Uid: real effective saved filesystem`. The real one, because a program with the set-uid bit is still of the
/// user who ran it.
pub(in super::super) fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What is never of a life that is over: supervisors that run, with what is below them, and whoever asks.
#[derive(Debug)]
pub(super) struct Bounds {
    supervisors: HashSet<ProcessId>,
    spared: HashSet<u32>,
}

impl Bounds {
    pub(super) fn of(ledgers: &[Ledger]) -> Self {
        let here = place();
        let is_here = |ledger: &&Ledger| Some(&ledger.place) == here.as_ref();
        // A ledger that anybody may have written makes no other user's process a supervisor.
        let runs = |ledger: &&Ledger| {
            let supervisor = ledger.supervisor;
            user_of(supervisor.pid).is_some_and(|user| ledger.may_hold(user)) && supervisor.is_alive()
        };
        let supervisors =
            ledgers.iter().filter(is_here).filter(runs).map(|ledger| ledger.supervisor).collect();
        Self { supervisors, spared: own_line() }
    }

    pub(super) fn is_held(&self, ledger: &Ledger) -> bool {
        self.supervisors.contains(&ledger.supervisor)
    }

    /// The supervisors that run and are themselves marked as of a life: those of agents that its command started. What
    /// is below them is theirs, though it may carry the outer life's marks too.
    pub(super) fn inner(&self, marked: &HashSet<ProcessId>) -> HashSet<ProcessId> {
        self.supervisors.intersection(marked).copied().collect()
    }

    /// Whether a process can be of this life, `token` being what it carries.
    pub(super) fn is_of(&self, process: ProcessId, life: &LifeName, token: Option<LifeName>) -> bool {
        !self.supervisors.contains(&process) && token.is_none_or(|token| token == *life)
    }

    /// This process and those above it.
    pub(super) fn spares(&self, process: ProcessId) -> bool {
        self.spared.contains(&process.pid)
    }

    pub(super) fn is_below_a_supervisor(&self, process: ProcessId, machine: &Machine) -> bool {
        machine.is_at_or_below(process, &self.supervisors)
    }
}

/// The pids of this process and of those above it.
pub(in super::super) fn own_line() -> HashSet<u32> {
    let parent = |pid: &u32| Stat::read(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
    std::iter::successors(Some(std::process::id()), parent).take(1_000).collect()
}
