//! The random numbers of the generator. Each group of agents has its own seed, so every run repeats exactly.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A seeded source of random numbers.
pub(crate) struct SeededRandom(StdRng);

impl SeededRandom {
    pub(crate) fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Another source. What is drawn from this one afterwards does not change it.
    pub(crate) fn branch(&mut self) -> Self {
        Self(StdRng::seed_from_u64(self.0.random()))
    }

    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in the logarithm: a value between 1 and 10 is as likely as one between 10 and 100. For sizes and durations
    /// that differ by orders of magnitude.
    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        self.uniform(low.ln(), high.ln()).exp()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// The waiting time until an event that happens once in `mean` on average: exponentially distributed.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Mean 0, standard deviation 1. The sum of four uniform numbers is near enough to a normal one, and quicker.
    pub(crate) fn normal(&mut self) -> f64 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 3.0_f64.sqrt()
    }

    /// A factor around 1. Its logarithm is normal with the standard deviation `spread`.
    pub(crate) fn log_normal_factor(&mut self, spread: f64) -> f64 {
        (self.normal() * spread).exp()
    }
}
