//! Collects answers to the last call, so that the audit entry of a cleanup tells what became of the agent's processes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::process_fate::ProcessFate;

/// Answers to the last call: what somebody on an agent's own host found of its processes.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements(Mutex<HashMap<String, Answer>>);

#[derive(Debug, Default)]
struct Answer {
    incarnation: Option<Incarnation>,
    process: Option<ProcessFate>,
}

impl Acknowledgements {
    /// From now on, answers about this agent are kept.
    pub(crate) fn expect(&self, id: &str, incarnation: Option<Incarnation>) {
        self.lock().insert(id.to_string(), Answer { incarnation, process: None });
    }

    /// The answer, if there was one. From now on, answers about this agent are dropped.
    pub(crate) fn take(&self, id: &str) -> Option<ProcessFate> {
        self.lock().remove(id)?.process
    }

    /// Takes in an answer. It is dropped unless it is expected.
    pub(crate) fn note(&self, event: &Event) {
        let (Some(id), Payload::CleanupAcknowledged { process, .. }) = (&event.agent_id, &event.payload)
        else {
            return;
        };
        if let Some(answer) = self.lock().get_mut(id)
            && event.incarnation == answer.incarnation
        {
            // An answer `unknown` does not replace one that proved something.
            let proven = process.filter(|process| *process != ProcessFate::Unknown);
            answer.process = proven.or(answer.process);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(id: &str, incarnation: u64, process: ProcessFate) -> Event {
        let payload = Payload::CleanupAcknowledged { process: Some(process), pids: Vec::new() };
        Event::new(payload, 1).about(id, Some(Incarnation(incarnation)))
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
