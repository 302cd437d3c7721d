//! The leaks: memory that is taken and never given back, on top of whatever else the process does.

use super::chance::Chance;
use super::parts::{Duty, TICK_S};

/// Slowest and fastest leak in MiB/h.
const RATES: (f64, f64) = (20.0, 60.0 * 1_024.0);

/// A leak of one agent. It goes on over restarts, from nothing each time.
#[derive(Clone)]
pub(super) struct Fault {
    /// In MiB/h on average.
    pub(super) rate: f64,
    /// Seconds from the start of the trace.
    pub(super) onset_s: f64,
    shape: Shape,
}

#[derive(Clone)]
enum Shape {
    /// Each request leaks a little.
    Even,
    /// It shows in pieces: arenas, tables that grow by a chunk.
    Chunks { size: f64 },
    /// It leaks only while there is work.
    Working(Duty),
}

impl Fault {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let rate = chance.between_orders(RATES.0, RATES.1);
        let shape = match chance.unit() {
            u if u < 0.6 => Shape::Even,
            // A piece takes between half a minute and five minutes to fill.
            u if u < 0.8 => Shape::Chunks { size: rate / 3_600.0 * chance.between_orders(30.0, 300.0) },
            _ => Shape::Working(Duty::new(
                chance.between_orders(300.0, 2_400.0),
                chance.between_orders(60.0, 1_200.0),
            )),
        };
        // Not with the start: most leaks begin when a certain path is first taken.
        Self { rate, onset_s: chance.between(1.0, 12.0) * 3_600.0, shape }
    }

    pub(super) fn start(&self) -> Leaked {
        Leaked { fault: self.clone(), lost: 0.0 }
    }
}

/// What a process has leaked so far.
pub(super) struct Leaked {
    fault: Fault,
    lost: f64,
}

impl Leaked {
    /// In MiB, one tick later.
    pub(super) fn step(&mut self, at_s: f64, chance: &mut Chance) -> f64 {
        if at_s >= self.fault.onset_s {
            let pace = match &mut self.fault.shape {
                Shape::Working(duty) => duty.step(chance),
                _ => 1.0,
            };
            self.lost += self.fault.rate / 3_600.0 * TICK_S * pace * chance.between(0.3, 1.7);
        }
        match self.fault.shape {
            Shape::Chunks { size } => (self.lost / size).floor() * size,
            _ => self.lost,
        }
    }
}
