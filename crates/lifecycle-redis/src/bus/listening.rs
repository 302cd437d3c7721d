//! Tells from our own messages whether a subscription works, and how long a message takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether a subscription was shown to work a moment ago: our own message came back over it.
#[derive(Debug, Clone, Default)]
pub struct Listening(Arc<Mutex<Echo>>);

#[derive(Debug, Default)]
struct Echo {
    is_proven: bool,
    /// When the oldest message was sent that has not come back.
    waiting: Option<Instant>,
    lag: Option<Duration>,
}

impl Listening {
    /// Whether the subscription works.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.lock().is_proven
    }

    /// How long our last message to ourselves took, or how long it has been on its way. `None` before the first one. By
    /// this process's own monotonic clock.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        self.lock().lag_at(Instant::now())
    }

    pub(super) fn sent(&self) {
        self.lock().sent_at(Instant::now());
    }

    pub(super) fn came_back(&self, lag: Option<Duration>) {
        self.lock().came_back(lag);
    }

    pub(super) fn went_quiet(&self) {
        self.lock().is_proven = false;
    }

    fn lock(&self) -> MutexGuard<'_, Echo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Echo {
    fn sent_at(&mut self, now: Instant) {
        self.waiting.get_or_insert(now);
    }

    fn came_back(&mut self, lag: Option<Duration>) {
        *self = Self { is_proven: true, waiting: None, lag: lag.or(self.lag) };
    }

    fn lag_at(&self, now: Instant) -> Option<Duration> {
        self.lag.max(self.waiting.map(|sent| now.saturating_duration_since(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_last_message_and_grows_while_one_is_on_its_way() {
        let (mut echo, begun) = (Echo::default(), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!((echo.lag_at(begun), echo.is_proven), (None, false));
        echo.sent_at(begun);
        echo.came_back(Some(Duration::from_millis(3)));
        assert_eq!((echo.lag_at(after(9)), echo.is_proven), (Some(Duration::from_millis(3)), true));
        echo.sent_at(after(10));
        echo.sent_at(after(12));
        assert_eq!(echo.lag_at(after(14)), Some(Duration::from_secs(4)), "the first one is still missing");
        echo.came_back(None);
        assert_eq!(
            echo.lag_at(after(15)),
            Some(Duration::from_millis(3)),
            "an echo without a stamp tells no time"
        );
    }
}
