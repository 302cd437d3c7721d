//! Turns the heartbeat of an agent on the plain protocol into a lease.
//!
//! A registered agent has a lease in `agents:leases`, renewed by each beat; it is judged by `end ≤ now`, both in server
//! time. An agent on the plain protocol has only `agent:heartbeat:<id>`. This module makes a lease of it.
//!
//! A plain beat carries two clocks. Its *timestamp* is by the agent's own clock, which may be an hour off. The *expiry*
//! of its key is by the server's clock; the beat was written one lifetime before that. But only the client knows which
//! lifetime it gave the key.
//!
//! ```text
//!   written            now         expires
//!      │◀─────────── lifetime ───────▶│        180 s in the plain protocol
//! ```
//!
//! - **The two agree** (with the original design's lifetime, or the fleet's `heartbeat.ttl`): the beat was written then, and the lease
//!   runs from there.
//! - **They do not agree**: one of them is wrong, and a sweeper cannot tell which. It is certain only whether the key has
//!   changed since an earlier look, because each write moves the expiry. So the beat is remembered ([`FirstLook`])
//!   and counts for one lease from the first look. If the beat is still the same after that, its agent fell silent. A
//!   living agent has written another one by then, whatever its clock says.
//! - **The key never expires**: there is only the timestamp. A timestamp in the future proves nothing, so it is a first
//!   look too.
//!
//! One case cannot be told: a client whose lifetime differs from the protocol's by exactly as much as its clock is off.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::wire::record::Heartbeat;
use crate::wire::time::{HostTime, ServerTime};

/// The lifetime that the plain protocol gives a heartbeat, whatever this fleet's own agents use.
const PLAIN_LIFETIME: Duration = Duration::from_secs(180);
/// How far the two clocks of a plain beat may be apart: the beat's way to the store takes time, and lifetimes are whole
/// seconds.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Longest time a first look is remembered, in ms.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a plain agent's heartbeat key held when a sweeper looked.
#[derive(Debug, Clone, PartialEq)]
pub enum PlainBeat {
    /// There is no such key.
    Missing,
    /// A beat that could be read.
    Read {
        /// The beat.
        beat: Box<Heartbeat>,
        /// When its key expires; `None` if it never does, or if the sweeper did not ask.
        expires_at: Option<ServerTime>,
    },
    /// The key holds something that is no beat (another type, malformed, far too large).
    Unreadable {
        /// Time the key has left, if it expires.
        expires_in: Option<Duration>,
    },
}

/// Since when a beat whose clocks do not agree is known; kept in `sweep:look:<id>` until the beat expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstLook {
    /// When the beat was first seen.
    pub since: ServerTime,
    /// The beat's timestamp, in ms of the agent's clock.
    pub timestamp: HostTime,
    /// When its key expires.
    pub expires_at: Option<ServerTime>,
}

impl FirstLook {
    /// Whether this look was at the same beat, at `now` or earlier. A look in the future was made before the store's
    /// clock was set back, so it does not tell how long ago it was.
    fn is_of(&self, other: &Self, now: ServerTime) -> bool {
        (self.timestamp, self.expires_at) == (other.timestamp, other.expires_at) && self.since <= now
    }

    /// Until when it has to be kept: until the beat is gone, or its timestamp is believable.
    #[must_use]
    pub fn kept_until(&self, threshold: Duration) -> ServerTime {
        let until = self.expires_at.unwrap_or_else(|| self.timestamp.taken_at_its_word() + threshold);
        until.min(self.since + REMEMBERED)
    }
}

/// As kept in the store: since, timestamp and, if the key expires, its expiry.
impl fmt::Display for FirstLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.since.as_ms(), self.timestamp.as_ms())?;
        self.expires_at.map_or(Ok(()), |expires_at| write!(f, " {}", expires_at.as_ms()))
    }
}

impl FromStr for FirstLook {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split(' ').map(str::parse);
        let mut next = || numbers.next().transpose();
        let since = ServerTime::from_store_ms(next()?.unwrap_or(u64::MAX));
        let timestamp = HostTime::from_host_ms(next()?.unwrap_or(0));
        Ok(Self { since, timestamp, expires_at: next()?.map(ServerTime::from_store_ms) })
    }
}

