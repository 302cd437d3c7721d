//! Counts events from the bus. Every sweeper hears all of them, so these counters are alike on all sweepers.

use lifecycle_core::agent::memory_budget::Limit;
use lifecycle_core::wire::event::{Event, EventKind, Payload};
use lifecycle_core::wire::metric;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_redis::Hint;

/// Counts one hint.
pub(crate) fn count(hint: &Hint) {
    match hint {
        Hint::Event(event) | Hint::Alert(event) => {
            metrics::counter!(metric::BUS_EVENTS, "event" => event.kind().as_str()).increment(1);
            count_meaning(event);
        }
        Hint::Rubbish { .. } => {
            metrics::counter!(metric::BUS_EVENTS, "event" => EventKind::Unknown.as_str()).increment(1)
        }
        Hint::Resync(why) => metrics::counter!(metric::BUS_RESYNCS, "reason" => why.as_str()).increment(1),
    }
}

fn count_meaning(event: &Event) {
    match &event.payload {
        Payload::HeartbeatSent {} => metrics::counter!(metric::BEATS).increment(1),
        Payload::AgentFenced {} => metrics::counter!(metric::FENCED_WRITES).increment(1),
        Payload::MemoryLimitExceeded { reason: Some(reason), .. } => {
            if let Ok(limit) = reason.parse::<Limit>() {
                metrics::counter!(metric::MEMORY_LIMITS, "limit" => limit.as_str()).increment(1);
            }
        }
        payload => {
            if let Some(outcome) = proof(payload) {
                metrics::counter!(metric::PROCESS_PROOFS, "outcome" => outcome.as_str()).increment(1);
            }
        }
    }
}

/// What was found of an agent's processes. The acknowledgement tells what was proven. The cleanup repeats it, so the
/// cleanup counts only if nobody had looked by then. An agent that is looked at later counts once more, as the
/// metric's help says: to count it once, a sweeper would have to remember every agent that was reaped.
fn proof(payload: &Payload) -> Option<ProcessFate> {
    let is_proven = |process: &ProcessFate| *process != ProcessFate::Unknown;
    match payload {
        Payload::CleanupAcknowledged { process, .. } => process.filter(is_proven),
        Payload::CleanupCompleted { process, .. } => process.filter(|process| !is_proven(process)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleanup_counts_by_who_looked_or_as_unknown_and_never_by_both() {
        let acknowledged =
            |process| proof(&Payload::CleanupAcknowledged { process: Some(process), pids: Vec::new() });
        let completed = |process| {
            let process = Some(process);
            let (reason, keys_deleted, tasks_requeued) = (None, None, None);
            proof(&Payload::CleanupCompleted { reason, process, keys_deleted, tasks_requeued })
        };
        for process in [ProcessFate::Dead, ProcessFate::Killed, ProcessFate::Left] {
            assert_eq!(acknowledged(process), Some(process));
            assert_eq!(completed(process), None);
        }
        assert_eq!(completed(ProcessFate::Unknown), Some(ProcessFate::Unknown));
        assert_eq!(acknowledged(ProcessFate::Unknown), None);
    }
}
