//! What lives left on this host: processes that run on although the process that held them is gone.
//!
//! ```text
//!   machine    one look at all processes, and which of them are of a life
//!   cgroup     the processes of a control group; ending and removing it
//!   described  what is shown of a process: user, age, memory, command
//!   ending     ends what was listed, and what it starts meanwhile
//! ```
//!
//! A process is recognised by the strongest of four marks. A control group and a PID namespace hold all that is in them;
//! the ledger names processes that were seen; the token finds those that kept their environment. What is below a marked
//! process is of its life too, except where another life's begins.
//!
//! Nothing is decided here: a life may be found over or not, by `lifecycle_core::agent::leftover`.

mod cgroup;
mod described;
mod ending;
mod machine;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lifecycle_core::wire::ids::{AgentId, Incarnation};

use super::ended_namespace::Namespaces;
use super::identity::{ProcessId, place};
use super::ledger::{Ledger, ledgers};
use machine::{Bounds, Machine};

pub(super) use described::{age, command_of, resident_of, user_name, words_of};
pub use ending::{Told, end};
pub(super) use machine::{is_adopter, own_line, user_of};

/// One life of an agent, as its token names it: `<id>:<incarnation>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifeName {
    /// The agent.
    pub id: AgentId,
    /// The life.
    pub incarnation: Incarnation,
}

impl LifeName {
    /// The life of this ledger.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        Self { id: ledger.id.clone(), incarnation: ledger.incarnation }
    }

    /// The life that a token names. A token of another form is nobody's.
    #[must_use]
    pub fn of_token(token: &str) -> Option<Self> {
        let (id, incarnation) = token.split_once(':')?;
        let life = Self { id: AgentId::new(id).ok()?, incarnation: incarnation.parse().ok()? };
        // Two texts of one number would be two tokens of one life.
        (life.to_string() == token).then_some(life)
    }
}

impl fmt::Display for LifeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.incarnation)
    }
}

/// How a process was recognised; the strongest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// It is in the control group of the life.
    Cgroup,
    /// It is in the PID namespace of the life.
    Namespace,
    /// The ledger names it, or a process above it.
    Ledger,
    /// It has the token in its environment, or a process above it has.
    Token,
}

impl Mark {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Namespace => "namespace",
            Self::Ledger => "ledger",
            Self::Token => "token",
        }
    }
}

/// A process that is left.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The life that it is of.
    pub life: LifeName,
    /// The process.
    pub process: ProcessId,
    /// How it was recognised.
    pub recognised_by: Mark,
    /// The ledger of the life, whose supervisor is proven gone. `None` if the token alone tells of the life, and then its
    /// supervisor is not known.
    pub ledger: Option<Arc<Ledger>>,
    /// Whether no process is above it that could be its supervisor.
    pub is_orphan: bool,
    /// The user whose process it is.
    pub uid: u32,
    /// That user's name, if this host knows it.
    pub user: Option<String>,
    /// How long it has run.
    pub age: Option<Duration>,
    /// Its resident memory, in bytes.
    pub rss: u64,
    /// The words of its command, as they are; shortened.
    pub command: String,
}

/// What is left on this host.
#[derive(Debug, Clone, Default)]
pub struct Remains {
    /// Processes, by life.
    pub leftovers: Vec<Leftover>,
    /// Ledgers of lives of which nothing is left. [`tidy`] removes them.
    pub empty: Vec<Ledger>,
}

/// Looks for what is left on this host. Never finds this process, nor one above it.
#[must_use]
pub fn find() -> Remains {
    find_noting(&[])
}

