//! The lives of this host, as their ledgers tell, and which of them have lost their supervisor.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use agent_sdk::process::{Ledger, LifeName, ProcessId, ledgers, living_below, place};

/// How long a guard has to end what it holds, once its supervisor is gone, before others do it.
const GUARDS_TIME: Duration = Duration::from_millis(300);
/// Pause between two tries to settle a life whose ledger stays.
const AGAIN: Duration = Duration::from_secs(10);

/// What is known of the lives of this host.
#[derive(Debug, Default)]
pub(crate) struct HostWatch {
    lives: HashMap<LifeName, Watched>,
}

#[derive(Debug)]
struct Watched {
    /// With the processes that were last seen below its supervisor.
    ledger: Ledger,
    orphan_since: Option<Instant>,
    /// When it was last returned. What it left may stay: it may be of another user or of another store.
    told_at: Option<Instant>,
}

impl HostWatch {
    /// Looks at all lives. Returns those that have lost their supervisor and whose guard has had its time; each once, and
    /// again after a while if its ledger stays.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<Ledger> {
        let here = place();
        let mut there = HashSet::new();
        for ledger in ledgers() {
            if Some(&ledger.place) == here.as_ref() || ledger.is_orphan() {
                let name = LifeName::of(&ledger);
                there.insert(name.clone());
                self.lives.entry(name).or_insert(Watched { ledger, orphan_since: None, told_at: None });
            }
        }
        self.lives.retain(|name, life| life.told_at.is_none() || there.contains(name));
        for life in self.lives.values_mut() {
            if life.ledger.is_orphan() {
                life.orphan_since.get_or_insert(now);
            } else {
                life.note();
            }
        }
        let due = self.lives.values_mut().filter(|life| life.is_due(now));
        due.map(|life| life.tell(now)).collect()
    }

    /// How many lives it knows.
    pub(crate) fn len(&self) -> usize {
        self.lives.values().filter(|life| life.told_at.is_none()).count()
    }
}

impl Watched {
    /// Notes which processes there are, where no cgroup and no namespace keeps account of them.
    fn note(&mut self) {
        if self.ledger.cgroup.is_none() && self.ledger.init.is_none() {
            let guard = self.ledger.guard;
            let mut found = living_below(self.ledger.supervisor.pid);
            found.retain(|process| Some(*process) != guard);
            // What has left the tree since stays noted as long as it lives.
            let earlier: Vec<ProcessId> = std::mem::take(&mut self.ledger.processes);
            found.extend(earlier.into_iter().filter(|process| process.is_alive()));
            found.sort_unstable();
            found.dedup();
            self.ledger.processes = found;
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let is_new = self.told_at.is_none_or(|told| now.duration_since(told) >= AGAIN);
        is_new && self.orphan_since.is_some_and(|since| self.has_had_its_time(since, now))
    }

    fn tell(&mut self, now: Instant) -> Ledger {
        self.told_at = Some(now);
        self.ledger.clone()
    }

    fn has_had_its_time(&self, since: Instant, now: Instant) -> bool {
        let is_guarded = self.ledger.guard.is_some_and(ProcessId::is_alive);
        !is_guarded || now.duration_since(since) >= GUARDS_TIME
    }
}
