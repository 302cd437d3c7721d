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
//! 4. a *witness*: another agent's beat landed later than `L/2` after the candidate's last one, and long
//!    enough ago for a reconnecting agent to have followed. All beats before an outage fall within one
//!    interval, so none of them can be such a witness.
//!
//! Apart from that, when at least [`Brake::fraction`] of the fleet (and at least [`Brake::minimum`] agents)
//! fell silent since the last good pass, all of them are **held**. Leases do not end all at once, not even when a
//! whole network goes: beats are spread over an interval, and so are the ends. So those who have missed a beat but
//! whose lease still runs are counted too, or the first to run out would be reaped one by one before anybody saw
//! that it is many. A hold is bounded: after
//! [`Brake::timeout_ms`] reaping goes on at a tenth of the fleet per pass, and an operator can release it.
//! Agents whose process was *seen* to end are none of this module's business: that is proof, not silence.

use std::fmt;

use crate::contact::Contact;
use crate::sweep::{Candidate, Observation};

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

/// How long a witness must be old, at most, in ms: the longest reconnect backoff and some beats' retry.
const SETTLE_MS: u64 = 5_000;

/// `sweep:hold`: reaping is held, or was released by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hold {
    /// When it began, in ms of server time.
    pub since: u64,
    /// Why, in words.
    pub reason: String,
    /// An operator said to go on until then, in ms.
    pub released_until: Option<u64>,
}

/// Why agents are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// Too many at once.
    MassSilence {
        /// How many fell silent together.
        silent: u64,
        /// Of how many.
        fleet: u64,
    },
    /// Nobody knows that the store was up.
    Unwatched {
        /// Start of the break, in ms of server time.
        from: u64,
        /// Its end.
        to: u64,
        /// How many agents' silence falls into it.
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
                Self::seconds(to.saturating_sub(*from))
            ),
        }
    }
}

impl HoldReason {
    #[allow(clippy::cast_precision_loss)] // Shown to one decimal.
    fn seconds(millis: u64) -> f64 {
        millis as f64 / 1_000.0
    }

    /// Every short name.
    pub const NAMES: [&'static str; 2] = ["mass_silence", "unwatched"];

    /// A short name for metrics and events: one of [`Self::NAMES`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MassSilence { .. } => "mass_silence",
            Self::Unwatched { .. } => "unwatched",
        }
    }
}

/// The brake's verdict over the silent candidates, by position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// To be reaped.
    pub believed: Vec<usize>,
    /// To be left alone for now.
    pub held: Vec<usize>,
    /// Why, when any are held (or go only at the limited rate).
    pub reason: Option<HoldReason>,
}

/// Judges the silent candidates; see the module's text for the rules.
#[must_use]
pub fn judge(
    seen: &Observation,
    candidates: &[Candidate],
    silent: &[usize],
    contact: Contact,
    witnesses: &[u64],
    brake: &Brake,
) -> Verdict {
    let doubted: Vec<usize> = silent
        .iter()
        .copied()
        .filter(|&index| !is_believable(seen.now, &candidates[index], contact, witnesses, brake))
        .collect();
    let fleet = seen.leases.max(seen.active);
    let together = fell_silent_together(seen, candidates, silent);
    let reason = if is_mass(together, fleet, brake) {
        HoldReason::MassSilence { silent: together, fleet }
    } else if !doubted.is_empty() {
        HoldReason::Unwatched {
            from: contact.before.unwrap_or(0),
            to: contact.since,
            silent: doubted.len() as u64,
        }
    } else {
        return Verdict { believed: silent.to_vec(), ..Verdict::default() };
    };
    let mut held = match reason {
        HoldReason::MassSilence { .. } => silent.to_vec(),
        HoldReason::Unwatched { .. } => doubted,
    };
    held.sort_by_key(|&index| candidates[index].lease_end);
    held.drain(..allowed(seen, brake, fleet).min(held.len()));
    let believed = silent.iter().copied().filter(|index| !held.contains(index)).collect();
    let reason = (!held.is_empty()).then_some(reason);
    Verdict { believed, held, reason }
}

