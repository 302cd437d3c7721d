//! The mass-death brake: when silence is not to be believed.
//!
//! A store outage silences the whole fleet, and a sweeper that takes silence for death then kills it. So
//! silence is believed only if the store was observably up for long enough that a living agent would have
//! beaten, and never for a large part of the fleet at once.
//!
//! An agent with a lease of length `L` beats at least every `L/2` (settings refuse anything else). Its silence
//! is **believed** if one of these holds:
//!
//! 1. nobody ever swept this store (there is no outage to know of);
//! 2. the last break in watching was no longer than `L/2`: a living agent beat outside it;
//! 3. the store has now been watched without a break for `L/2`: a living agent has beaten since;
//! 4. a *witness*, another agent whose beats landed where the suspect's did not ([`Witness`]). Either it beat
//!    all the while, from before the suspect's last beat until now and never more than `L/2` apart: then no
//!    break was longer, as in 2. Or one of its beats landed later than `L/2` after the suspect's last one, and long
//!    enough ago for a reconnecting agent to have followed. All beats before an outage fall within one
//!    interval, so none of them can be such a witness; and the first agent to be back after one is none yet.
//!
//! Apart from that, when at least [`Brake::fraction`] of the fleet (and at least [`Brake::minimum`] agents)
//! fell silent since the last good pass, all of them are **held**. Leases do not end all at once, not even when a
//! whole network goes: beats are spread over an interval, and so are the ends. So those who have missed a beat but
//! whose lease still runs are counted too, or the first to run out would be reaped one by one before anybody saw
//! that it is many.
//!
//! A hold is bounded: after [`Brake::timeout_ms`] reaping goes on at a **limited rate**, [`a_minute`]: a tenth of the
//! fleet in any minute of server time, as many sweepers as there may be. Who may go is decided here; how many of them go
//! now, the store grants, because only there all sweepers are counted. The fleet is the one of the hold's beginning and the
//! limit stays until nobody of the mass is left: a fleet that shrinks as it is reaped would make the rest of the mass
//! look small, and let it go at once. An operator can release a hold; then there is no limit.
//!
//! When most of a mass beat again, it was an outage of theirs (their network, a frozen host). The last of them are not
//! dead for being the last: those who are still silent, or whose lease has yet to end and who have missed a beat, are
//! *stragglers*, and the hold goes on for them until the others have been back for half a lease, and at least for as
//! long as an agent may take to reconnect.
//!
//! Agents whose process was *seen* to end are none of this module's business: that is proof, not silence.

use std::fmt;
use std::time::Duration;

use crate::sweep::observation::{Observation, Suspect};
use crate::sweep::store_watch::Contact;
use crate::wire::sweep_records::{Hold, HoldKind};
use crate::wire::time::ServerTime;

/// The brake's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brake {
    /// Share of the fleet that is too many at once.
    pub fraction: f64,
    /// Fewest agents that are too many at once.
    pub minimum: u64,
    /// Longest hold in ms.
    pub timeout_ms: u64,
    /// Lease length in ms of agents that have no record.
    pub default_lease_ms: u64,
}

/// How long ago a witness's beat must be, at most: the longest reconnect backoff and some beats' retry.
const SETTLE: Duration = Duration::from_secs(5);

/// Which share of the fleet may go in a minute once a hold is over: one in this many.
const LIMITED_SHARE: u64 = 10;

/// How many agents may be reaped in any minute of server time after a hold, of a fleet that had this many when the hold
/// began: a tenth, and at least one.
#[must_use]
pub fn a_minute(fleet: u64) -> u64 {
    (fleet / LIMITED_SHARE).max(1)
}

/// What another agent's beats show of the store having been up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// Since when it has beaten without a longer pause than `gap`; the same as `last` if nothing but that is known.
    pub since: ServerTime,
    /// Its last beat.
    pub last: ServerTime,
    /// Most time between two of its beats since then.
    pub gap: Duration,
}

impl Witness {
    /// Of whom nothing but the last beat is known.
    #[must_use]
    pub fn of_one_beat(at: ServerTime) -> Self {
        Self { since: at, last: at, gap: Duration::ZERO }
    }

