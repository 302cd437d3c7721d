//! The times by which `/healthz` and `/readyz` are answered.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the loop last turned, when a pass last came to its end, and when one last held nothing.
#[derive(Debug)]
pub(crate) struct Health {
    marks: Mutex<Marks>,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    turned: Instant,
    passed: Option<Instant>,
    good: Instant,
}

impl Default for Health {
    fn default() -> Self {
        let now = Instant::now();
        Self { marks: Mutex::new(Marks { turned: now, passed: None, good: now }) }
    }
}

impl Health {
    /// The loop went on, or a pass came a step further.
    pub(crate) fn turned(&self) {
        self.lock().turned = Instant::now();
    }

    /// A pass ended without an error.
    pub(crate) fn passed(&self) {
        let now = Instant::now();
        let mut marks = self.lock();
        (marks.turned, marks.passed) = (now, Some(now));
    }

    /// A pass that ended held no agent.
    pub(crate) fn held_nothing(&self) {
        self.lock().good = Instant::now();
    }

    /// Time since the last pass that ended and held no agent, or since the process started.
    pub(crate) fn since_good(&self) -> Duration {
        self.lock().good.elapsed()
    }

    /// How long the loop has stood still.
    pub(crate) fn standing(&self) -> Duration {
        self.lock().turned.elapsed()
    }

    /// Time since the last pass ended; `None` before the first one.
    pub(crate) fn since_pass(&self) -> Option<Duration> {
        self.lock().passed.map(|passed| passed.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
