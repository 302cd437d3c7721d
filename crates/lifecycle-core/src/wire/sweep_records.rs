//! What passes write into the store: `sweep:watermark` and `sweep:hold`.

use crate::wire::word_enum::word_enum;

/// `sweep:watermark`: when sweepers made their last passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watermark {
    /// When the last pass ended, in ms of server time.
    pub at: u64,
    /// When the last pass that held nothing looked: leases that ended later are news.
    pub good: Option<u64>,
    /// The sweeper that made the last pass.
    pub by: String,
    /// The last pass of every sweeper that has not left, in ms of server time; see [`crate::agent::liveness`].
    pub passes: Vec<(String, u64)>,
    /// The last sweeper that stopped, and when, in ms of server time.
    pub left: Option<(String, u64)>,
}

impl Watermark {
    /// The watermark as it counts at `now` (ms of server time): what lies in the future was written before the store's
    /// clock was set back, and counts as now.
    #[must_use]
    pub fn as_of(mut self, now: u64) -> Self {
        self.at = self.at.min(now);
        self.good = self.good.map(|good| good.min(now));
        self
    }
}

impl Watermark {
    /// Takes in a field of the record: `pass:<sweeper>` is that sweeper's last pass.
    pub fn note_pass(&mut self, field: &str, value: &str) {
        if let (Some(sweeper), Ok(at)) = (field.strip_prefix(PASS), value.parse()) {
            self.passes.push((sweeper.into(), at));
        }
    }
}

/// Prefix of the fields of `sweep:watermark` that hold the last pass of one sweeper.
pub const PASS: &str = "pass:";

/// `sweep:hold`: reaping is held, or was released by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hold {
    /// When it began, in ms of server time.
    pub since: u64,
    /// What kind of hold it is; `None` if its writer did not say.
    pub kind: Option<HoldKind>,
    /// Why reaping is held, in words for people.
    pub reason: String,
    /// How many agents the fleet had when it began.
    pub fleet: Option<u64>,
    /// An operator said to go on until then, in ms.
    pub released_until: Option<u64>,
}

impl Hold {
    /// The hold as it counts at `now`. A beginning in the future was written before the store's clock was set back and
    /// counts as now, or the hold would have no end; and a release lasts no longer than its period (ms).
    #[must_use]
    pub fn as_of(mut self, now: u64, released_for: Option<u64>) -> Self {
        self.since = self.since.min(now);
        if let (Some(until), Some(period)) = (self.released_until, released_for) {
            self.released_until = Some(until.min(now.saturating_add(period)));
        }
        self
    }

    /// Whether an operator said to go on, at `now`.
    #[must_use]
    pub fn is_released(&self, now: u64) -> bool {
        self.released_until.is_some_and(|until| now < until)
    }
}

word_enum! {
    /// Why reaping is held.
    HoldKind, "kind of hold" {
        /// A large part of the fleet fell silent together.
        MassSilence = "mass_silence",
        /// Nothing proves that the store was up while the agents were silent.
        Unwatched = "unwatched",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_pass_in_the_future_counts_as_now() {
        let mark = |at, good| Watermark { at, good, by: "s".into(), ..Watermark::default() };
        assert_eq!(mark(9_000, Some(9_000)).as_of(5_000), mark(5_000, Some(5_000)));
        assert_eq!(mark(4_000, None).as_of(5_000), mark(4_000, None));
    }
}