    /// Whether an agent that beat at `last_beat` and beats at least every `half` would have been heard by `now`.
    fn proves_silence(&self, last_beat: ServerTime, half: Duration, now: ServerTime) -> bool {
        // A beat of the future was written before the clock was set back.
        if self.last > now {
            return false;
        }
        let (due, settled) = (last_beat + half, now - half.min(SETTLE));
        let all_the_while = self.since <= last_beat && now.since(self.last) <= half && self.gap <= half;
        let is_proof = |beat: ServerTime| beat > due && beat <= settled;
        // Between its first beat and its last one there is one in every stretch of `gap`.
        let in_between = self.last.min(settled) > self.since.max(due) + self.gap;
        all_the_while || is_proof(self.since) || is_proof(self.last) || (self.since < self.last && in_between)
    }
}

/// Why agents are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// So many agents fell silent together that an outage is likelier than their deaths.
    MassSilence {
        /// How many fell silent together.
        silent: u64,
        /// How many agents the fleet had then.
        fleet: u64,
    },
    /// Nothing shows that the store was up while the agents were silent.
    Unwatched {
        /// When watching broke off: the last moment of which something is known.
        from: ServerTime,
        /// When watching began again.
        to: ServerTime,
        /// How many agents' silence falls into it.
        silent: u64,
    },
    /// Most of a mass that fell silent beat again, and these have not had the time to.
    Stragglers {
        /// How many are still silent.
        silent: u64,
    },
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MassSilence { silent, fleet } => {
                write!(
                    f,
                    "{silent} of {fleet} agents fell silent together, which looks like an outage and not like deaths"
                )
            }
            Self::Unwatched { from, to, silent } => write!(
                f,
                "the store was not watched for {:.1} s, so the silence of {silent} of the agents proves nothing yet",
                Self::seconds(to.ms_since(*from))
            ),
            Self::Stragglers { silent } => {
                write!(
                    f,
                    "most agents of those that fell silent beat again; {silent} may still be on the way back"
                )
            }
        }
    }
}

impl HoldReason {
    #[allow(clippy::cast_precision_loss)] // Shown to one decimal.
    fn seconds(millis: u64) -> f64 {
        millis as f64 / 1_000.0
    }

    /// The word for it in `sweep:hold`, events and metrics.
    #[must_use]
    pub fn kind(&self) -> HoldKind {
        match self {
            Self::MassSilence { .. } => HoldKind::MassSilence,
            Self::Unwatched { .. } => HoldKind::Unwatched,
            Self::Stragglers { .. } => HoldKind::Stragglers,
        }
    }
}

/// That agents are held, and on what terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Why silence is not taken for death.
    pub reason: HoldReason,
    /// How many agents the fleet had when the hold began.
    pub fleet: u64,
    /// How many may go in a minute once `sweep.hold_timeout` is over; `None` before that.
    pub a_minute: Option<u64>,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.a_minute {
            Some(rate) => write!(
                f,
                "; sweep.hold_timeout is over, so they go at a limited rate, {rate} a minute of a fleet of {}",
                self.fleet
            ),
            None => Ok(()),
        }
    }
}

/// The brake's verdict over the silent suspects, by position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// To be reaped.
    pub believed: Vec<usize>,
    /// To be left alone for now, those first whose lease has been over the longest.
    pub held: Vec<usize>,
    /// Why, when any are held. Where it has a rate, the first of the held may go as far as the store grants it.
    pub holding: Option<Holding>,
}

