//! Where the generator's chance comes from: one seeded source per group of agents, so that every run repeats exactly.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A seeded source of random numbers.
pub(super) struct Chance(StdRng);

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Another source, which does not depend on how much is drawn from this one afterwards.
    pub(super) fn branch(&mut self) -> Self {
        Self(StdRng::seed_from_u64(self.0.random()))
    }

    pub(super) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// As likely between 1 and 10 as between 10 and 100: for sizes and durations that differ by orders of magnitude.
    pub(super) fn between_orders(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// Waiting time until an event that happens once in `mean` on average.
    pub(super) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Mean 0, standard deviation 1. The sum of four uniform numbers is near enough to a normal one, and quick.
    pub(super) fn normal(&mut self) -> f64 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 3.0_f64.sqrt()
    }

    /// A factor around 1 with this spread in its logarithm.
    pub(super) fn about_one(&mut self, spread: f64) -> f64 {
        (self.normal() * spread).exp()
    }
}
