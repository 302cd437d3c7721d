//! Hearing one's own name on the event bus: the last call before a cleanup, an order, a task.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use lifecycle_core::wire::event::{Event, EventKind};
use lifecycle_core::wire::record::Order;
use lifecycle_redis::{Bus, Hint};

use crate::agent::Inner;

/// Runs until the agent is gone. Every hint only makes it look at the keys sooner.
pub(crate) async fn run(inner: Weak<Inner>, mut bus: Bus) {
    loop {
        let hint = bus.next().await;
        let Some(inner) = inner.upgrade() else { return };
        match hint {
            Hint::Event(event) if event.is_about(inner.registration.id.as_str()) => react(&inner, &event),
            Hint::Resync(_) => {
                // The store may have gone back in time while it was away, to before a task was handed out.
                inner.untold_tasks.store(true, Ordering::SeqCst);
                inner.beat_now.notify_one();
                inner.look_for_tasks.notify_one();
            }
            Hint::Event(_) | Hint::Alert(_) => {}
            Hint::Rubbish { channel, problem } => tracing::debug!(channel, problem, "dropped a message"),
        }
    }
}

fn react(inner: &Inner, event: &Event) {
    match event.kind {
        EventKind::CleanupStarted => inner.beat_now.notify_one(),
        // An order was given; it comes with the reply to a beat.
        EventKind::AgentStateChanged if event.state.as_deref().is_some_and(is_order) => {
            inner.beat_now.notify_one();
        }
        EventKind::TaskAssigned => inner.look_for_tasks.notify_one(),
        _ => {}
    }
}

fn is_order(word: &str) -> bool {
    word.parse::<Order>().is_ok()
}
