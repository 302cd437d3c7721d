//! Triage: of all agents whose lease seems to be over, which are dead, which live after all, and which left.
//!
//! A pass reads the store piece by piece. Nothing is concluded before all of it was read; then all conclusions are
//! drawn here, from one set of [`Readings`]. The brake's input ([`Observation`]) is built from the outcome and never
//! changed afterwards. The brake can guard against false kills only with counts that no step corrected on their way.
//!
//! ```text
//!   leases that are over ──▶ beats all the same (plain) ──▶ living: its lease is renewed
//!                        ├─▶ took itself off the list ────▶ left:   its lease is forgotten
//!                        └─▶ neither ─────────────────────▶ dead:   the plan decides
//! ```

use crate::sweep::observation::{IndexReading, Observation, Suspect};
use crate::wire::sweep_records::Hold;
use crate::wire::time::ServerTime;

/// All that a pass has read.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// The reading of the indexes.
    pub index: IndexReading,
    /// The agents whose lease is over, each once, up to as many as a pass looks at.
    pub due: Vec<Suspect>,
    /// How many expired leases belong to ids that no key name can be built from.
    pub unusable: u64,
    /// Agents on which the two indexes disagree. Empty where that was repaired before the indexes were read.
    pub differing: Differing,
}

/// Agents that are in one index and not in the other.
#[derive(Debug, Clone, Default)]
pub struct Differing {
    /// Listed without a lease (or, if registered, the other way round).
    pub unleased: Vec<Suspect>,
    /// How many plain agents have left and still have a lease.
    pub left: u64,
}

/// The conclusions of a triage.
#[derive(Debug, Clone, Default)]
pub struct Triage {
    /// Agents whose lease is over and who show no sign of life.
    pub dead: Vec<Suspect>,
    /// Plain agents that have beaten since their lease was written.
    pub living: Vec<Suspect>,
    /// Plain agents that left: they took themselves off the list and beat no more.
    pub left: Vec<Suspect>,
    /// How many agents live.
    pub healthy: u64,
    index: IndexReading,
    leases: u64,
    /// How many expired leases were not looked at in this pass.
    beyond: u64,
}

/// Draws all conclusions from what was read.
#[must_use]
pub fn triage(readings: Readings) -> Triage {
    let Readings { index, due, unusable, differing } = readings;
    let now = index.now;
    let leases = index.leases.saturating_sub(unusable + differing.left);
    let expired = index.expired.saturating_sub(unusable);
    let beyond = expired.saturating_sub(due.len() as u64);
    // A registered agent that lacks a lease is given one before anybody judges it.
    let lives = |suspect: &Suspect| suspect.record.is_some() || suspect.beats_after_all(now);
    let (found, dead): (Vec<Suspect>, Vec<Suspect>) = differing.unleased.into_iter().partition(lives);
    let (living, over): (Vec<Suspect>, Vec<Suspect>) =
        due.into_iter().chain(dead).partition(|suspect| suspect.beats_after_all(now));
    let (left, dead): (Vec<Suspect>, Vec<Suspect>) = over.into_iter().partition(Suspect::has_left);
    let healthy = leases.saturating_sub(expired) + (found.len() + living.len()) as u64;
    Triage { dead, living, left, healthy, index, leases, beyond }
}

impl Triage {
    /// When the indexes were read.
    #[must_use]
    pub fn now(&self) -> ServerTime {
        self.index.now
    }

    /// The longest lease, in ms, of those among the dead whose end no process has seen; `None` without any, unless a mass
    /// that fell silent is held: its last ones may have leases that run.
    #[must_use]
    pub fn longest_silent_lease(&self, default: u64) -> Option<u64> {
        let silent = self.dead.iter().filter(|suspect| !suspect.is_proven());
        let longest = silent.map(|suspect| suspect.lease_ms(default)).max();
        longest.or_else(|| self.index.hold.as_ref().is_some_and(Hold::is_of_a_mass).then_some(default))
    }

