//! Listens for what is said to this agent: the last call before a cleanup, an order, a task.

use std::sync::Weak;

use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::record::Order;
use lifecycle_redis::{Bus, Hint};

use crate::shared::Shared;

/// Runs until the agent is gone. A hint only makes it look at the keys sooner.
pub(crate) async fn run(shared: Weak<Shared>, mut bus: Bus) {
    loop {
        let hint = bus.next().await;
        let Some(shared) = shared.upgrade() else { return };
        match hint {
            Hint::Event(event) if event.is_about(shared.registration.id.as_str()) => react(&shared, &event),
            Hint::Resync(_) => {
                // The store may have gone back in time while it was away, to before a task in hand was given out.
                shared.tasks.mark_untold();
                shared.beat.want();
                shared.tasks.look();
                shared.tasks.note_cancellation();
            }
            Hint::Event(_) | Hint::Alert(_) => {}
            Hint::Rubbish { channel, problem } => tracing::debug!(channel, problem, "dropped a message"),
        }
    }
}

fn react(shared: &Shared, event: &Event) {
    match &event.payload {
        Payload::CleanupStarted { .. } => shared.beat.want(),
        // The order itself comes with the reply to a beat.
        Payload::AgentStateChanged { state: Some(state), .. } if is_order(state) => {
            shared.beat.want();
        }
        Payload::TaskAssigned { .. } => shared.tasks.look(),
        Payload::TaskCancelled { .. } => shared.tasks.note_cancellation(),
        _ => {}
    }
}

fn is_order(word: &str) -> bool {
    word.parse::<Order>().is_ok()
}
