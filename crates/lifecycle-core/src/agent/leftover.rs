//! Whether processes that a life left on its host may be ended: only if it is proven that the life is over.
//!
//! Two things have to be proven, because each alone may be wrong. That the process which held them is gone: a life that
//! was reaped by mistake still has its supervisor, which ends it by itself. And that the life is over by its store: a
//! record whose process is gone here may be of another store, or of another life.

use crate::agent::liveness::runs;
use crate::wire::audit::AuditKind;
use crate::wire::ids::Incarnation;
use crate::wire::time::ServerTime;

/// What is known on the host of the process that held the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor {
    /// The life's ledger names it by pid and start time, and no such process is there any more.
    Gone,
    /// No ledger names it, and no process is above them that could be it.
    NoneAbove,
    /// No ledger names it, and a process that is above them may be it.
    NotKnown,
}

/// What the store says of the life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreWord {
    /// None answered.
    NoAnswer,
    /// The life is of another store than the one that can be asked.
    AnotherStore,
    /// This.
    Says(Sayings),
}

/// What a store has on record of an id and one of its lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sayings {
    /// When it was asked, by its own clock.
    pub now: ServerTime,
    /// The life of this id that is registered.
    pub registered: Option<Registered>,
    /// How the audit log says that the life in question was removed.
    pub removal: Option<AuditKind>,
}

/// The life that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its number.
    pub incarnation: Incarnation,
    /// Why it is over, if that is on its record.
    pub ended: Option<String>,
    /// When its lease ends.
    pub lease_end: Option<ServerTime>,
    /// Whether the process that it names runs, as far as that can be told from here.
    pub process_runs: Option<bool>,
}

/// Whether a life is over, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is: its processes may be ended.
    Over(Proof),
    /// Its supervisor is proven gone, and the store does not know yet. It may be told, and then the life is over.
    Unwitnessed {
        /// Whether its lease still runs.
        lease_runs: bool,
    },
    /// That is not proven, for this reason.
    Open(Doubt),
}

/// What proves that a life is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The audit log says that it was reaped.
    Reaped,
    /// The audit log says that it released itself.
    Released,
    /// Its record says that it ended.
    Ended,
    /// Another life has its id.
    Replaced,
    /// No life has its id.
    Unregistered,
}

/// Why a life is not proven over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No store answered.
    NoStore,
    /// It is of another store.
    AnotherStore,
    /// It is registered and lives.
    Lives,
    /// It is registered and its lease is over; its process may run elsewhere.
    Silent,
    /// It is over by its store, and a process above may still be its supervisor.
    MayBeHeld,
    /// The store knows nothing of this life.
    Unknown,
}

/// Whether the life is proven over.
#[must_use]
pub fn judge(incarnation: Incarnation, supervisor: Supervisor, store: &StoreWord) -> Verdict {
    let said = match store {
        StoreWord::NoAnswer => return Verdict::Open(Doubt::NoStore),
        StoreWord::AnotherStore => return Verdict::Open(Doubt::AnotherStore),
        StoreWord::Says(said) => said,
    };
    match &said.registered {
        Some(life) if life.incarnation == incarnation => of_registered(life, supervisor, said.now),
        other => of_unregistered(incarnation, supervisor, said.removal, other.as_ref()),
    }
}

/// Whether processes of this life count as left behind at all. Where nothing but a token marks them, a supervisor may
/// hold them that has no ledger.
#[must_use]
pub fn is_left(supervisor: Supervisor, verdict: &Verdict) -> bool {
    match (supervisor, verdict) {
        (Supervisor::Gone, _) => true,
        (_, Verdict::Open(Doubt::Lives)) => false,
        (Supervisor::NoneAbove, _) => true,
        (Supervisor::NotKnown, Verdict::Open(doubt)) => *doubt == Doubt::MayBeHeld,
        (Supervisor::NotKnown, _) => true,
    }
}

fn of_registered(life: &Registered, supervisor: Supervisor, now: ServerTime) -> Verdict {
    let lease_runs = life.lease_end.is_some_and(|end| runs(end, now));
    // Its record names its process as its ledger does.
    let is_gone = supervisor == Supervisor::Gone || life.process_runs == Some(false);
    if life.process_runs == Some(true) {
        Verdict::Open(Doubt::Lives)
    } else if life.ended.is_some() {
        held_or(Proof::Ended, if is_gone { Supervisor::Gone } else { supervisor })
    } else if is_gone {
        Verdict::Unwitnessed { lease_runs }
    } else if lease_runs {
        Verdict::Open(Doubt::Lives)
    } else {
        Verdict::Open(Doubt::Silent)
    }
}

fn of_unregistered(
    incarnation: Incarnation,
    supervisor: Supervisor,
    removal: Option<AuditKind>,
    other: Option<&Registered>,
) -> Verdict {
    match (removal, other) {
        (Some(AuditKind::Cleanup), _) => held_or(Proof::Reaped, supervisor),
        (Some(AuditKind::Release), _) => held_or(Proof::Released, supervisor),
        // Numbers only grow. Without a ledger an earlier one may be of another store, or of one that went back.
        (_, Some(life)) if life.incarnation > incarnation => held_or(Proof::Replaced, supervisor),
        (_, Some(_)) if supervisor == Supervisor::Gone => Verdict::Over(Proof::Replaced),
        (_, None) if supervisor == Supervisor::Gone => Verdict::Over(Proof::Unregistered),
        _ => Verdict::Open(Doubt::Unknown),
    }
}

