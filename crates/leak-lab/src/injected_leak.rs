//! The injected leaks: memory that is taken and never given back, on top of what a healthy process uses.

use crate::memory_components::{DutyCycle, TICK_S};
use crate::seeded_random::SeededRandom;

/// Slowest and fastest leak in MiB/h.
const RATES: (f64, f64) = (20.0, 60.0 * 1_024.0);

/// The leak of one agent. It goes on after a restart, from nothing each time.
#[derive(Clone)]
pub(crate) struct InjectedLeak {
    /// In MiB/h on average.
    pub(crate) rate: f64,
    /// Seconds from the start of the trace.
    pub(crate) onset_s: f64,
    shape: Shape,
}

#[derive(Clone)]
enum Shape {
    /// Each request leaks a little.
    Even,
    /// Memory grows in pieces: arenas, and tables that grow by a chunk.
    Chunks { size: f64 },
    /// It leaks only while there is work.
    WhileWorking(DutyCycle),
}

impl InjectedLeak {
    pub(crate) fn draw(random: &mut SeededRandom) -> Self {
        let rate = random.log_uniform(RATES.0, RATES.1);
        let shape = match random.unit() {
            u if u < 0.6 => Shape::Even,
            // A piece takes between half a minute and five minutes to fill.
            u if u < 0.8 => Shape::Chunks { size: rate / 3_600.0 * random.log_uniform(30.0, 300.0) },
            _ => Shape::WhileWorking(DutyCycle::new(
                random.log_uniform(300.0, 2_400.0),
                random.log_uniform(60.0, 1_200.0),
            )),
        };
        // Most leaks do not begin at the start, but when a certain code path is first taken.
        Self { rate, onset_s: random.uniform(1.0, 12.0) * 3_600.0, shape }
    }

    pub(crate) fn start(&self) -> LeakedMemory {
        LeakedMemory { leak: self.clone(), mib: 0.0 }
    }
}

/// What a process has leaked so far.
pub(crate) struct LeakedMemory {
    leak: InjectedLeak,
    mib: f64,
}

impl LeakedMemory {
    /// In MiB, one tick later.
    pub(crate) fn step(&mut self, at_s: f64, random: &mut SeededRandom) -> f64 {
        if at_s >= self.leak.onset_s {
            let pace = match &mut self.leak.shape {
                Shape::WhileWorking(duty_cycle) => duty_cycle.step(random),
                _ => 1.0,
            };
            self.mib += self.leak.rate / 3_600.0 * TICK_S * pace * random.uniform(0.3, 1.7);
        }
        match self.leak.shape {
            Shape::Chunks { size } => (self.mib / size).floor() * size,
            _ => self.mib,
        }
    }
}
