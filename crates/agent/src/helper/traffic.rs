//! When a byte last passed between the client and the command.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How much is passed on at once: as much as a pipe holds.
pub(super) const CHUNK: usize = 64 * 1024;

/// Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Traffic(Arc<watch::Sender<Instant>>);

impl Default for Traffic {
    /// The start counts as a byte.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Instant::now())))
    }
}

impl Traffic {
    /// A byte has passed.
    pub(super) fn note(&self) {
        self.0.send_replace(Instant::now());
    }

    /// Resolves once no byte has passed for so long; never without a limit.
    pub(super) fn idle(&self, limit: Option<Duration>) -> impl Future<Output = ()> + use<> {
        let last = self.0.subscribe();
        async move {
            let Some(limit) = limit else { return std::future::pending().await };
            loop {
                let quiet = last.borrow().elapsed();
                match limit.checked_sub(quiet).filter(|left| !left.is_zero()) {
                    Some(left) => sleep(left).await,
                    None => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_byte_puts_the_end_off() {
        let traffic = Traffic::default();
        let limit = Duration::from_millis(300);
        let begun = Instant::now();
        let idle = traffic.idle(Some(limit));
        tokio::pin!(idle);
        while begun.elapsed() < limit * 2 {
            tokio::select! {
                () = &mut idle => assert!(traffic.0.borrow().elapsed() >= limit),
                () = sleep(Duration::from_millis(10)) => traffic.note(),
            }
        }
        let last = Instant::now();
        traffic.note();
        idle.await;
        assert!(last.elapsed() >= limit);
    }
}
