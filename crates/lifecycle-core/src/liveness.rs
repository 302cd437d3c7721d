//! When is an agent's lease over?
//!
//! A registered agent has a lease in `agents:leases`, renewed by each beat: there is nothing to judge but
//! `end ≤ now`, both in server time. An agent on the seed's plain protocol has only
//! `agent:heartbeat:<id>`; this module turns that into a lease.

use std::time::Duration;

use crate::record::Heartbeat;

/// What a plain agent's heartbeat key held when a sweeper looked.
#[derive(Debug, Clone, PartialEq)]
pub enum PlainBeat {
    /// There is no such key.
    Missing,
    /// A beat that could be read.
    Read(Heartbeat),
    /// Something is there but it is no beat (another type, malformed, far too large).
    Unreadable {
        /// Time the key has left, if it expires.
        expires_in: Option<Duration>,
    },
}

/// The lease that a heartbeat amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainLease {
    /// Its end in ms of server time.
    pub end: u64,
    /// When the agent was last heard of, in ms.
    pub last_seen: Option<u64>,
}

/// Judges a plain agent by its heartbeat.
///
/// - No heartbeat: the lease is over now.
/// - A readable one: it runs `threshold` from the beat's timestamp. A timestamp in the future counts as now,
///   so a client whose clock is ahead does not become immortal.
/// - An unreadable one proves that somebody wrote it: it counts as alive until the key expires. One that
///   never expires proves nothing about now, so the lease is over.
#[must_use]
pub fn plain_lease(beat: &PlainBeat, now: u64, threshold: Duration) -> PlainLease {
    match beat {
        PlainBeat::Missing | PlainBeat::Unreadable { expires_in: None } => {
            PlainLease { end: now, last_seen: None }
        }
        PlainBeat::Unreadable { expires_in: Some(left) } => {
            PlainLease { end: now + millis(*left), last_seen: None }
        }
        PlainBeat::Read(Heartbeat { timestamp: None, .. }) => PlainLease { end: now, last_seen: None },
        PlainBeat::Read(Heartbeat { timestamp: Some(timestamp), .. }) => {
            PlainLease { end: (*timestamp).min(now) + millis(threshold), last_seen: Some(*timestamp) }
        }
    }
}

/// When a plain agent last beat, if that can be relied on as proof that the store was up then.
///
/// Its timestamp is by the agent's own clock, which proves nothing alone. But the key's remaining time is by the
/// server's: if it was written with the usual lifetime, it says when, too. Only if both say the same, it is so.
#[must_use]
pub fn plain_witness(beat: &Heartbeat, expires_in: Duration, ttl: Duration, now: u64) -> Option<u64> {
    let by_agent = beat.timestamp?;
    let by_server = now.checked_sub(millis(ttl.checked_sub(expires_in)?))?;
    (by_agent.abs_diff(by_server) <= WITNESS_TOLERANCE_MS).then(|| by_agent.max(by_server))
}

/// How far the two clocks of a plain beat may be apart: its way to the store.
const WITNESS_TOLERANCE_MS: u64 = 1_000;

/// A duration in whole ms, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_764_000_000_000;
    const THRESHOLD: Duration = Duration::from_secs(120);

    fn beat(timestamp: u64) -> PlainBeat {
        PlainBeat::Read(Heartbeat { timestamp: Some(timestamp), ..Heartbeat::default() })
    }

    #[test]
    fn a_beat_three_minutes_old_is_over_and_one_thirty_seconds_old_is_not() {
        assert!(plain_lease(&beat(NOW - 180_000), NOW, THRESHOLD).end <= NOW);
        assert_eq!(plain_lease(&beat(NOW - 30_000), NOW, THRESHOLD).end, NOW + 90_000);
    }

    #[test]
    fn a_missing_beat_is_over_at_once_and_a_clock_ahead_makes_nobody_immortal() {
        assert_eq!(plain_lease(&PlainBeat::Missing, NOW, THRESHOLD).end, NOW);
        assert_eq!(plain_lease(&beat(NOW + 86_400_000), NOW, THRESHOLD).end, NOW + 120_000);
    }

    #[test]
    fn a_plain_beat_is_a_witness_only_if_the_servers_clock_agrees() {
        let ttl = Duration::from_secs(180);
        let witness = |timestamp, left: u64| {
            let beat = Heartbeat { timestamp: Some(timestamp), ..Heartbeat::default() };
            plain_witness(&beat, Duration::from_secs(left), ttl, NOW)
        };
        assert_eq!(witness(NOW - 20_300, 160), Some(NOW - 20_000));
        assert_eq!(witness(NOW - 20_000, 100), None, "a clock ahead, or a beat dated forward");
        assert_eq!(witness(NOW - 90_000, 180), None, "a beat dated back");
        assert_eq!(witness(NOW, 200), None, "another lifetime");
    }

    #[test]
    fn an_unreadable_beat_counts_until_its_key_expires() {
        let left = PlainBeat::Unreadable { expires_in: Some(Duration::from_secs(9)) };
        assert_eq!(plain_lease(&left, NOW, THRESHOLD).end, NOW + 9_000);
        assert_eq!(plain_lease(&PlainBeat::Unreadable { expires_in: None }, NOW, THRESHOLD).end, NOW);
    }
}
