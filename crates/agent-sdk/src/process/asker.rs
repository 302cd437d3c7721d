//! Which life a process may speak for: that of whose command it is.
//!
//! A token alone proves nothing, because anybody can write one down. So the process has to be below the supervisor of that
//! life, with no other life's supervisor in between; or in the PID namespace of that life, from where its supervisor
//! cannot be seen.

use super::identity::{ProcessId, Stat, TOKEN_VARIABLE, place};
use super::ledger::{Ledger, ledgers};
use super::leftovers::LifeName;
use super::runtime_folder::own_user;

/// Why a process may not speak for a life. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOfLife {
    /// It is in no agent.
    #[error("{TOKEN_VARIABLE} is not set: this is for commands of an agent (agent run -- CMD)")]
    NoToken,
    /// What it says is no token.
    #[error("{TOKEN_VARIABLE} is {0:?}, which is not of the form <id>:<incarnation>")]
    Malformed(String),
    /// No ledger of this user tells of that life.
    #[error(
        "no ledger of this user tells of the life {0} here: it is over, it is of another host or user, or it never was"
    )]
    NoLedger(String),
    /// This process is not of that life.
    #[error("this process is not of the life {0}: its supervisor is not the nearest above it")]
    OfAnother(String),
}

/// The ledger of the life that this token names, if this process is of it.
///
/// # Errors
/// [`NotOfLife`], with the reason.
pub fn life_of_caller(token: Option<&str>) -> Result<Ledger, NotOfLife> {
    let token = token.ok_or(NotOfLife::NoToken)?;
    let life = LifeName::of_token(token).ok_or_else(|| NotOfLife::Malformed(token.into()))?;
    let all: Vec<Ledger> = ledgers().into_iter().filter(|ledger| ledger.owner() == own_user()).collect();
    let is_of = |ledger: &Ledger| ledger.id == life.id && ledger.incarnation == life.incarnation;
    let ledger = all.iter().find(|ledger| is_of(ledger)).ok_or_else(|| NotOfLife::NoLedger(token.into()))?;
    let here = place();
    let nearest = nearest_supervised(&all, here.as_deref());
    let is_ours =
        if nearest.is_empty() { is_within(ledger, here.as_deref()) } else { nearest.into_iter().any(is_of) };
    if is_ours { Ok(ledger.clone()) } else { Err(NotOfLife::OfAnother(token.into())) }
}

/// Whether this process is in the PID namespace of this life. Nothing of the world outside can be read in there but when
/// its first process started, and the ledger has that too.
fn is_within(ledger: &Ledger, here: Option<&str>) -> bool {
    let boot = |place: &str| place.split_once('/').map(|(boot, _)| boot.to_owned());
    let is_inner = here.is_some_and(|here| here != ledger.place && boot(here) == boot(&ledger.place));
    is_inner && ledger.init.is_some_and(|init| Stat::read(1).is_some_and(|first| first.start == init.start))
}

/// The lives that the nearest supervisor above this process holds, as far as it can be seen from here.
fn nearest_supervised<'a>(ledgers: &'a [Ledger], here: Option<&str>) -> Vec<&'a Ledger> {
    let parent = |pid: &u32| Stat::read(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
    let above = std::iter::successors(parent(&std::process::id()), parent).take(1_000);
    let held_by = |process: ProcessId| -> Vec<&'a Ledger> {
        let holds = |ledger: &&Ledger| ledger.supervisor == process && Some(ledger.place.as_str()) == here;
        ledgers.iter().filter(holds).collect()
    };
    above.filter_map(ProcessId::of).map(held_by).find(|held| !held.is_empty()).unwrap_or_default()
}
