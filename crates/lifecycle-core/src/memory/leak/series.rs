//! The history of one agent at one scale, and how much growth is not remarkable for it.

use super::kind::{Bin, KindHistory};
use super::rise::Rise;
use super::scales::{HOUR_MS, MIB};

/// A rise settles after this many floors without a gain.
const SETTLE: u64 = 4;
/// A rise up to this multiple of the largest one that was over is not remarkable: records are broken now and then.
const OWN: f64 = 2.5;
/// The same for the largest rises of agents of the kind.
const KIND: f64 = 1.5;
/// Growth that is allowed to a program of which nothing is known: a big model, a full cache, a browser.
const UNKNOWN: f64 = 6_144.0 * MIB;
/// That allowance falls with the square of the experience: to a quarter after this many hours.
const EXPERIENCE_H: f64 = 1.0;
/// An hour of experience with others of the kind is worth this much of an own hour, …
const OTHERS: f64 = 0.1;
/// … up to this many hours: agents of a kind start together, so all of them are warming up when one is.
const OTHERS_H: f64 = 0.5;
/// An hour of growth that does not end is worth this much of an hour of experience: few warm-ups and caches take that
/// long.
const PATIENCE: f64 = 0.2;
/// This many hours of own experience halve the weight of what is usual for the kind.
const KIND_H: f64 = 1.0;

/// Rises at one scale.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Series {
    pub(super) rise: Option<Rise>,
    /// The largest gain of a rise that is over, in bytes.
    largest: u64,
    bin: Option<Bin>,
    /// How much observed time lies in rises that are over.
    accounted_ms: u64,
    accounted_until: u64,
}

impl Series {
    /// Takes in the next floor, at this observed time. Returns whether a rise is over.
    pub(super) fn next(
        &mut self,
        kind: &mut KindHistory,
        scale: usize,
        length_ms: u64,
        at_ms: u64,
        bytes: u64,
    ) -> bool {
        let Some(rise) = &mut self.rise else {
            self.rise = Some(Rise::begin(at_ms, bytes));
            self.accounted_until = at_ms;
            return false;
        };
        let Some(gained) = rise.next(at_ms, bytes, SETTLE * length_ms) else { return false };
        let ms = at_ms.saturating_sub(self.accounted_until);
        self.accounted_until = at_ms;
        self.accounted_ms += ms;
        kind.account(scale, ms);
        if gained > self.largest || self.bin.is_none() {
            self.largest = self.largest.max(gained);
            self.bin = Some(kind.learn(scale, self.bin, self.largest));
        }
        true
    }

    /// Hours of observed time that lie in rises that are over.
    pub(super) fn experience_h(&self) -> f64 {
        self.accounted_ms as f64 / HOUR_MS
    }

    /// Growth up to this many bytes is within what this agent or its kind did before, or may do as far as is known.
    pub(super) fn allowance(&self, kind: &KindHistory, scale: usize) -> f64 {
        let own = self.experience_h();
        let others = kind.accounted_ms(scale).saturating_sub(self.accounted_ms) as f64 / HOUR_MS;
        let growing = self.rise.map_or(0.0, |rise| rise.lasted_ms() as f64 / HOUR_MS);
        let hours = own + (OTHERS * others).min(OTHERS_H) + PATIENCE * growing;
        let unknown = UNKNOWN * (EXPERIENCE_H / (EXPERIENCE_H + hours)).powi(2);
        let usual = KIND * kind.usual(scale) * KIND_H / (KIND_H + own);
        (OWN * self.largest as f64).max(usual).max(unknown)
    }

    /// The agent has another process: its memory starts anew, and what was learnt stays.
    pub(super) fn restart(&mut self) {
        self.rise = None;
    }
}
