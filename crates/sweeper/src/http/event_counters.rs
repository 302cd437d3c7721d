//! Counts events from the bus. Every sweeper hears all of them, so these counters are alike on all sweepers.

use lifecycle_core::agent::memory_budget::Limit;
use lifecycle_core::wire::event::{Event, EventKind};
use lifecycle_core::wire::metric;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_redis::Hint;

/// Counts one hint.
pub(crate) fn count(hint: &Hint) {
    match hint {
        Hint::Event(event) | Hint::Alert(event) => {
            metrics::counter!(metric::BUS_EVENTS, "event" => event.kind.as_str()).increment(1);
            count_meaning(event);
        }
        Hint::Rubbish { .. } => {
            metrics::counter!(metric::BUS_EVENTS, "event" => EventKind::Unknown.as_str()).increment(1)
        }
        Hint::Resync(why) => metrics::counter!(metric::BUS_RESYNCS, "reason" => why.as_str()).increment(1),
    }
}

fn count_meaning(event: &Event) {
    match event.kind {
        EventKind::HeartbeatSent => metrics::counter!(metric::BEATS).increment(1),
        EventKind::AgentFenced => metrics::counter!(metric::FENCED_WRITES).increment(1),
        EventKind::CleanupAcknowledged | EventKind::CleanupCompleted => {
            if let Some(outcome) = proof(event) {
                metrics::counter!(metric::PROCESS_PROOFS, "outcome" => outcome.as_str()).increment(1);
            }
        }
        EventKind::MemoryLimitExceeded => {
            if let Some(limit) = event.reason.as_ref().and_then(|reason| reason.parse::<Limit>().ok()) {
                metrics::counter!(metric::MEMORY_LIMITS, "limit" => limit.as_str()).increment(1);
            }
        }
        _ => {}
    }
}

/// What was found of an agent's processes. The acknowledgement tells what was proven. The cleanup repeats it, so the
/// cleanup counts only if nobody had looked.
fn proof(event: &Event) -> Option<ProcessFate> {
    let is_proven = |process: &ProcessFate| *process != ProcessFate::Unknown;
    match event.kind {
        EventKind::CleanupAcknowledged => event.process.filter(is_proven),
        EventKind::CleanupCompleted => event.process.filter(|process| !is_proven(process)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleanup_counts_by_who_looked_or_as_unknown_and_never_by_both() {
        let proof_of = |kind, process| {
            let mut event = Event::new(kind, 1);
            event.process = Some(process);
            proof(&event)
        };
        for process in [ProcessFate::Dead, ProcessFate::Killed, ProcessFate::Left] {
            assert_eq!(proof_of(EventKind::CleanupAcknowledged, process), Some(process));
            assert_eq!(proof_of(EventKind::CleanupCompleted, process), None);
        }
        assert_eq!(proof_of(EventKind::CleanupCompleted, ProcessFate::Unknown), Some(ProcessFate::Unknown));
        assert_eq!(proof_of(EventKind::CleanupAcknowledged, ProcessFate::Unknown), None);
    }
}
