//! Listens to the bus. An event makes a pass come sooner, and adds what was proven of processes to the audit entry.

use std::convert::Infallible;

use lifecycle_core::wire::event::EventKind;
use lifecycle_redis::{Bus, Hint};
use tokio::sync::Notify;

use crate::http::event_counters;
use crate::memory::sampler::MemorySampler;
use crate::pass::acknowledgements::Acknowledgements;

/// Calls for a pass. Any number of hints before the next pass are one call.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// An agent's end was proven, or an event may have been missed.
    pub(crate) now: Notify,
    /// The index changed, so the next lease to end may be another one.
    pub(crate) soon: Notify,
}

/// Listens for ever.
pub(crate) async fn listen(
    mut bus: Bus,
    wake: &Wake,
    acknowledgements: &Acknowledgements,
    sampler: &MemorySampler,
) -> Infallible {
    let mut rubbish = 0_u64;
    loop {
        let hint = bus.next().await;
        event_counters::count(&hint);
        match hint {
            Hint::Event(event) => match event.kind() {
                EventKind::ProcessExited | EventKind::SweepReleased => wake.now.notify_one(),
                EventKind::AgentRegistered => wake.soon.notify_one(),
                EventKind::CleanupAcknowledged => acknowledgements.note(&event),
                _ => sampler.note_departure(&event),
            },
            Hint::Alert(_) => {}
            Hint::Resync(_) => wake.now.notify_one(),
            Hint::Rubbish { channel, problem } => {
                rubbish += 1;
                if rubbish == 1 {
                    tracing::warn!(
                        channel,
                        problem,
                        "a message is no event of ours; this and further ones are dropped"
                    );
                }
            }
        }
    }
}
