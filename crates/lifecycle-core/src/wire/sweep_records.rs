//! What passes write into the store: `sweep:watermark` and `sweep:hold`.

use std::time::Duration;

use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

/// `sweep:watermark`: when sweepers made their last passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watermark {
    /// When the last pass ended.
    pub at: ServerTime,
    /// When the last pass that held nothing looked: leases that ended later are news.
    pub good: Option<ServerTime>,
    /// The sweeper that made the last pass.
    pub by: String,
    /// The last pass of every sweeper that has not left; see [`crate::agent::liveness`].
    pub passes: Vec<(String, ServerTime)>,
    /// The last sweeper that stopped, and when.
    pub left: Option<(String, ServerTime)>,
}

impl Watermark {
    /// The watermark as it counts at `now`: what lies in the future was written before the store's clock was set back, and
    /// counts as now. The passes stay as they are: as passes of now, those of a dead sweeper would look fresh, so
    /// [`crate::agent::liveness::sweeper_absence`] judges by how far ahead they lie.
    #[must_use]
    pub fn as_of(mut self, now: ServerTime) -> Self {
        self.at = self.at.min(now);
        self.good = self.good.map(|good| good.min(now));
        self.left = self.left.map(|(by, at)| (by, at.min(now)));
        self
    }

    /// Takes in a field of the record: `pass:<sweeper>` is that sweeper's last pass.
    pub fn note_pass(&mut self, field: &str, value: &str) {
        if let (Some(sweeper), Ok(at)) = (field.strip_prefix(PASS), value.parse()) {
            self.passes.push((sweeper.into(), ServerTime::from_store_ms(at)));
        }
    }
}

/// Prefix of the fields of `sweep:watermark` that hold the last pass of one sweeper.
pub const PASS: &str = "pass:";

/// `sweep:hold`: reaping is held, or was released by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hold {
    /// When it began.
    pub since: ServerTime,
    /// What kind of hold it is; `None` if its writer did not say.
    pub kind: Option<HoldKind>,
    /// Since when it has been of this kind.
    pub kind_since: Option<ServerTime>,
    /// Why reaping is held, in words for people.
    pub reason: String,
    /// How many agents the fleet had when it began.
    pub fleet: Option<u64>,
    /// An operator said to go on until then.
    pub released_until: Option<ServerTime>,
}

impl Hold {
    /// The hold as it counts at `now`. A beginning in the future was written before the store's clock was set back and
    /// counts as now, or the hold would have no end; and a release lasts no longer than its period.
    #[must_use]
    pub fn as_of(mut self, now: ServerTime, released_for: Option<Duration>) -> Self {
        self.since = self.since.min(now);
        self.kind_since = self.kind_since.map(|since| since.min(now));
        if let (Some(until), Some(period)) = (self.released_until, released_for) {
            self.released_until = Some(until.min(now + period));
        }
        self
    }

    /// Whether it began because a large part of the fleet fell silent together.
    #[must_use]
    pub fn is_of_a_mass(&self) -> bool {
        matches!(self.kind, Some(HoldKind::MassSilence | HoldKind::Stragglers))
    }

    /// Whether an operator said to go on, at `now`.
    #[must_use]
    pub fn is_released(&self, now: ServerTime) -> bool {
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
        /// Most of those that fell silent together beat again, and the last ones may be on their way.
        Stragglers = "stragglers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_pass_in_the_future_counts_as_now() {
        let [four, five, nine] = [4_000, 5_000, 9_000].map(ServerTime::from_store_ms);
        let mark = |at, good| Watermark { at, good, by: "s".into(), ..Watermark::default() };
        assert_eq!(mark(nine, Some(nine)).as_of(five), mark(five, Some(five)));
        assert_eq!(mark(four, None).as_of(five), mark(four, None));
        let left = |at| Watermark { left: Some(("s".into(), at)), ..mark(four, None) };
        assert_eq!(left(nine).as_of(five), left(five));
    }
}
