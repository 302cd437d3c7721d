//! What is heard on the bus, and what it is good for: a pass comes sooner, and the audit entry says more.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lifecycle_core::event::{Event, EventKind};
use lifecycle_core::fate::ProcessFate;
use lifecycle_core::ids::Incarnation;
use lifecycle_redis::{Bus, Hint};
use tokio::sync::Notify;

use crate::figures::Figures;
use crate::heard;

/// Calls for a pass. However many hints come, they are one call.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Somebody's end was proven, or something may have been missed.
    pub(crate) now: Notify,
    /// The index changed, so the next lease to end may be another one.
    pub(crate) soon: Notify,
}

/// Answers to the last call: what became of a process, as seen on its own host.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements(Mutex<HashMap<String, Answer>>);

#[derive(Debug, Default)]
struct Answer {
    incarnation: Option<Incarnation>,
    process: Option<ProcessFate>,
}

impl Acknowledgements {
    /// Answers about this agent are of interest from now on.
    pub(crate) fn expect(&self, id: &str, incarnation: Option<Incarnation>) {
        self.lock().insert(id.to_string(), Answer { incarnation, process: None });
    }

    /// What was answered, if anything; no further answer is of interest.
    pub(crate) fn take(&self, id: &str) -> Option<ProcessFate> {
        self.lock().remove(id)?.process
    }

    fn note(&self, event: &Event) {
        let Some(id) = &event.agent_id else { return };
        if let Some(answer) = self.lock().get_mut(id)
            && event.incarnation == answer.incarnation
        {
            // Who could not tell takes nothing back from who could.
            let proven = event.process.filter(|process| *process != ProcessFate::Unknown);
            answer.process = proven.or(answer.process);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for ever.
pub(crate) async fn listen(
    mut bus: Bus,
    wake: &Wake,
    acknowledgements: &Acknowledgements,
    figures: &Figures,
) -> Infallible {
    let mut rubbish = 0_u64;
    loop {
        let hint = bus.next().await;
        heard::count(&hint);
        match hint {
            Hint::Event(event) => match event.kind {
                EventKind::ProcessExited | EventKind::SweepReleased => wake.now.notify_one(),
                EventKind::AgentRegistered => wake.soon.notify_one(),
                EventKind::CleanupAcknowledged => acknowledgements.note(&event),
                _ => figures.heard(&event),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(id: &str, incarnation: u64, process: ProcessFate) -> Event {
        let mut event = Event::new(EventKind::CleanupAcknowledged, 1);
        event.agent_id = Some(id.into());
        event.incarnation = Some(Incarnation(incarnation));
        event.process = Some(process);
        event
    }

    #[test]
    fn an_answer_counts_only_for_the_life_that_was_called_and_only_while_it_is_expected() {
        let answers = Acknowledgements::default();
        answers.note(&acknowledged("a", 7, ProcessFate::Dead));
        assert_eq!(answers.take("a"), None, "nobody asked");
        answers.expect("a", Some(Incarnation(7)));
        answers.note(&acknowledged("a", 6, ProcessFate::Dead));
        assert_eq!(answers.take("a"), None, "an earlier life");
        answers.expect("a", Some(Incarnation(7)));
        answers.note(&acknowledged("a", 7, ProcessFate::Killed));
        answers.note(&acknowledged("a", 7, ProcessFate::Unknown));
        assert_eq!(answers.take("a"), Some(ProcessFate::Killed));
        assert_eq!(answers.take("a"), None);
    }
}
