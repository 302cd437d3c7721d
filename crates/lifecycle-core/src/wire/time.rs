//! Moments: [`ServerTime`] by the store's clock, by which everything is decided, and [`HostTime`] by some host's, which has
//! no order with it. Both are in ms since the Unix epoch.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment by the store's clock, in ms since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerTime(u64);

impl ServerTime {
    /// What the store answered, or what stands in it by its clock. In a recorded trace, the clock of the trace stands for
    /// the store's.
    #[must_use]
    pub const fn from_store_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// For the store, for JSON and for people.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; nothing if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.ms_since(earlier))
    }

    /// How long it is from here to `later`; nothing if that is before.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }

    /// [`Self::since`] in ms.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// [`Self::until`] in ms.
    #[must_use]
    pub const fn ms_until(self, later: Self) -> u64 {
        later.ms_since(self)
    }

    /// [`Self::ms_since`], and negative if this is before `other`.
    #[must_use]
    pub fn signed_ms_since(self, other: Self) -> i128 {
        i128::from(self.0) - i128::from(other.0)
    }

    /// How far the two are apart, whichever is the earlier one.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }

    /// So long before this; `None` before the epoch.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(millis(duration)).map(Self)
    }
}

/// In whole ms, saturating.
impl Add<Duration> for ServerTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// In whole ms, and never before the epoch.
impl Sub<Duration> for ServerTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// A moment by some host's clock, in ms since the Unix epoch. It has no order, not even among its own: two of them may be
/// of two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostTime(u64);

impl HostTime {
    /// What a host's clock said.
    #[must_use]
    pub const fn from_host_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// For the store, for JSON and for people.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The moment that it names, if that host's clock were the store's. This proves nothing, and is allowed for two things.
    /// [`crate::agent::plain_lease`] takes it for one of two witnesses of when a plain heartbeat was written. The other one is
    /// the server's, when its key expires, and the moment is believed only where the two agree; a key that never expires has
    /// no other witness, and then it is believed unless it is yet to come. And people are shown when an agent says that it
    /// last beat.
    #[must_use]
    pub const fn taken_at_its_word(self) -> ServerTime {
        ServerTime(self.0)
    }
}

/// A duration in whole ms, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{Wire, decode};

    #[test]
    fn arithmetic_ends_at_the_epoch_and_at_the_end_of_numbers() {
        let at = ServerTime::from_store_ms;
        let ms = Duration::from_millis;
        assert_eq!((at(7).since(at(5)), at(5).since(at(7))), (ms(2), ms(0)));
        assert_eq!((at(5).ms_until(at(7)), at(7).until(at(5))), (2, ms(0)));
        assert_eq!((at(5).distance(at(7)), at(7).distance(at(5))), (ms(2), ms(2)));
        assert_eq!((at(7).signed_ms_since(at(5)), at(5).signed_ms_since(at(7))), (2, -2));
        assert_eq!((at(5) - ms(7), at(u64::MAX - 1) + ms(7)), (at(0), at(u64::MAX)));
        assert_eq!((at(5).checked_sub(ms(7)), at(7).checked_sub(ms(5))), (None, Some(at(2))));
    }

    #[test]
    fn both_are_written_as_the_bare_number() {
        assert_eq!(serde_json::to_string(&ServerTime::from_store_ms(7)).unwrap(), "7");
        assert_eq!(serde_json::to_string(&HostTime::from_host_ms(7)).unwrap(), "7");
        let wire = Wire::MsgPack;
        let bytes = wire.encode(&[ServerTime::from_store_ms(300)]).unwrap();
        assert_eq!(bytes, wire.encode(&[300_u64]).unwrap());
        assert_eq!(decode::<[ServerTime; 1]>(&bytes).unwrap(), [ServerTime::from_store_ms(300)]);
    }
}