/// Whether the candidate would have been heard if it were alive.
fn is_believable(
    now: u64,
    candidate: &Candidate,
    contact: Contact,
    witnesses: &[u64],
    brake: &Brake,
) -> bool {
    let half = candidate.lease_ms(brake.default_lease_ms) / 2;
    let settle = half.min(SETTLE_MS);
    let last_beat = candidate.lease_end.saturating_sub(2 * half);
    contact.before.is_none()
        || contact.gap() <= half
        || now.saturating_sub(contact.since) >= half
        || witnesses.iter().any(|&beat| beat > last_beat + half && beat + settle <= now)
}

/// Whether a lease that still runs, for `left_ms`, should have been renewed by now. A living agent renews it at the
/// latest after half its length and some jitter.
#[must_use]
pub fn is_overdue(left_ms: u64, lease_ms: u64) -> bool {
    left_ms < lease_ms * 2 / 5
}

/// How many leases ended since the last good pass. Those that ended before it are no news: they were planted
/// or adopted later, and say nothing about an outage.
fn fell_silent_together(seen: &Observation, candidates: &[Candidate], silent: &[usize]) -> u64 {
    let Some(good) = seen.watermark.as_ref().and_then(|watermark| watermark.good) else { return 0 };
    let in_batch = silent.iter().filter(|&&index| candidates[index].lease_end > good).count() as u64;
    // A batch shows the oldest leases only. What lies beyond it is younger.
    let beyond = seen.expired.saturating_sub(seen.batch.len() as u64);
    if in_batch + beyond == 0 { 0 } else { in_batch + beyond + seen.overdue }
}

#[allow(clippy::cast_precision_loss)] // Fleets are far below 2^52.
fn is_mass(silent: u64, fleet: u64, brake: &Brake) -> bool {
    silent >= brake.minimum && silent as f64 >= brake.fraction * fleet as f64
}

