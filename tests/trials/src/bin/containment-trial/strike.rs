//! Who is hit, and the blow: who they are is found out before, so that all signals are sent in one loop.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group, pidfd_send_signal};

use crate::matrix::{Blow, Target};
use crate::processes::{Process, ProcessId, all, stat};

/// How long who is hit stands still between STOP and KILL.
const STANDSTILL: std::ops::RangeInclusive<u64> = 50..=250;

/// The processes that look after one tree.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    supervisor: ProcessId,
    coordinator: Option<ProcessId>,
    /// Every `agent hold` below the supervisor: the guard, and the first process of a namespace.
    holders: Vec<ProcessId>,
}

/// Those of the cast who are hit.
#[derive(Debug)]
pub(crate) struct Victims {
    each: Vec<OwnedFd>,
    group: Option<Pid>,
}

impl Cast {
    /// Finds them by their command lines.
    ///
    /// # Errors
    /// When there is no supervisor of this agent, or no coordinator of this plan where there must be one.
    pub(crate) fn find(agent: &str, plan: Option<&Path>) -> Result<Self> {
        let all = all();
        let coordinator = match plan {
            None => None,
            Some(plan) => Some(coordinator_of(&all, plan).context("there is no coordinator any more")?),
        };
        let supervisor = supervisor_of(&all, agent).context("there is no supervisor any more")?;
        Ok(Self { supervisor, coordinator, holders: holders_below(&all, supervisor) })
    }

    /// Everybody who is still there.
    pub(crate) fn alive(&self) -> Vec<ProcessId> {
        let cast = self.holders.iter().chain(&self.coordinator).chain([&self.supervisor]);
        cast.copied().filter(|process| process.is_alive()).collect()
    }

    /// # Errors
    /// When one of them has ended already.
    pub(crate) fn victims(&self, target: Target) -> Result<Victims> {
        let mut hit = Vec::new();
        let mut group = None;
        match target {
            Target::Supervisor | Target::Bare => hit.push(self.supervisor),
            Target::Group | Target::BareGroup => group = Some(group_of(self.supervisor)?),
            Target::Coordinator => hit.extend(self.coordinator),
            Target::Both => hit.extend(self.coordinator.into_iter().chain([self.supervisor])),
            Target::BothAndGuard | Target::BesideHost => {
                hit.extend(self.coordinator.into_iter().chain([self.supervisor]));
                hit.extend(&self.holders);
            }
        }
        let each = hit.into_iter().map(|process| process.open().context("who was to be hit has ended"));
        Ok(Victims { each: each.collect::<Result<_>>()?, group })
    }
}

impl Victims {
    /// Sends the signals. Returns when the last kind of signal was begun to be sent.
    pub(crate) fn strike(&self, blow: Blow, random: &mut StdRng) -> Instant {
        if blow == Blow::StopKill {
            self.send(Signal::STOP);
            sleep(Duration::from_millis(random.random_range(STANDSTILL)));
        }
        let struck = Instant::now();
        self.send(if blow == Blow::Term { Signal::TERM } else { Signal::KILL });
        struck
    }

    /// Who has ended by now needs no signal.
    fn send(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
        for fd in &self.each {
            let _ = pidfd_send_signal(fd, signal);
        }
    }
}

fn coordinator_of(all: &[Process], plan: &Path) -> Option<ProcessId> {
    let plan = plan.display().to_string();
    all.iter().find(|process| process.runs("coordinator", "run") && process.says(&plan)).map(|found| found.id)
}

/// The outermost one, should it have become several processes.
fn supervisor_of(all: &[Process], agent: &str) -> Option<ProcessId> {
    let is_one =
        |process: &&Process| process.runs("agent", "run") && process.words.iter().any(|word| word == agent);
    let found: Vec<ProcessId> = all.iter().filter(is_one).map(|process| process.id).collect();
    let is_inner = |process: &ProcessId| {
        stat(process.pid).is_some_and(|stat| found.iter().any(|other| other.pid == stat.parent))
    };
    found.iter().find(|process| !is_inner(process)).copied()
}

fn holders_below(all: &[Process], supervisor: ProcessId) -> Vec<ProcessId> {
    let holders = all.iter().filter(|process| process.runs("agent", "hold")).map(|process| process.id);
    holders.filter(|holder| descends(holder.pid, supervisor.pid)).collect()
}

fn descends(mut pid: i32, from: i32) -> bool {
    while let Some(stat) = stat(pid).filter(|stat| stat.parent > 1) {
        if stat.parent == from {
            return true;
        }
        pid = stat.parent;
    }
    false
}

/// Never our own, which would hit the trial and whoever runs it.
fn group_of(process: ProcessId) -> Result<Pid> {
    let group = stat(process.pid).context("the supervisor has ended")?.group;
    let group = Pid::from_raw(group).context("a process group of 0")?;
    ensure!(group != getpgrp(), "the supervisor is in the trial's own process group");
    Ok(group)
}
