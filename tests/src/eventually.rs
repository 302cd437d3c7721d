//! Waiting for a condition.
//!
//! Tests never sleep to let time pass; they ask again until what they wait for is so. This is the one
//! place with a nap in it, and the nap only spares the processor between two questions.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const FIRST_NAP: Duration = Duration::from_millis(2);
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// Asks `probe` until it answers `Some`, and returns that answer.
///
/// `what` completes the sentence "waited for …" in the error.
///
/// # Errors
/// The probe's own error, at once; or, when `deadline` has passed without an answer, an error that
/// names `what`. The probe is always asked at least once, and once more after the deadline.
pub fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut nap = FIRST_NAP;
    loop {
        let late = started.elapsed() >= deadline;
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if late {
            bail!("waited {deadline:?} for {what}, in vain");
        }
        thread::sleep(nap.min(deadline.saturating_sub(started.elapsed())));
        nap = (nap * 2).min(LONGEST_NAP);
    }
}