fn held_or(proof: Proof, supervisor: Supervisor) -> Verdict {
    match supervisor {
        Supervisor::Gone | Supervisor::NoneAbove => Verdict::Over(proof),
        Supervisor::NotKnown => Verdict::Open(Doubt::MayBeHeld),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: ServerTime = ServerTime::from_store_ms(1_764_000_000_000);
    const LIFE: Incarnation = Incarnation(7);
    const ALL: [Supervisor; 3] = [Supervisor::Gone, Supervisor::NoneAbove, Supervisor::NotKnown];

    fn registered(incarnation: u64) -> Registered {
        let lease_end = Some(NOW + Duration::from_secs(60));
        Registered { incarnation: Incarnation(incarnation), ended: None, lease_end, process_runs: None }
    }

    fn verdicts(registered: Option<Registered>, removal: Option<AuditKind>) -> [Verdict; 3] {
        let store = StoreWord::Says(Sayings { now: NOW, registered, removal });
        ALL.map(|supervisor| judge(LIFE, supervisor, &store))
    }

    #[test]
    fn nothing_is_proven_without_the_store_of_the_life() {
        for supervisor in ALL {
            assert_eq!(judge(LIFE, supervisor, &StoreWord::NoAnswer), Verdict::Open(Doubt::NoStore));
            assert_eq!(judge(LIFE, supervisor, &StoreWord::AnotherStore), Verdict::Open(Doubt::AnotherStore));
        }
    }

    #[test]
    fn a_life_on_no_record_is_over_only_if_its_supervisor_is_proven_gone() {
        let unknown = Verdict::Open(Doubt::Unknown);
        assert_eq!(
            verdicts(None, None),
            [Verdict::Over(Proof::Unregistered), unknown.clone(), unknown.clone()]
        );
        let earlier = verdicts(Some(registered(6)), None);
        assert_eq!(earlier, [Verdict::Over(Proof::Replaced), unknown.clone(), unknown]);
    }

    #[test]
    fn a_removal_or_a_later_life_prove_it_unless_a_supervisor_may_be_there() {
        let held = Verdict::Open(Doubt::MayBeHeld);
        for (removal, later, proof) in [
            (Some(AuditKind::Cleanup), None, Proof::Reaped),
            (Some(AuditKind::Release), None, Proof::Released),
            (None, Some(registered(8)), Proof::Replaced),
            (Some(AuditKind::Acknowledge), Some(registered(8)), Proof::Replaced),
        ] {
            let over = Verdict::Over(proof);
            assert_eq!(verdicts(later, removal), [over.clone(), over, held.clone()]);
        }
        assert_eq!(
            verdicts(None, Some(AuditKind::Acknowledge))[1],
            Verdict::Open(Doubt::Unknown),
            "no removal"
        );
    }

    #[test]
    fn a_life_that_is_registered_is_over_once_its_record_says_so() {
        let alive = registered(7);
        let lives = Verdict::Open(Doubt::Lives);
        let unwitnessed = Verdict::Unwitnessed { lease_runs: true };
        assert_eq!(verdicts(Some(alive.clone()), None), [unwitnessed.clone(), lives.clone(), lives.clone()]);
        let ended = Registered { ended: Some("process_exited".into()), ..alive.clone() };
        let over = Verdict::Over(Proof::Ended);
        assert_eq!(verdicts(Some(ended), None), [over.clone(), over, Verdict::Open(Doubt::MayBeHeld)]);
        let gone = Registered { process_runs: Some(false), ..alive.clone() };
        assert_eq!(verdicts(Some(gone), None), [unwitnessed.clone(), unwitnessed.clone(), unwitnessed]);
        let runs = Registered { process_runs: Some(true), ended: Some("x".into()), ..alive.clone() };
        assert_eq!(
            verdicts(Some(runs), None),
            [lives.clone(), lives.clone(), lives],
            "a ledger may be wrong"
        );
        let silent = Registered { lease_end: Some(NOW), ..alive };
        let (open, late) = (Verdict::Open(Doubt::Silent), Verdict::Unwitnessed { lease_runs: false });
        assert_eq!(verdicts(Some(silent), None), [late, open.clone(), open]);
    }

    #[test]
    fn what_only_a_token_marks_and_somebody_may_hold_is_not_left() {
        let unknown = Verdict::Open(Doubt::Unknown);
        assert_eq!(ALL.map(|supervisor| is_left(supervisor, &unknown)), [true, true, false]);
        let lives = Verdict::Open(Doubt::Lives);
        assert_eq!(ALL.map(|supervisor| is_left(supervisor, &lives)), [true, false, false]);
        let held = Verdict::Open(Doubt::MayBeHeld);
        assert_eq!(ALL.map(|supervisor| is_left(supervisor, &held)), [true, true, true]);
    }
}