/// Judges the silent suspects; see the module's text for the rules.
#[must_use]
pub fn judge(
    seen: &Observation,
    suspects: &[Suspect],
    silent: &[usize],
    contact: Contact,
    witnesses: &[Witness],
    brake: &Brake,
) -> Verdict {
    let all_believed = || Verdict { believed: silent.to_vec(), ..Verdict::default() };
    if seen.hold.as_ref().is_some_and(|hold| hold.is_released(seen.now)) {
        return all_believed();
    }
    let limited_hold = seen.hold.as_ref().filter(|hold| is_limited(hold, seen.now, brake));
    let fleet = seen.leases.max(seen.active);
    let together = fell_silent_together(seen, suspects, silent);
    let is_rest_of_a_mass =
        !silent.is_empty() && limited_hold.is_some_and(|hold| hold.kind == Some(HoldKind::MassSilence));
    let is_on_its_way =
        |&index: &usize| may_be_on_its_way(seen, suspects[index].lease_ms(brake.default_lease_ms));
    let is_doubtful = |&index: &usize| !is_believable(seen.now, &suspects[index], contact, witnesses, brake);
    let (reason, believed, mut held) = if is_rest_of_a_mass || is_mass(together, fleet, brake) {
        let silent_now = together.max(silent.len() as u64);
        (HoldReason::MassSilence { silent: silent_now, fleet }, Vec::new(), silent.to_vec())
    } else {
        let stragglers = silent.iter().filter(|index| is_on_its_way(index)).count() as u64;
        let yet_to_end = if may_be_on_its_way(seen, brake.default_lease_ms) { seen.overdue } else { 0 };
        let (held, believed): (Vec<usize>, Vec<usize>) =
            silent.iter().partition(|index| is_on_its_way(index) || is_doubtful(index));
        let reason = if stragglers + yet_to_end > 0 {
            HoldReason::Stragglers { silent: held.len() as u64 + yet_to_end }
        } else if held.is_empty() {
            return all_believed();
        } else {
            let (from, to) = (contact.before.unwrap_or_default(), contact.since);
            HoldReason::Unwatched { from, to, silent: held.len() as u64 }
        };
        (reason, believed, held)
    };
    held.sort_by_key(|&index| suspects[index].lease_end);
    let fleet = seen.hold.as_ref().and_then(|hold| hold.fleet).unwrap_or(fleet);
    let a_minute = limited_hold.map(|_| a_minute(fleet));
    Verdict { believed, held, holding: Some(Holding { reason, fleet, a_minute }) }
}

/// Whether a hold has lasted as long as it may, so that the limited rate applies.
fn is_limited(hold: &Hold, now: ServerTime, brake: &Brake) -> bool {
    !hold.is_released(now) && now.ms_since(hold.since) >= brake.timeout_ms
}

/// Whether an agent with a lease of this length may be one of a mass that fell silent and is coming back.
fn may_be_on_its_way(seen: &Observation, lease_ms: u64) -> bool {
    let Some(hold) = &seen.hold else { return false };
    match hold.kind {
        // This is the first look at which it is no mass any more.
        Some(HoldKind::MassSilence) => true,
        Some(HoldKind::Stragglers) => {
            let patience = Duration::from_millis(lease_ms / 2).max(SETTLE);
            hold.kind_since.is_none_or(|since| seen.now.since(since) < patience)
        }
        Some(HoldKind::Unwatched) | None => false,
    }
}

/// Whether the suspect would have been heard if it were alive.
fn is_believable(
    now: ServerTime,
    suspect: &Suspect,
    contact: Contact,
    witnesses: &[Witness],
    brake: &Brake,
) -> bool {
    let half = Duration::from_millis(suspect.lease_ms(brake.default_lease_ms) / 2);
    let last_beat = suspect.lease_end - 2 * half;
    contact.before.is_none()
        || contact.gap() <= half
        || now.since(contact.since) >= half
        || witnesses.iter().any(|witness| witness.proves_silence(last_beat, half, now))
}

/// Whether a lease that still runs, for `left_ms`, should have been renewed by now. A living agent renews it at the
/// latest after half its length and some jitter.
#[must_use]
pub fn is_overdue(left_ms: u64, lease_ms: u64) -> bool {
    left_ms < lease_ms * 2 / 5
}

/// How many leases ended since the last good pass. Those that ended before it are no news: they were planted
/// or adopted later, and say nothing about an outage.
fn fell_silent_together(seen: &Observation, suspects: &[Suspect], silent: &[usize]) -> u64 {
    let Some(good) = seen.watermark.as_ref().and_then(|watermark| watermark.good) else { return 0 };
    let in_batch = silent.iter().filter(|&&index| suspects[index].lease_end > good).count() as u64;
    // A batch shows the oldest leases only. What lies beyond it is younger.
    let beyond = seen.expired.saturating_sub(seen.batch.len() as u64);
    if in_batch + beyond == 0 { 0 } else { in_batch + beyond + seen.overdue }
}

