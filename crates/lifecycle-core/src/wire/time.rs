//! Durations in the unit of the store's clock.

use std::time::Duration;

/// A duration in whole ms, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