    /// The brake's input. It counts agents that fell silent, so not the plain agents whose heartbeats tell that they
    /// live.
    /// `overdue`: agents whose lease runs and who have missed a beat ([`crate::sweep::brake::is_overdue`]).
    #[must_use]
    pub fn observation(&self, overdue: u64) -> Observation {
        Observation {
            now: self.index.now,
            active: self.index.active,
            leases: self.leases,
            expired: self.beyond + self.dead.len() as u64,
            batch: self.dead.iter().map(|suspect| (suspect.id.clone(), suspect.lease_end)).collect(),
            watermark: self.index.watermark.clone(),
            hold: self.index.hold.clone(),
            overdue,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::plain_lease::PlainLease;
    use crate::wire::ids::Incarnation;
    use crate::wire::record::AgentRecord;

    const NOW: ServerTime = ServerTime::from_store_ms(1_764_000_000_000);
    const MS: Duration = Duration::from_millis(1);

    /// A plain agent whose heartbeat amounts to a lease until `end`.
    fn plain(id: &str, end: ServerTime) -> Suspect {
        let plain = Some(PlainLease { end, last_seen: None, first_look: None });
        Suspect { id: id.into(), plain, listed: true, has_heartbeat: true, ..Suspect::default() }
    }

    fn registered(id: &str) -> Suspect {
        let fields = [("incarnation", "7"), ("leaseMs", "60000")];
        let fields = fields.map(|(name, value)| (name.to_string(), value.to_string()));
        let record = AgentRecord::from_fields(&fields.into()).unwrap();
        assert_eq!(record.incarnation, Incarnation(7));
        Suspect { id: id.into(), record: Some(record), ..Suspect::default() }
    }

    fn gone(id: &str) -> Suspect {
        Suspect { listed: false, has_heartbeat: false, ..plain(id, NOW) }
    }

    fn readings(leases: u64, expired: u64, due: Vec<Suspect>) -> Readings {
        let index = IndexReading { now: NOW, active: leases, leases, expired, ..IndexReading::default() };
        Readings { index, due, ..Readings::default() }
    }

    fn ids(suspects: &[Suspect]) -> Vec<&str> {
        suspects.iter().map(|suspect| suspect.id.as_str()).collect()
    }

    #[test]
    fn a_lease_that_is_over_is_a_death_a_beat_or_a_farewell() {
        for (suspect, dead, living, left) in [
            (registered("a"), 1, 0, 0),
            (plain("a", NOW), 1, 0, 0),
            (plain("a", NOW + MS), 0, 1, 0),
            (gone("a"), 0, 0, 1),
        ] {
            let triage = triage(readings(5, 1, vec![suspect.clone()]));
            let found = (triage.dead.len(), triage.living.len(), triage.left.len());
            assert_eq!(found, (dead, living, left), "{suspect:?}");
            assert_eq!(triage.healthy, 4 + living as u64, "{suspect:?}");
        }
    }

    #[test]
    fn the_brake_is_told_of_the_dead_and_of_those_beyond_what_was_looked_at() {
        let triage = triage(readings(100, 40, vec![registered("a"), plain("b", NOW + 9 * MS), gone("c")]));
        let seen = triage.observation(3);
        assert_eq!((seen.expired, seen.batch.len(), seen.overdue), (37 + 1, 1, 3));
        assert_eq!((seen.leases, seen.active, triage.healthy), (100, 100, 61));
    }

    #[test]
    fn ids_that_nothing_can_be_done_about_are_in_no_count() {
        let triage = triage(Readings { unusable: 2, ..readings(10, 3, vec![registered("a")]) });
        let seen = triage.observation(0);
        assert_eq!((seen.leases, seen.expired, triage.healthy), (8, 1, 7));
    }

    #[test]
    fn whom_the_indexes_lost_is_judged_as_if_it_had_a_lease_and_a_registered_one_gets_one() {
        let unleased = vec![registered("r"), plain("beats", NOW + MS), plain("silent", NOW - MS)];
        let differing = Differing { unleased, left: 1 };
        let triage = triage(Readings { differing, ..readings(5, 0, Vec::new()) });
        assert_eq!(ids(&triage.dead), ["silent"]);
        assert_eq!((triage.healthy, triage.observation(0).leases), (4 + 2, 4));
    }

    #[test]
    fn the_longest_lease_is_of_those_whose_end_nobody_saw() {
        let mut ended = registered("e");
        ended.record.as_mut().unwrap().ended = Some("process_exited".into());
        assert_eq!(triage(readings(1, 1, vec![ended.clone()])).longest_silent_lease(5), None);
        let both = triage(readings(2, 2, vec![ended, plain("p", NOW)]));
        assert_eq!(both.longest_silent_lease(120_000), Some(120_000));
    }
}
