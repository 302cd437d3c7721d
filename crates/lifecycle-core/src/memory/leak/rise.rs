//! Rises: growth that was not given back.
//!
//! A series of floors is cut into rises. A rise begins at its lowest point. It is open as long as it keeps most of what
//! it gained and gains more now and then. It is *over* when half of it was given back (a collection, the end of a task,
//! the exit of a child), or when it gained nothing for long (a warm-up, a full cache, a step). The size of a rise that
//! is over is usual for this program. The rise of a leak is never over, so leaking is never learnt as usual.

/// The latest rise of a series. Times are in ms of observed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rise {
    pub(super) low: u64,
    pub(super) low_at: u64,
    pub(super) high: u64,
    pub(super) high_at: u64,
}

impl Rise {
    pub(super) fn begin(at_ms: u64, bytes: u64) -> Self {
        Self { low: bytes, low_at: at_ms, high: bytes, high_at: at_ms }
    }

    /// How much it has gained so far, in bytes.
    pub(super) fn gained(&self) -> u64 {
        self.high - self.low
    }

    /// How long it has been gaining.
    pub(super) fn lasted_ms(&self) -> u64 {
        self.high_at.saturating_sub(self.low_at)
    }

    /// Takes in the next floor. If that ends the rise, returns what it had gained, and begins another one.
    ///
    /// A rise settles when it gained nothing for half as long as it had been gaining, and at least for `settle_ms`.
    pub(super) fn next(&mut self, at_ms: u64, bytes: u64, settle_ms: u64) -> Option<u64> {
        let gained = self.gained();
        // A gain of less than 2 % is none.
        if bytes > self.high.saturating_add(gained / 50) {
            self.high = bytes;
            self.high_at = at_ms;
        }
        let retraced = bytes < self.low || (self.high.saturating_sub(bytes)) > gained / 2;
        let settled = at_ms.saturating_sub(self.high_at) >= settle_ms.max(self.lasted_ms() / 2);
        if retraced || settled {
            *self = Self::begin(at_ms, bytes);
            return Some(gained);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE_MS: u64 = 4;

    fn over(floors: &[u64]) -> Vec<u64> {
        let mut rise = Rise::begin(0, floors[0]);
        let rest = (1..).zip(&floors[1..]);
        rest.filter_map(|(at, bytes)| rise.next(at, *bytes, SETTLE_MS)).filter(|gained| *gained > 0).collect()
    }

    #[test]
    fn a_rise_that_gave_half_back_is_over() {
        assert_eq!(over(&[100, 150, 200, 160, 149]), [100]);
    }

    #[test]
    fn a_rise_that_gains_nothing_for_long_is_over() {
        assert_eq!(over(&[100, 150, 200, 200, 199, 200, 200]), [100]);
    }

    #[test]
    fn a_rise_that_goes_on_is_never_over() {
        let growing: Vec<u64> = (0..10_000).map(|step| 1_000 + 40 * step + (step % 7) * 20).collect();
        let over = over(&growing);
        assert!(over.iter().all(|gained| *gained < 500), "only noise at its start: {over:?}");
    }
}