/// The lease that a heartbeat stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainLease {
    /// Its end. Never later than `threshold` from now.
    pub end: ServerTime,
    /// When the agent was last heard of, in ms of its own clock, but not in the future.
    pub last_seen: Option<ServerTime>,
    /// What to remember until the next look; only where the beat's clocks do not agree.
    pub first_look: Option<FirstLook>,
}

impl PlainLease {
    fn until(end: ServerTime) -> Self {
        Self { end, last_seen: None, first_look: None }
    }
}

/// The settings by which plain beats are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainRule {
    /// Length of a lease (`sweep.orphan_threshold`).
    pub threshold: Duration,
    /// Lifetime of the fleet's own heartbeats (`heartbeat.ttl`).
    pub lifetime: Duration,
}

/// Judges a plain agent by its heartbeat at `now`. `earlier` is the first look that is remembered.
///
/// - No heartbeat: the lease is over now.
/// - A readable one: it runs `threshold` from when it was written, or from the first look at it; see the module's text.
/// - An unreadable one: it was written, so the agent counts as alive until the key expires. A key that never expires
///   proves nothing about now, so the lease is over.
#[must_use]
pub fn plain_lease(
    beat: &PlainBeat,
    earlier: Option<FirstLook>,
    now: ServerTime,
    rule: PlainRule,
) -> PlainLease {
    let threshold = rule.threshold;
    let (timestamp, expires_at) = match beat {
        PlainBeat::Missing | PlainBeat::Unreadable { expires_in: None } => return PlainLease::until(now),
        PlainBeat::Unreadable { expires_in: Some(left) } => {
            return PlainLease::until(now + threshold.min(*left));
        }
        PlainBeat::Read { beat, expires_at } => match beat.timestamp {
            Some(timestamp) => (timestamp, *expires_at),
            None => return PlainLease::until(now),
        },
    };
    let last_seen = Some(timestamp.taken_at_its_word().min(now));
    if let Some(written) = written_at(timestamp, expires_at, now, rule.lifetime) {
        return PlainLease { end: written + threshold, last_seen, first_look: None };
    }
    let this = FirstLook { since: now, timestamp, expires_at };
    let first = earlier.filter(|earlier| earlier.is_of(&this, now)).unwrap_or(this);
    PlainLease { end: first.since + threshold, last_seen, first_look: Some(first) }
}

/// When a beat was written, if that is certain; never later than `now`.
fn written_at(
    timestamp: HostTime,
    expires_at: Option<ServerTime>,
    now: ServerTime,
    lifetime: Duration,
) -> Option<ServerTime> {
    let claimed = timestamp.taken_at_its_word();
    match expires_at {
        Some(expires_at) => agreed_on(timestamp, expires_at, now, lifetime),
        None => (claimed <= now + TOLERANCE).then(|| claimed.min(now)),
    }
}

/// When a beat was written, if both its clocks say the same; never later than `now`.
fn agreed_on(
    timestamp: HostTime,
    expires_at: ServerTime,
    now: ServerTime,
    lifetime: Duration,
) -> Option<ServerTime> {
    let claimed = timestamp.taken_at_its_word();
    by_server(expires_at, now, lifetime)
        .find(|written| written.distance(claimed) <= TOLERANCE)
        .map(|written| written.max(claimed).min(now))
}

/// When a beat was written if it was given one of the usual lifetimes.
fn by_server(
    expires_at: ServerTime,
    now: ServerTime,
    lifetime: Duration,
) -> impl Iterator<Item = ServerTime> {
    [lifetime, PLAIN_LIFETIME]
        .into_iter()
        .filter_map(move |lifetime| expires_at.checked_sub(lifetime))
        .filter(move |written| *written <= now + TOLERANCE)
}

/// When a plain agent last beat, as proof that the store was up then. `None` if the beat's clocks do not agree.
#[must_use]
pub fn plain_witness(
    timestamp: HostTime,
    expires_at: ServerTime,
    now: ServerTime,
    lifetime: Duration,
) -> Option<ServerTime> {
    agreed_on(timestamp, expires_at, now, lifetime)
}

