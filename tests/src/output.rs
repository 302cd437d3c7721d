//! What a process writes, line by line, as it comes.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Logs and errors.
    Stderr,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<(Stream, String)>,
    open: usize,
}

/// The lines collected so far; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Output {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

impl Output {
    /// Collects what can be read from `source` until its end, on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn collect(&self, stream: Stream, source: impl Read + Send + 'static) -> std::io::Result<()> {
        self.lock().open += 1;
        let output = self.clone();
        let reader = thread::Builder::new().name("output".to_owned());
        reader.spawn(move || output.read(stream, source)).map(drop)
    }

    /// All lines of one stream.
    #[must_use]
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        let collected = self.lock();
        let lines = collected.lines.iter().filter(|(from, _)| *from == stream);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// All lines of both streams in the order they came.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// The first line of either stream, past or future, that `wanted` accepts; `None` when the streams end
    /// or `timeout` passes without one.
    #[must_use]
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool, timeout: Duration) -> Option<String> {
        let mut seen = 0;
        self.wait_until(timeout, |collected| {
            let fresh = collected.lines.get(seen..).unwrap_or_default();
            let found = fresh.iter().find(|(_, line)| wanted(line)).map(|(_, line)| line.clone());
            seen = collected.lines.len();
            match found {
                Some(line) => Some(Some(line)),
                None => (collected.open == 0).then_some(None),
            }
        })
        .flatten()
    }

    /// Waits until both streams have ended, so that no line is missing; false when `timeout` passes first.
    #[must_use]
    pub fn wait_for_end(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |collected| (collected.open == 0).then_some(())).is_some()
    }

    fn wait_until<T>(&self, timeout: Duration, mut answer: impl FnMut(&Collected) -> Option<T>) -> Option<T> {
        let started = Instant::now();
        let mut collected = self.lock();
        loop {
            if let Some(answer) = answer(&collected) {
                return Some(answer);
            }
            let left = timeout.checked_sub(started.elapsed())?;
            let waited = self.shared.1.wait_timeout(collected, left);
            collected = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read(&self, stream: Stream, source: impl Read) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            self.lock().lines.push((stream, text));
            self.shared.1.notify_all();
            line.clear();
        }
        self.lock().open -= 1;
        self.shared.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
