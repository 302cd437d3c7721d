//! The metrics: every name, unit and meaning, once.
//!
//! The first two groups carry the names of the seed document, the others the prefix `lifecycle_` and base units.
//! Several sweepers show the same fleet, so figures of the fleet are read with `max by`, and counters of what a
//! sweeper did with `sum`.

/// Gauge by `state` (`active`: the lease runs; `orphaned`: it is over and the agent is still there).
pub const AGENT_COUNT: &str = "agent_count_total";
/// Counter by `reason`: orphans this sweeper cleaned up.
pub const ORPHAN_CLEANUP: &str = "agent_orphan_cleanup_count";
/// Gauge by `agent_id`, in bytes: resident memory as the agent last reported it.
pub const AGENT_MEMORY: &str = "agent_memory_usage_bytes";

/// Gauge by `state`: agents by the state they report.
pub const AGENTS_BY_STATE: &str = "lifecycle_agents";
/// Counter by `outcome` (`ok`, `held`, `failed`): passes of this sweeper.
pub const SWEEP_PASSES: &str = "lifecycle_sweep_passes_total";
/// Histogram in seconds: how long a pass took.
pub const SWEEP_DURATION: &str = "lifecycle_sweep_duration_seconds";
/// Gauge, a Unix time in seconds: end of this sweeper's last pass that held nothing and did not fail.
pub const SWEEP_LAST_GOOD: &str = "lifecycle_sweep_last_good_timestamp_seconds";
/// Gauge: agents that are not reaped because reaping is held.
pub const SWEEP_HELD: &str = "lifecycle_sweep_held_agents";
/// Counter by `outcome` (`cleaned`, `refuted`, `elsewhere`, `failed`): how reaps ended.
pub const REAP_OUTCOMES: &str = "lifecycle_reap_outcomes_total";
/// Counter: keys removed by this sweeper.
pub const KEYS_DELETED: &str = "lifecycle_keys_deleted_total";
/// Counter: tasks this sweeper handed back to their sprints.
pub const TASKS_REQUEUED: &str = "lifecycle_tasks_requeued_total";
/// Counter by `reason`: times this sweeper may have missed an event and looked at the keys instead.
pub const BUS_RESYNCS: &str = "lifecycle_bus_resyncs_total";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// Every metric with its kind and its HELP text.
pub const ALL: &[(&str, Kind, &str)] = &[
    (
        AGENT_COUNT,
        Kind::Gauge,
        "Agents whose lease runs (active) or is over (orphaned). Read with max by (state).",
    ),
    (ORPHAN_CLEANUP, Kind::Counter, "Orphans cleaned up by this sweeper, by reason."),
    (
        AGENT_MEMORY,
        Kind::Gauge,
        "Resident memory of an agent's process tree in bytes. Read with max by (agent_id).",
    ),
    (AGENTS_BY_STATE, Kind::Gauge, "Agents by the state they report. Read with max by (state)."),
    (SWEEP_PASSES, Kind::Counter, "Passes of this sweeper, by outcome: ok, held, failed."),
    (SWEEP_DURATION, Kind::Histogram, "Duration of a pass in seconds."),
    (SWEEP_LAST_GOOD, Kind::Gauge, "Unix time of the last pass that held nothing and did not fail."),
    (SWEEP_HELD, Kind::Gauge, "Agents that stay because reaping is held."),
    (REAP_OUTCOMES, Kind::Counter, "Ends of reaps by this sweeper: cleaned, refuted, elsewhere, failed."),
    (KEYS_DELETED, Kind::Counter, "Keys removed by this sweeper."),
    (TASKS_REQUEUED, Kind::Counter, "Tasks handed back to their sprints by this sweeper."),
    (
        BUS_RESYNCS,
        Kind::Counter,
        "Times an event may have been missed and the keys were read instead, by reason.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_metrics_have_literally_the_seeds_names() {
        assert_eq!(
            [AGENT_COUNT, ORPHAN_CLEANUP, AGENT_MEMORY],
            ["agent_count_total", "agent_orphan_cleanup_count", "agent_memory_usage_bytes"]
        );
    }

    #[test]
    fn every_name_is_one_prometheus_takes_and_is_there_once() {
        let mut names: Vec<_> = ALL.iter().map(|(name, ..)| *name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
