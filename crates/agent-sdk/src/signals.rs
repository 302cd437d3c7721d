//! SIGTERM, SIGINT and SIGHUP ask the agent to stop; a second one hurries it.

use std::sync::{Arc, Weak};

use lifecycle_core::agent::shutdown::{StopCause, Urgency};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::shared::Shared;

/// Signals that are caught before the agent is registered.
pub(crate) struct Caught(Vec<(Signal, StopCause)>);

/// Catches signals from now on: none ends the process unnoticed.
pub(crate) fn catch() -> Caught {
    let kinds = [
        (SignalKind::terminate(), StopCause::Terminate),
        (SignalKind::interrupt(), StopCause::Interrupt),
        (SignalKind::hangup(), StopCause::Hangup),
    ];
    let caught = kinds.into_iter().filter_map(|(kind, name)| match signal(kind) {
        Ok(signals) => Some((signals, name)),
        Err(error) => {
            tracing::warn!(%error, %name, "cannot listen for a signal; it ends the process as usual");
            None
        }
    });
    Caught(caught.collect())
}

impl Caught {
    /// Passes caught and future signals to this agent.
    pub(crate) fn pass_to(self, shared: &Arc<Shared>) {
        for (signals, name) in self.0 {
            tokio::spawn(listen(Arc::downgrade(shared), signals, name));
        }
    }
}

async fn listen(shared: Weak<Shared>, mut signals: Signal, cause: StopCause) {
    while signals.recv().await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        let first = shared.stop_state.stop().is_none();
        shared.raise(if first { Urgency::Drain } else { Urgency::Hurry }, cause);
    }
}
