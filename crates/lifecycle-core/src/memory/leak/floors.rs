//! Floors: the least memory within each stretch of time.
//!
//! Memory that a program gives back was taken for a while only. The least memory of a longer stretch does not show it.
//! Memory that is never given back lifts every floor.

use super::slope::MOST;
use crate::wire::time::ServerTime;

/// Floors of the last [`MOST`] stretches that had a sample. All stretches have one length.
#[derive(Debug, Clone)]
pub(super) struct Floors {
    length_ms: u64,
    /// Numbers of the stretches, counted from the epoch. Where there were no samples, numbers are missing.
    stretches: [u64; MOST],
    bytes: [u64; MOST],
    /// Where the oldest is, once the ring is full; how many there are.
    begin: u8,
    count: u8,
    open: Option<(u64, u64)>,
}

/// A stretch that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    /// When the stretch began, in ms.
    pub(super) at_ms: u64,
    pub(super) bytes: u64,
}

impl Floors {
    pub(super) fn new(length_ms: u64) -> Self {
        Self { length_ms, stretches: [0; MOST], bytes: [0; MOST], begin: 0, count: 0, open: None }
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Takes in a sample. Gives the stretch that it ends, if it begins another one.
    pub(super) fn take(&mut self, at: ServerTime, bytes: u64) -> Option<Floor> {
        let stretch = at.as_ms() / self.length_ms;
        match &mut self.open {
            Some((open, least)) if *open >= stretch => {
                *least = bytes.min(*least);
                None
            }
            open => {
                let over = open.replace((stretch, bytes));
                let (stretch, least) = over?;
                self.push(stretch, least);
                Some(Floor { at_ms: stretch * self.length_ms, bytes: least })
            }
        }
    }

    fn push(&mut self, stretch: u64, bytes: u64) {
        let at = (usize::from(self.begin) + self.count()) % MOST;
        self.stretches[at] = stretch;
        self.bytes[at] = bytes;
        if self.count() < MOST {
            self.count += 1;
        } else {
            self.begin = ((usize::from(self.begin) + 1) % MOST) as u8;
        }
    }

    /// The floors, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Floor> + ExactSizeIterator + '_ {
        (0..self.count()).map(|index| {
            let at = (usize::from(self.begin) + index) % MOST;
            Floor { at_ms: self.stretches[at] * self.length_ms, bytes: self.bytes[at] }
        })
    }

    pub(super) fn forget(&mut self) {
        *self = Self::new(self.length_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> ServerTime {
        ServerTime::from_store_ms(ms)
    }

    #[test]
    fn a_stretch_is_its_least_sample_and_is_over_when_the_next_begins() {
        let mut floors = Floors::new(60_000);
        assert_eq!(floors.take(at(120_000), 9), None);
        assert_eq!(floors.take(at(150_000), 5), None);
        assert_eq!(floors.take(at(179_999), 7), None);
        assert_eq!(floors.take(at(180_000), 8), Some(Floor { at_ms: 120_000, bytes: 5 }));
        assert_eq!(floors.take(at(900_000), 8), Some(Floor { at_ms: 180_000, bytes: 8 }), "over a gap");
        assert_eq!(floors.iter().map(|floor| floor.bytes).collect::<Vec<_>>(), [5, 8]);
    }

    #[test]
    fn the_oldest_go_when_the_ring_is_full() {
        let mut floors = Floors::new(1_000);
        for second in 0..100 {
            floors.take(at(second * 1_000), second);
        }
        let kept: Vec<u64> = floors.iter().map(|floor| floor.bytes).collect();
        assert_eq!(kept, (99 - MOST as u64..99).collect::<Vec<_>>());
    }
}