/// The latest time at which a plain agent can have beaten. Only good for counting who is late.
#[must_use]
pub fn plain_last_beat(
    timestamp: HostTime,
    expires_at: Option<ServerTime>,
    now: ServerTime,
    lifetime: Duration,
) -> ServerTime {
    let by_server = expires_at.and_then(|expires_at| by_server(expires_at, now, lifetime).max());
    timestamp.taken_at_its_word().max(by_server.unwrap_or_default()).min(now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_764_000_000_000;
    const THRESHOLD: u64 = 120_000;
    const RULE: PlainRule =
        PlainRule { threshold: Duration::from_millis(THRESHOLD), lifetime: Duration::from_secs(180) };

    fn at(ms: u64) -> ServerTime {
        ServerTime::from_store_ms(ms)
    }

    fn beat(timestamp: u64, expires_at: Option<u64>) -> PlainBeat {
        let timestamp = Some(HostTime::from_host_ms(timestamp));
        PlainBeat::Read {
            beat: Box::new(Heartbeat { timestamp, ..Heartbeat::default() }),
            expires_at: expires_at.map(at),
        }
    }

    fn judge(beat: &PlainBeat, now: u64) -> PlainLease {
        plain_lease(beat, None, at(now), RULE)
    }

    #[test]
    fn a_beat_three_minutes_old_is_over_and_one_thirty_seconds_old_is_not() {
        assert!(judge(&beat(NOW - 180_000, None), NOW).end <= at(NOW));
        assert_eq!(judge(&beat(NOW - 30_000, None), NOW).end, at(NOW + 90_000));
        let with_lifetime = |ago: u64| judge(&beat(NOW - ago, Some(NOW - ago + 180_000)), NOW);
        assert_eq!(with_lifetime(30_000).end, at(NOW + 90_000));
        assert_eq!(with_lifetime(150_000), PlainLease { end: at(NOW - 30_000), ..with_lifetime(150_000) });
        assert_eq!(with_lifetime(150_000).first_look, None, "both clocks say so");
    }

    #[test]
    fn a_missing_beat_is_over_at_once() {
        assert_eq!(judge(&PlainBeat::Missing, NOW).end, at(NOW));
    }

    #[test]
    fn a_clock_ahead_makes_nobody_immortal_with_or_without_a_lifetime() {
        for expires_at in [None, Some(NOW + 170_000), Some(NOW + 86_400_000)] {
            let ahead = beat(NOW + 86_400_000, expires_at);
            let first = judge(&ahead, NOW);
            assert_eq!(first.end, at(NOW + THRESHOLD));
            let later = plain_lease(&ahead, first.first_look, at(NOW + THRESHOLD), RULE);
            assert_eq!(later.end, at(NOW + THRESHOLD), "it is the same beat as a lease ago");
        }
    }

    #[test]
    fn a_look_from_before_the_clock_was_set_back_counts_as_none() {
        let behind = beat(NOW - 3_600_000, Some(NOW + 170_000));
        let future = judge(&behind, NOW + 3_600_000).first_look;
        let again = plain_lease(&behind, future, at(NOW), RULE);
        assert_eq!((again.end, again.first_look.unwrap().since), (at(NOW + THRESHOLD), at(NOW)));
    }

    #[test]
    fn a_first_look_is_read_back_as_it_was_written_and_kept_as_long_as_its_beat() {
        let look = |timestamp, expires_at: Option<u64>| FirstLook {
            since: at(NOW),
            timestamp: HostTime::from_host_ms(timestamp),
            expires_at: expires_at.map(at),
        };
        for expires_at in [None, Some(NOW + 5)] {
            let look = look(NOW + 9_000, expires_at);
            assert_eq!(look.to_string().parse(), Ok(look));
        }
        assert!("soon".parse::<FirstLook>().is_err());
        assert!("".parse::<FirstLook>().is_err());
        assert_eq!(look(1, Some(NOW + 5)).kept_until(RULE.threshold), at(NOW + 5));
        assert_eq!(look(NOW + 5_000, None).kept_until(RULE.threshold), at(NOW + 5_000 + THRESHOLD));
        assert_eq!(look(u64::MAX, None).kept_until(RULE.threshold), at(NOW) + REMEMBERED);
    }

    #[test]
    fn a_plain_beat_is_a_witness_only_if_the_servers_clock_agrees() {
        let witness = |timestamp, left: u64| {
            let timestamp = HostTime::from_host_ms(timestamp);
            plain_witness(timestamp, at(NOW + left * 1_000), at(NOW), RULE.lifetime)
        };
        assert_eq!(witness(NOW - 20_300, 160), Some(at(NOW - 20_000)));
        assert_eq!(witness(NOW - 20_000, 100), None, "a clock ahead, or a beat dated forward");
        assert_eq!(witness(NOW - 90_000, 180), None, "a beat dated back");
        assert_eq!(witness(NOW, 200), None, "another lifetime");
    }

    #[test]
    fn an_unreadable_beat_counts_until_its_key_expires_and_never_for_longer_than_a_lease() {
        let left = |seconds| PlainBeat::Unreadable { expires_in: Some(Duration::from_secs(seconds)) };
        assert_eq!(judge(&left(9), NOW).end, at(NOW + 9_000));
        assert_eq!(judge(&left(9_000), NOW).end, at(NOW + THRESHOLD));
        assert_eq!(judge(&PlainBeat::Unreadable { expires_in: None }, NOW).end, at(NOW));
    }

    /// A plain client and the sweeper that watches it: `now` goes from look to look, each when the lease is over.
    struct Watched {
        clock_off: i64,
        lifetime: u64,
        interval: u64,
        /// When it beats no more.
        dies_at: u64,
    }

    impl Watched {
        fn heartbeat(&self, now: u64) -> PlainBeat {
            let last = now.min(self.dies_at);
            let written = NOW + (last - NOW) / self.interval * self.interval;
            if written + self.lifetime <= now {
                return PlainBeat::Missing;
            }
            beat(written.saturating_add_signed(self.clock_off), Some(written + self.lifetime))
        }

        /// When a sweeper takes it for dead, if it does before `until`.
        fn taken_for_dead(&self, until: u64) -> Option<u64> {
            let (mut now, mut earlier) = (NOW, None);
            while now < until {
                let lease = plain_lease(&self.heartbeat(now), earlier, at(now), RULE);
                assert!(lease.end <= at(now + THRESHOLD), "no lease is longer than a lease");
                if lease.end <= at(now) {
                    return Some(now);
                }
                (now, earlier) = (lease.end.as_ms(), lease.first_look);
            }
            None
        }

        /// The one case that a sweeper cannot tell: see the module's text.
        fn is_ambiguous(&self) -> bool {
            let seeming = i64::try_from(self.lifetime).unwrap() - self.clock_off;
            (seeming - 180_000).abs() <= 1_000 && self.lifetime != 180_000
        }
    }

    fn clients() -> impl Strategy<Value = (i64, u64, u64)> {
        let clock_off = prop_oneof![
            Just(0),
            Just(-120_000),
            Just(-3_600_000),
            Just(3_600_000),
            -7_200_000_i64..7_200_000
        ];
        let lifetime = prop_oneof![Just(180_000), 65_000_u64..3_600_000];
        (clock_off, lifetime, 1_000_u64..60_000)
    }

    proptest! {
        #[test]
        fn a_plain_agent_that_beats_is_never_taken_for_dead_whatever_its_clock_and_lifetime(
            (clock_off, lifetime, interval) in clients(),
        ) {
            let client = Watched { clock_off, lifetime, interval, dies_at: u64::MAX };
            prop_assume!(!client.is_ambiguous());
            prop_assert_eq!(client.taken_for_dead(NOW + 20 * THRESHOLD), None);
        }

        #[test]
        fn one_that_beats_no_more_is_taken_for_dead_within_two_leases(
            (clock_off, lifetime, interval) in clients(),
            lived in 0_u64..1_000_000,
        ) {
            let client = Watched { clock_off, lifetime, interval, dies_at: NOW + lived };
            prop_assume!(!client.is_ambiguous());
            let found = client.taken_for_dead(NOW + 20 * THRESHOLD).unwrap();
            prop_assert!(found > client.dies_at, "not before it died");
            prop_assert!(found <= client.dies_at + 2 * THRESHOLD, "{} ms later", found - client.dies_at);
        }
    }
}