/// The same, by ledgers that this process has kept itself: what they note of processes is newer than what stands in the
/// files, or these may have gone.
#[must_use]
pub fn find_noting(kept: &[Ledger]) -> Remains {
    // The order matters: a life writes its ledger before it starts anything, so every process that is seen here has its
    // ledger by the time these are read.
    let mut machine = Machine::look();
    let ledgers = with_kept(ledgers(), kept);
    let here = place();
    let bounds = Bounds::of(&ledgers);
    let (own, others): (Vec<Ledger>, Vec<Ledger>) =
        ledgers.into_iter().partition(|ledger| Some(&ledger.place) == here.as_ref());
    let over = own.iter().filter(|ledger| !bounds.is_held(ledger)).cloned().map(Arc::new).collect::<Vec<_>>();
    let mut claims = Claims::default();
    for ledger in &over {
        claims.of_ledger(ledger, &mut machine, &bounds);
    }
    let has_ledger = |life: &LifeName, uid: u32| {
        own.iter().chain(&others).any(|ledger| ledger.is_of(life) && ledger.may_hold(uid))
    };
    claims.of_tokens(&mut machine, &bounds, has_ledger);
    let namespaces = if others.is_empty() { None } else { here.as_deref().and_then(Namespaces::look) };
    let has_ended = |ledger: &Ledger| namespaces.as_ref().is_some_and(|seen| seen.has_ended(&ledger.place));
    let elsewhere = others
        .into_iter()
        .filter(|ledger| is_of_an_earlier_boot(ledger, here.as_deref()) || has_ended(ledger));
    // What ends in between is in neither list if the empty ones are told first.
    let leftovers = claims.described(&machine, &bounds);
    let left_nothing = over.iter().filter(|ledger| !claims.has(ledger)).map(|ledger| Ledger::clone(ledger));
    Remains { leftovers, empty: left_nothing.chain(elsewhere).collect() }
}

/// Whether nothing that was in the life's control group or PID namespace runs: all of the life has ended. `false` where
/// it had neither, because then there may be something that nobody sees.
#[must_use]
pub fn is_empty_for_sure(ledger: &Ledger) -> bool {
    let is_here = Some(&ledger.place) == place().as_ref();
    let has_no_process = |cgroup: &std::path::PathBuf| cgroup::is_empty(cgroup);
    let by_namespace = ledger.init.is_some_and(|init| !init.is_alive());
    is_here && (by_namespace || ledger.cgroup.as_ref().is_some_and(has_no_process))
}

/// Removes ledgers of which nothing is left, with their control groups.
///
/// # Errors
/// The first that could not be removed; the others are removed all the same.
pub fn tidy(empty: &[Ledger]) -> io::Result<()> {
    let removed = empty.iter().map(|ledger| {
        // Of an earlier boot nothing is there, and what has this name now is another's.
        if Some(&ledger.place) == place().as_ref()
            && let Some(cgroup) = &ledger.cgroup
        {
            cgroup::remove(cgroup, ledger)?;
        }
        ledger.remove()
    });
    removed.fold(Ok(()), io::Result::and)
}

fn with_kept(mut read: Vec<Ledger>, kept: &[Ledger]) -> Vec<Ledger> {
    for ours in kept {
        match read.iter_mut().find(|ledger| ledger.id == ours.id && ledger.incarnation == ours.incarnation) {
            Some(ledger) => ledger.processes.extend(&ours.processes),
            None => read.push(ours.clone()),
        }
    }
    read
}

pub(super) fn is_of_an_earlier_boot(ledger: &Ledger, here: Option<&str>) -> bool {
    let boot = |place: &str| place.split_once('/').map(|(boot, _)| boot.to_owned());
    match (boot(&ledger.place), here.and_then(boot)) {
        (Some(theirs), Some(ours)) => theirs != ours,
        _ => false,
    }
}

/// Which life each process is of, by the strongest mark.
#[derive(Debug, Default)]
struct Claims(HashMap<ProcessId, Claim>);

#[derive(Debug, Clone)]
struct Claim {
    life: LifeName,
    mark: Mark,
    ledger: Option<Arc<Ledger>>,
}