#[allow(clippy::cast_precision_loss)] // Fleets are far below 2^52.
fn is_mass(silent: u64, fleet: u64, brake: &Brake) -> bool {
    silent >= brake.minimum && silent as f64 >= brake.fraction * fleet as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sweep_records::Watermark;

    const NOW: ServerTime = ServerTime::from_store_ms(10_000_000);
    const EPOCH: ServerTime = ServerTime::from_store_ms(0);
    const LEASE: Duration = Duration::from_secs(120);
    const BRAKE: Brake = Brake { fraction: 0.3, minimum: 5, timeout_ms: 300_000, default_lease_ms: 120_000 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn silent_for(beyond_lease: u64) -> Suspect {
        Suspect { id: "a".into(), lease_end: NOW - ms(beyond_lease), ..Suspect::default() }
    }

    fn seen(fleet: u64, good: Option<ServerTime>) -> Observation {
        Observation {
            now: NOW,
            leases: fleet,
            active: fleet,
            watermark: good.map(|good| Watermark {
                at: good,
                good: Some(good),
                by: "s".into(),
                ..Watermark::default()
            }),
            ..Observation::default()
        }
    }

    fn judge_all(
        seen: &Observation,
        suspects: &[Suspect],
        contact: Contact,
        witnesses: &[Witness],
    ) -> Verdict {
        let mut seen = seen.clone();
        seen.expired = suspects.len() as u64;
        seen.batch = suspects.iter().map(|c| (c.id.clone(), c.lease_end)).collect();
        let all: Vec<usize> = (0..suspects.len()).collect();
        judge(&seen, suspects, &all, contact, witnesses, &BRAKE)
    }

    fn beat(at: ServerTime) -> [Witness; 1] {
        [Witness::of_one_beat(at)]
    }

    #[test]
    fn a_store_never_swept_before_is_no_outage_even_if_all_are_dead() {
        let dead = vec![silent_for(60_000); 500];
        let verdict = judge_all(&seen(500, None), &dead, Contact::begin(NOW, None), &[]);
        assert_eq!((verdict.believed.len(), verdict.held.len()), (500, 0));
    }

    #[test]
    fn a_fleet_that_fell_silent_during_an_outage_is_held_and_the_reason_says_so() {
        let dead = vec![silent_for(60_000); 12];
        let contact = Contact { since: NOW, before: Some(NOW - ms(600_000)) };
        let verdict = judge_all(&seen(12, Some(NOW - ms(600_000))), &dead, contact, &[]);
        assert_eq!(verdict.held.len(), 12);
        assert_eq!(
            verdict.holding.unwrap().to_string(),
            "12 of 12 agents fell silent together, which looks like an outage and not like deaths"
        );
    }

    #[test]
    fn one_silent_agent_after_an_outage_is_held_until_the_store_was_up_for_half_a_lease() {
        let outage = |since| Contact { since, before: Some(since - ms(600_000)) };
        let one = [silent_for(60_000)];
        let young = judge_all(&seen(3, Some(NOW - ms(600_000))), &one, outage(NOW - ms(1_000)), &[]);
        assert_eq!(young.held, [0]);
        assert!(matches!(young.holding.unwrap().reason, HoldReason::Unwatched { silent: 1, .. }));
        let settled = judge_all(&seen(3, Some(NOW - ms(600_000))), &one, outage(NOW - LEASE / 2), &[]);
        assert_eq!(settled.believed, [0]);
    }

    #[test]
    fn a_short_break_in_watching_changes_nothing() {
        let contact = Contact { since: NOW - ms(10), before: Some(NOW - ms(10) - LEASE / 2) };
        assert_eq!(judge_all(&seen(3, Some(NOW - ms(1))), &[silent_for(1)], contact, &[]).believed, [0]);
    }

    #[test]
    fn another_agents_beat_after_the_missed_one_proves_the_store_was_up_and_one_just_now_does_not() {
        let stale = Contact { since: NOW, before: Some(NOW - ms(600_000)) };
        let one = [silent_for(30_000)];
        let fleet = seen(10, Some(NOW - ms(600_000)));
        assert_eq!(
            judge_all(&fleet, &one, stale, &beat(NOW - ms(20_000))).believed,
            [0],
            "a pass run from cron works"
        );
        assert_eq!(
            judge_all(&fleet, &one, stale, &beat(NOW - ms(100))).held,
            [0],
            "just back from an outage"
        );
        let before_the_outage = NOW - ms(30_000) - LEASE + ms(29_000);
        assert_eq!(
            judge_all(&fleet, &one, stale, &beat(before_the_outage)).held,
            [0],
            "all beats before an outage"
        );
    }

    #[test]
    fn a_partition_is_seen_at_the_first_lease_that_ends_and_not_one_by_one() {
        let watched = Contact { since: EPOCH, before: Some(EPOCH) };
        let mut fleet = seen(12, Some(NOW - ms(1_000)));
        assert_eq!(judge_all(&fleet, &[silent_for(0)], watched, &[]).held.len(), 0, "one of twelve");
        fleet.overdue = 11;
        assert_eq!(judge_all(&fleet, &[silent_for(0)], watched, &[]).held, [0]);
        assert!(
            is_overdue(47_000, 120_000) && !is_overdue(120_000 * 45 / 100, 120_000),
            "half a lease and some jitter"
        );
    }

    #[test]
    fn four_silent_agents_or_under_thirty_percent_are_no_mass_death() {
        let watched = Contact { since: EPOCH, before: Some(EPOCH) };
        let good = Some(NOW - ms(100_000));
        assert_eq!(judge_all(&seen(4, good), &vec![silent_for(9); 4], watched, &[]).held.len(), 0);
        assert_eq!(judge_all(&seen(20, good), &vec![silent_for(9); 5], watched, &[]).held.len(), 0);
        assert_eq!(judge_all(&seen(16, good), &vec![silent_for(9); 5], watched, &[]).held.len(), 5);
    }

    #[test]
    fn orphans_older_than_the_last_good_pass_are_no_mass_death() {
        let watched = Contact { since: EPOCH, before: Some(EPOCH) };
        let planted = vec![silent_for(60_000); 10];
        assert_eq!(judge_all(&seen(10, Some(NOW - ms(1_000))), &planted, watched, &[]).held.len(), 0);
    }

    #[test]
    fn a_peer_that_beats_all_the_while_proves_the_store_was_up_at_any_interval_of_passes() {
        let half = LEASE / 2;
        let stale = Contact { since: NOW, before: Some(NOW - ms(9_000_000)) };
        let fleet = seen(3, Some(NOW - ms(9_000_000)));
        let last_beat = NOW - LEASE - ms(1);
        let judged = |since, last, gap| {
            judge_all(&fleet, &[silent_for(1)], stale, &[Witness { since, last, gap }]).believed.len()
        };
        assert_eq!(
            judged(last_beat - ms(1), NOW - ms(300), half),
            1,
            "its last beat is fresh, as it always is"
        );
        assert_eq!(judged(NOW - ms(1_000), NOW - ms(300), half), 0, "it is just back, as everybody may be");
        assert_eq!(judged(last_beat - ms(1), NOW - half - ms(1), half), 0, "it has missed a beat itself");
        assert_eq!(
            judged(last_beat - ms(1), NOW - ms(300), half + ms(1)),
            0,
            "an outage fits between two of its beats"
        );
        assert_eq!(judged(last_beat + half + ms(1), NOW - ms(300), half), 1, "back for long enough");
        assert_eq!(judged(last_beat - ms(1), NOW + ms(1), half), 0, "written before the clock was set back");
    }

    fn held_since(since: ServerTime, kind: HoldKind, fleet: u64) -> Hold {
        Hold { since, kind: Some(kind), fleet: Some(fleet), ..Hold::default() }
    }

    #[test]
    fn a_hold_ends_in_a_limited_rate_and_an_operator_can_release_it() {
        let watched = Contact { since: EPOCH, before: Some(EPOCH) };
        let dead = vec![silent_for(9); 40];
        let mut seen = seen(40, Some(NOW - ms(400_000)));
        seen.hold = Some(held_since(NOW - ms(299_999), HoldKind::MassSilence, 50));
        let before = judge_all(&seen, &dead, watched, &[]);
        assert_eq!((before.held.len(), before.holding.unwrap().a_minute), (40, None));
        seen.hold = Some(held_since(NOW - ms(300_000), HoldKind::MassSilence, 50));
        let after = judge_all(&seen, &dead, watched, &[]);
        assert_eq!((after.held.len(), after.holding.unwrap().a_minute), (40, Some(5)));
        assert!(after.holding.unwrap().to_string().contains("5 a minute of a fleet of 50"));
        let released_until = Some(NOW + ms(1));
        seen.hold = Some(Hold { since: NOW - ms(1), released_until, ..Hold::default() });
        assert_eq!(judge_all(&seen, &dead, watched, &[]).believed.len(), 40);
    }

    #[test]
    fn the_rest_of_a_mass_stays_limited_however_small_it_has_become() {
        let watched = Contact { since: EPOCH, before: Some(EPOCH) };
        let mut seen = seen(1_000, Some(NOW - ms(400_000)));
        seen.hold = Some(held_since(NOW - ms(400_000), HoldKind::MassSilence, 2_000));
        let rest = judge_all(&seen, &[silent_for(9)], watched, &[]);
        assert_eq!((rest.held.as_slice(), rest.holding.unwrap().a_minute), ([0].as_slice(), Some(200)));
        seen.hold = Some(held_since(NOW - ms(400_000), HoldKind::Unwatched, 2_000));
        assert_eq!(
            judge_all(&seen, &[silent_for(9)], watched, &[]).believed,
            [0],
            "the store was watched since"
        );
    }

    #[test]
    fn the_last_of_a_mass_to_come_back_are_spared_until_the_others_are_back_for_half_a_lease() {
        let watched = Contact { since: EPOCH, before: Some(EPOCH) };
        let mut seen = seen(7, Some(NOW - ms(100_000)));
        seen.hold = Some(held_since(NOW - ms(1_000), HoldKind::MassSilence, 7));
        let most_came_back = judge_all(&seen, &[silent_for(9)], watched, &[]);
        assert_eq!((most_came_back.held.as_slice(), most_came_back.believed.len()), ([0].as_slice(), 0));
        let reason = most_came_back.holding.unwrap().reason;
        assert_eq!((reason, reason.kind()), (HoldReason::Stragglers { silent: 1 }, HoldKind::Stragglers));
        let mut after = |back_for: Duration, lease_ms| {
            let kind_since = Some(NOW - back_for);
            seen.hold = Some(Hold { kind_since, ..held_since(NOW - ms(100_000), HoldKind::Stragglers, 7) });
            let brake = Brake { default_lease_ms: lease_ms, ..BRAKE };
            judge(&seen, &[silent_for(9)], &[0], watched, &[], &brake).believed.len()
        };
        assert_eq!([after(LEASE / 2 - ms(1), 120_000), after(LEASE / 2, 120_000)], [0, 1]);
        assert_eq!(
            [after(SETTLE - ms(1), 100), after(SETTLE, 100)],
            [0, 1],
            "as long as a reconnect may take"
        );
        seen.hold = Some(held_since(NOW - ms(1_000), HoldKind::MassSilence, 7));
        assert_eq!(judge_all(&seen, &[], watched, &[]).holding, None, "all are back: the hold is over");
        seen.overdue = 1;
        let one_has_yet_to_end = judge_all(&seen, &[], watched, &[]).holding.unwrap();
        assert_eq!(one_has_yet_to_end.reason, HoldReason::Stragglers { silent: 1 });
    }

    #[test]
    fn one_a_minute_is_the_least() {
        assert_eq!([0, 1, 19, 20, 2_300].map(a_minute), [1, 1, 1, 2, 230]);
    }

    #[test]
    fn a_time_in_the_future_counts_as_now_and_a_release_lasts_no_longer_than_its_period() {
        let hold = Hold { since: NOW + ms(3_600_000), ..Hold::default() }.as_of(NOW, None);
        assert_eq!(hold.since, NOW);
        let until = |until| Hold { since: EPOCH, released_until: Some(until), ..Hold::default() };
        assert_eq!(
            until(NOW + ms(3_600_000)).as_of(NOW, Some(ms(60_000))).released_until,
            Some(NOW + ms(60_000))
        );
        assert_eq!(until(NOW + ms(1_000)).as_of(NOW, Some(ms(60_000))).released_until, Some(NOW + ms(1_000)));
    }
}
