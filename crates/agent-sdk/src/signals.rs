//! SIGTERM, SIGINT and SIGHUP ask the agent to stop; a second one hurries it.

use std::sync::{Arc, Weak};

use lifecycle_core::shutdown::Urgency;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Inner;

pub(crate) fn install(inner: &Arc<Inner>) {
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::hangup(), "SIGHUP"),
    ] {
        tokio::spawn(listen(Arc::downgrade(inner), kind, name));
    }
}

async fn listen(inner: Weak<Inner>, kind: SignalKind, name: &'static str) {
    let mut signals = match signal(kind) {
        Ok(signals) => signals,
        Err(error) => {
            return tracing::warn!(%error, name, "cannot listen for a signal; it ends the process as usual");
        }
    };
    while signals.recv().await.is_some() {
        let Some(inner) = inner.upgrade() else { return };
        let first = inner.stop.borrow().is_none();
        inner.raise(if first { Urgency::Drain } else { Urgency::Hurry }, name);
    }
}