impl Claims {
    /// Claims what this ledger leads to.
    fn of_ledger(&mut self, ledger: &Arc<Ledger>, machine: &mut Machine, bounds: &Bounds) {
        let life = LifeName::of(ledger);
        let claim = |mark| Claim { life: life.clone(), mark, ledger: Some(ledger.clone()) };
        let members = ledger.cgroup.iter().flat_map(|path| cgroup::members(path)).filter_map(ProcessId::of);
        let marked: Vec<(ProcessId, Mark)> = [
            members.map(|process| (process, Mark::Cgroup)).collect(),
            ledger.init.iter().map(|init| (*init, Mark::Namespace)).collect(),
            ledger.processes.iter().chain(&ledger.guard).map(|process| (*process, Mark::Ledger)).collect(),
            machine.carriers(&life).into_iter().map(|process| (process, Mark::Token)).collect::<Vec<_>>(),
        ]
        .concat();
        // Whatever a ledger says: a life has no process that is older than the one that held them, and never the first of all.
        let may_be_its = |process: &ProcessId| process.pid > 1 && process.start >= ledger.supervisor.start;
        let marked: Vec<(ProcessId, Mark)> =
            marked.into_iter().filter(|(process, _)| may_be_its(process)).collect();
        let all = marked.iter().map(|(process, _)| *process).collect();
        let inner = bounds.inner(&all);
        for (process, mark) in marked {
            if !machine.is_held_by(process, ledger) || machine.is_at_or_below(process, &inner) {
                continue;
            }
            // A control group holds what is in it, and what is below a member may have left it.
            let below = if mark == Mark::Cgroup { Mark::Ledger } else { mark };
            self.claim(process, claim(mark), machine, bounds);
            self.with_below([process], &claim(below), machine, bounds);
        }
    }

    /// Claims what only a token marks: neither has its life a ledger, nor is it below a supervisor that runs.
    fn of_tokens(
        &mut self,
        machine: &mut Machine,
        bounds: &Bounds,
        has_ledger: impl Fn(&LifeName, u32) -> bool,
    ) {
        for (process, life) in machine.all_carriers() {
            let is_unknown =
                !has_ledger(&life, machine.user(process)) && !bounds.is_below_a_supervisor(process, machine);
            if is_unknown {
                let claim = Claim { life, mark: Mark::Token, ledger: None };
                self.with_below([process], &claim, machine, bounds);
            }
        }
    }

    fn with_below(
        &mut self,
        roots: impl IntoIterator<Item = ProcessId>,
        claim: &Claim,
        machine: &mut Machine,
        bounds: &Bounds,
    ) {
        for root in roots {
            for process in machine.below(root, &claim.life, bounds) {
                self.claim(process, claim.clone(), machine, bounds);
            }
        }
    }

    /// A stronger mark stays, and of two of the same the earlier.
    fn claim(&mut self, process: ProcessId, claim: Claim, machine: &Machine, bounds: &Bounds) {
        if !bounds.is_of(process, &claim.life, machine.token(process)) {
            return;
        }
        let earlier = self.0.get(&process).is_some_and(|earlier| earlier.mark <= claim.mark);
        if !earlier {
            self.0.insert(process, claim);
        }
    }

    /// Whether anything of this ledger's life still runs.
    fn has(&self, ledger: &Arc<Ledger>) -> bool {
        let is_of = |claim: &Claim| claim.ledger.as_ref().is_some_and(|other| Arc::ptr_eq(other, ledger));
        self.0.iter().any(|(process, claim)| is_of(claim) && process.is_alive())
    }

    /// What is left of them by now, without ourselves and those above us.
    fn described(&self, machine: &Machine, bounds: &Bounds) -> Vec<Leftover> {
        let mut users = described::Users::default();
        // By now it may run another life's command.
        let is_still =
            |process: ProcessId, life: &LifeName| bounds.is_of(process, life, machine::token_now(process));
        let found = self.0.iter().filter(|(process, claim)| {
            process.is_alive() && !bounds.spares(**process) && is_still(**process, &claim.life)
        });
        let describe = |(&process, claim): (&ProcessId, &Claim)| {
            let uid = machine.user(process);
            Leftover {
                is_orphan: machine.is_orphan(process, &claim.life),
                uid,
                user: users.name(uid),
                age: age(process),
                rss: resident_of(process),
                command: command_of(process.pid),
                recognised_by: claim.mark,
                life: claim.life.clone(),
                ledger: claim.ledger.clone(),
                process,
            }
        };
        let mut leftovers: Vec<Leftover> = found.map(describe).collect();
        leftovers.sort_by(|one, other| (&one.life, one.process).cmp(&(&other.life, other.process)));
        leftovers
    }
}

impl Ledger {
    fn is_of(&self, life: &LifeName) -> bool {
        self.id == life.id && self.incarnation == life.incarnation
    }

    /// Whether a process of this user can be of this life. A user's ledger, which may say anything, is no word on other
    /// users' processes; root's commands may run as anybody.
    fn may_hold(&self, user: u32) -> bool {
        self.owner() == 0 || self.owner() == user
    }
}

#[cfg(test)]
mod tests;
