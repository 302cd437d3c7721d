//! Signs of life: what `/healthz` and `/readyz` are answered from.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// When the loop last turned and when a pass last came to its end.
#[derive(Debug)]
pub(crate) struct Health {
    marks: Mutex<Marks>,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    turned: Instant,
    passed: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self { marks: Mutex::new(Marks { turned: Instant::now(), passed: None }) }
    }
}

impl Health {
    /// The loop goes on, or a pass came a step further.
    pub(crate) fn turned(&self) {
        self.lock().turned = Instant::now();
    }

    /// A pass came to its end without an error.
    pub(crate) fn passed(&self) {
        let now = Instant::now();
        *self.lock() = Marks { turned: now, passed: Some(now) };
    }

    /// How long the loop has stood still.
    pub(crate) fn standing(&self) -> Duration {
        self.lock().turned.elapsed()
    }

    /// How long ago a pass came to its end; `None` if none did yet.
    pub(crate) fn since_pass(&self) -> Option<Duration> {
        self.lock().passed.map(|passed| passed.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
