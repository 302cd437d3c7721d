//! What was seen of all agents of one kind; it stands in for the history of an agent of which little is known yet.
//!
//! Each agent counts once per figure, with its largest value, so a busy agent does not outweigh the others. A histogram
//! over classes of sizes tells how many agents have their largest value in which class. It takes the same few bytes for
//! ten agents and for ten thousand.

use super::scales::SCALES;

/// Sizes are classified by eighths of an octave, from 1 MiB to 1 TiB.
const BINS: usize = 160;
const FIRST_OCTAVE: f64 = 20.0;
const PER_OCTAVE: f64 = 8.0;
/// With more agents than this, the earlier ones count half from then on.
const MOST_AGENTS: u32 = 4_096;

/// Beside the rises at each scale: the highest levels.
pub(super) const LEVELS: usize = SCALES.len();

/// The history of all agents of one kind, in constant memory.
#[derive(Debug, Clone)]
pub struct KindHistory {
    largest: [[u16; BINS]; LEVELS + 1],
    /// Per scale: how much time of all agents lies in rises that are over.
    accounted_ms: [u64; SCALES.len()],
}

/// The class in which an agent's largest value is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bin(u8);

impl Default for KindHistory {
    fn default() -> Self {
        Self { largest: [[0; BINS]; LEVELS + 1], accounted_ms: [0; SCALES.len()] }
    }
}

impl KindHistory {
    /// An agent's largest value of a figure is now `bytes`. It was counted in `was` before.
    pub(super) fn learn(&mut self, figure: usize, was: Option<Bin>, bytes: u64) -> Bin {
        let bin = Bin::of(bytes);
        let counts = &mut self.largest[figure];
        if let Some(Bin(was)) = was {
            counts[usize::from(was)] = counts[usize::from(was)].saturating_sub(1);
        }
        counts[usize::from(bin.0)] += 1;
        if total(counts) > MOST_AGENTS {
            counts.iter_mut().for_each(|count| *count /= 2);
        }
        bin
    }

    pub(super) fn account(&mut self, scale: usize, ms: u64) {
        self.accounted_ms[scale] = self.accounted_ms[scale].saturating_add(ms);
    }

    pub(super) fn accounted_ms(&self, scale: usize) -> u64 {
        self.accounted_ms[scale]
    }

    /// The size that nine of ten agents never exceeded, in bytes, rounded up; 0 when nothing is known.
    pub(super) fn usual(&self, figure: usize) -> f64 {
        let counts = &self.largest[figure];
        let mut above = total(counts) / 10;
        for (bin, count) in counts.iter().enumerate().rev() {
            if u32::from(*count) > above {
                return (bin as f64 / PER_OCTAVE + FIRST_OCTAVE).exp2();
            }
            above -= u32::from(*count);
        }
        0.0
    }
}

impl Bin {
    fn of(bytes: u64) -> Self {
        let eighths = ((bytes.max(1) as f64).log2() - FIRST_OCTAVE) * PER_OCTAVE;
        Self(eighths.ceil().clamp(0.0, (BINS - 1) as f64) as u8)
    }
}

fn total(counts: &[u16]) -> u32 {
    counts.iter().map(|count| u32::from(*count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn nine_of_ten_agents_say_what_is_usual() {
        let mut kind = KindHistory::default();
        assert_eq!(kind.usual(0), 0.0);
        for _ in 0..18 {
            kind.learn(0, None, 100 * MIB);
        }
        for _ in 0..2 {
            kind.learn(0, None, 9_000 * MIB);
        }
        let usual = kind.usual(0) / MIB as f64;
        assert!((100.0..110.0).contains(&usual), "{usual}");
        kind.learn(0, None, 9_000 * MIB);
        assert!(kind.usual(0) > 8_999.0 * MIB as f64, "three of 21 are more than a tenth");
    }

    #[test]
    fn an_agent_counts_once_however_often_it_grows() {
        let mut kind = KindHistory::default();
        let mut bin = None;
        for size in 1..1_000 {
            bin = Some(kind.learn(0, bin, size * MIB));
        }
        assert_eq!(total(&kind.largest[0]), 1);
    }

    #[test]
    fn any_number_of_agents_and_any_size_is_survived() {
        let mut kind = KindHistory::default();
        for _ in 0..200_000 {
            kind.learn(1, None, u64::MAX);
            kind.learn(1, None, 0);
        }
        assert!(kind.usual(1) > 0.0 && total(&kind.largest[1]) <= MOST_AGENTS);
    }
}
