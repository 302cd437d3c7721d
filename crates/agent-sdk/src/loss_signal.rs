//! Word that the coordinator seems to be gone, from whoever notices to the loop that sees to it.

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct LossSignal(Notify);

impl LossSignal {
    /// The coordinator seems to be gone. Saying so again has no further effect.
    pub(crate) fn tell(&self) {
        self.0.notify_one();
    }

    /// Resolves once somebody has told.
    pub(crate) async fn told(&self) {
        self.0.notified().await;
    }
}