/// How many of the held may go all the same.
fn allowed(seen: &Observation, brake: &Brake, fleet: u64) -> usize {
    let Some(hold) = &seen.hold else { return 0 };
    if hold.released_until.is_some_and(|until| seen.now < until) {
        return usize::MAX;
    }
    if seen.now.saturating_sub(hold.since) >= brake.timeout_ms {
        return usize::try_from(fleet / 10).unwrap_or(usize::MAX).max(1);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Watermark;

    const NOW: u64 = 10_000_000;
    const LEASE: u64 = 120_000;
    const BRAKE: Brake = Brake { fraction: 0.3, minimum: 5, timeout_ms: 300_000, default_lease_ms: LEASE };

    fn silent_for(beyond_lease: u64) -> Candidate {
        Candidate {
            id: "a".into(),
            lease_end: NOW - beyond_lease,
            record: None,
            last_seen: None,
            has_heartbeat: false,
            order: None,
        }
    }

    fn seen(fleet: u64, good: Option<u64>) -> Observation {
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
        candidates: &[Candidate],
        contact: Contact,
        witnesses: &[u64],
    ) -> Verdict {
        let mut seen = seen.clone();
        seen.expired = candidates.len() as u64;
        seen.batch = candidates.iter().map(|c| (c.id.clone(), c.lease_end)).collect();
        let all: Vec<usize> = (0..candidates.len()).collect();
        judge(&seen, candidates, &all, contact, witnesses, &BRAKE)
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
        let contact = Contact { since: NOW, before: Some(NOW - 600_000) };
        let verdict = judge_all(&seen(12, Some(NOW - 600_000)), &dead, contact, &[]);
        assert_eq!(verdict.held.len(), 12);
        assert_eq!(
            verdict.reason.unwrap().to_string(),
            "12 of 12 agents fell silent together, which looks like an outage and not like deaths"
        );
    }

    #[test]
    fn one_silent_agent_after_an_outage_is_held_until_the_store_was_up_for_half_a_lease() {
        let outage = |since| Contact { since, before: Some(since - 600_000) };
        let one = [silent_for(60_000)];
        let young = judge_all(&seen(3, Some(NOW - 600_000)), &one, outage(NOW - 1_000), &[]);
        assert_eq!(young.held, [0]);
        assert!(matches!(young.reason, Some(HoldReason::Unwatched { silent: 1, .. })));
        let settled = judge_all(&seen(3, Some(NOW - 600_000)), &one, outage(NOW - LEASE / 2), &[]);
        assert_eq!(settled.believed, [0]);
    }

    #[test]
    fn a_short_break_in_watching_changes_nothing() {
        let contact = Contact { since: NOW - 10, before: Some(NOW - 10 - LEASE / 2) };
        assert_eq!(judge_all(&seen(3, Some(NOW - 1)), &[silent_for(1)], contact, &[]).believed, [0]);
    }

    #[test]
    fn another_agents_beat_after_the_missed_one_proves_the_store_was_up_and_one_just_now_does_not() {
        let stale = Contact { since: NOW, before: Some(NOW - 600_000) };
        let one = [silent_for(30_000)];
        let fleet = seen(10, Some(NOW - 600_000));
        assert_eq!(
            judge_all(&fleet, &one, stale, &[NOW - 20_000]).believed,
            [0],
            "a pass run from cron works"
        );
        assert_eq!(judge_all(&fleet, &one, stale, &[NOW - 100]).held, [0], "just back from an outage");
        let before_the_outage = NOW - 30_000 - LEASE + 29_000;
        assert_eq!(
            judge_all(&fleet, &one, stale, &[before_the_outage]).held,
            [0],
            "all beats before an outage"
        );
    }

    #[test]
    fn a_partition_is_seen_at_the_first_lease_that_ends_and_not_one_by_one() {
        let watched = Contact { since: 0, before: Some(0) };
        let mut fleet = seen(12, Some(NOW - 1_000));
        assert_eq!(judge_all(&fleet, &[silent_for(0)], watched, &[]).held.len(), 0, "one of twelve");
        fleet.overdue = 11;
        assert_eq!(judge_all(&fleet, &[silent_for(0)], watched, &[]).held, [0]);
        assert!(
            is_overdue(47_000, LEASE) && !is_overdue(LEASE * 45 / 100, LEASE),
            "half a lease and some jitter"
        );
    }

    #[test]
    fn four_silent_agents_or_under_thirty_percent_are_no_mass_death() {
        let watched = Contact { since: 0, before: Some(0) };
        let good = Some(NOW - 100_000);
        assert_eq!(judge_all(&seen(4, good), &vec![silent_for(9); 4], watched, &[]).held.len(), 0);
        assert_eq!(judge_all(&seen(20, good), &vec![silent_for(9); 5], watched, &[]).held.len(), 0);
        assert_eq!(judge_all(&seen(16, good), &vec![silent_for(9); 5], watched, &[]).held.len(), 5);
    }

    #[test]
    fn orphans_older_than_the_last_good_pass_are_no_mass_death() {
        let watched = Contact { since: 0, before: Some(0) };
        let planted = vec![silent_for(60_000); 10];
        assert_eq!(judge_all(&seen(10, Some(NOW - 1_000)), &planted, watched, &[]).held.len(), 0);
    }

    #[test]
    fn a_hold_ends_in_a_limited_rate_and_an_operator_can_release_it() {
        let watched = Contact { since: 0, before: Some(0) };
        let dead = vec![silent_for(9); 40];
        let mut seen = seen(40, Some(NOW - 400_000));
        seen.hold = Some(Hold { since: NOW - 299_999, ..Hold::default() });
        assert_eq!(judge_all(&seen, &dead, watched, &[]).held.len(), 40);
        seen.hold = Some(Hold { since: NOW - 300_000, ..Hold::default() });
        assert_eq!(judge_all(&seen, &dead, watched, &[]).believed.len(), 4);
        seen.hold = Some(Hold { since: NOW - 1, released_until: Some(NOW + 1), ..Hold::default() });
        assert_eq!(judge_all(&seen, &dead, watched, &[]).believed.len(), 40);
    }
}
