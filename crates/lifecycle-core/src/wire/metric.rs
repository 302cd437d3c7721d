//! The metrics: every name, unit and meaning, once.
//!
//! The first group carries the names of the original design, the others the prefix `lifecycle_` and base units.
//! Several sweepers show the same fleet. Figures of the fleet, and counters of what all of them hear on the bus, are
//! read with `max`; counters of what one sweeper did, with `sum`. Each HELP text says which.
//!
//! Counters begin at zero for every value of their label. A gauge is absent while a zero would be a lie: figures of
//! passes before the first pass ([`AGENT_COUNT`], [`ORPHANS`], [`SWEEP_HELD`]), of the fleet and the store before all of
//! it was read once ([`AGENTS_BY_STATE`], [`LEASE_USED`], [`AGENT_MEMORY`], the `lifecycle_fleet_…` and
//! `lifecycle_store_memory_…` ones), [`MEMORY_GROWTH`] before there is a sample to compare with, [`RESIDUE`] before the
//! first reconcile, [`BUS_LAG`] before the first message. A histogram appears with its first observation.

use crate::wire::word_enum::word_enum;

/// Gauge by `state` (`active`: the lease runs; `orphaned`: it is over and the agent is still there).
pub const AGENT_COUNT: &str = "agent_count_total";
/// Untyped by `reason`: orphans this sweeper cleaned up; only grows.
pub const ORPHAN_CLEANUP: &str = "agent_orphan_cleanup_count";
/// Gauge by `agent_id`, in bytes: resident memory as the agent last reported it.
pub const AGENT_MEMORY: &str = "agent_memory_usage_bytes";
/// Gauge in bytes: growth of resident memory over `memory.leak_window`, of the agents that were there for all of it.
pub const MEMORY_GROWTH: &str = "memory_growth_bytes";
/// Gauge by `threshold`: 1 while the growth is above `memory.leak_threshold`, else 0.
pub const MEMORY_LEAK: &str = "memory_leak_detected";

/// Gauge by `finding` (`leak`, `runaway`): agents with an alert of the leak detector that is not over.
pub const LEAKING_AGENTS: &str = "lifecycle_leaking_agents";
/// Counter by `limit` (`soft`, `hard`): memory limits exceeded, as told on the bus.
pub const MEMORY_LIMITS: &str = "lifecycle_memory_limits_exceeded_total";
/// Gauge by `state`: agents by the state they report, `plain` for those on the plain protocol.
pub const AGENTS_BY_STATE: &str = "lifecycle_agents";
/// Gauge by `reason`: orphans that the last pass of this sweeper did not remove (held, failed, or another sweeper's).
pub const ORPHANS: &str = "lifecycle_orphans";
/// Gauge from 0 to 1: of all living agents, the largest part of its lease that has passed since its last beat.
pub const LEASE_USED: &str = "lifecycle_lease_used_ratio";
/// Counter: beats heard on the bus; none where `heartbeat.publish` is off.
pub const BEATS: &str = "lifecycle_beats_total";
/// Counter: writes refused because the writer's life was over, as the writers told the bus.
pub const FENCED_WRITES: &str = "lifecycle_fenced_writes_total";
/// Counter by `outcome` (`dead`, `killed`, `left`, `unknown`): what was found of the processes of lost agents.
pub const PROCESS_PROOFS: &str = "lifecycle_process_proofs_total";
/// Counter by `outcome` (`ok`, `held`, `failed`): passes of this sweeper.
pub const SWEEP_PASSES: &str = "lifecycle_sweep_passes_total";
/// Histogram in seconds: how long a pass took.
pub const SWEEP_DURATION: &str = "lifecycle_sweep_duration_seconds";
/// Gauge in seconds: time since this sweeper's last pass that held nothing and did not fail, or since its start.
pub const SWEEP_LAST_GOOD_AGE: &str = "lifecycle_sweep_last_good_age_seconds";
/// Gauge: agents that are not reaped because reaping is held.
pub const SWEEP_HELD: &str = "lifecycle_sweep_held_agents";
/// Counter by `reason`: holds this sweeper began.
pub const SWEEP_HOLDS: &str = "lifecycle_sweep_holds_total";
/// Counter by `outcome` (`cleaned`, `refuted`, `elsewhere`, `failed`): how reaps ended.
pub const REAP_OUTCOMES: &str = "lifecycle_reap_outcomes_total";
/// Counter: keys removed by this sweeper.
pub const KEYS_DELETED: &str = "lifecycle_keys_deleted_total";
/// Counter: tasks this sweeper handed back to their sprints.
pub const TASKS_REQUEUED: &str = "lifecycle_tasks_requeued_total";
/// Counter by `finding`: agents that this sweeper put back into an index. `unleased`: a registered agent was missing
/// from one of the two indexes. `unindexed`: only its record was there. A plain agent's first lease is not counted.
pub const RECONCILED: &str = "lifecycle_reconciled_agents_total";
/// Gauge: keys without a living owner that the last reconcile found. Keys of agents that are dead and wait for cleanup
/// are not counted: see [`ORPHANS`].
pub const RESIDUE: &str = "lifecycle_residue_keys";
/// Gauge in bytes: resident memory of all agents' process trees.
pub const FLEET_RSS: &str = "lifecycle_fleet_rss_bytes";
/// Gauge in bytes: heap in use, of the agents that tell.
pub const FLEET_HEAP_USED: &str = "lifecycle_fleet_heap_used_bytes";
/// Gauge: processes in all agents' trees.
pub const FLEET_PROCESSES: &str = "lifecycle_fleet_processes";
/// Counter by `event`: what was heard on the bus.
pub const BUS_EVENTS: &str = "lifecycle_bus_events_total";
/// Gauge in seconds: how long this sweeper's last message to itself over the bus took.
pub const BUS_LAG: &str = "lifecycle_bus_lag_seconds";
/// Counter by `reason` (`subscribed`, `reconnected`, `overrun`, `lagged`): times this sweeper may have missed an event and looked at the keys instead.
pub const BUS_RESYNCS: &str = "lifecycle_bus_resyncs_total";
/// Gauge: 1 while the store answers this sweeper, else 0.
pub const STORE_UP: &str = "lifecycle_store_up";
/// Histogram in seconds: how long the store took to answer a probe.
pub const STORE_ROUND_TRIP: &str = "lifecycle_store_round_trip_seconds";
/// Gauge in bytes: memory the store uses (`used_memory`).
pub const STORE_MEMORY: &str = "lifecycle_store_memory_bytes";
/// Gauge in bytes: memory the store may use (`maxmemory`), 0 for no limit.
pub const STORE_MEMORY_LIMIT: &str = "lifecycle_store_memory_limit_bytes";

word_enum! {
    /// What a metric is: the word in a `# TYPE` line of Prometheus' text format.
    Kind, "kind of metric" {
        /// Only grows.
        Counter = "counter",
        /// Goes up and down.
        Gauge = "gauge",
        /// Observations in buckets.
        Histogram = "histogram",
        /// A counter whose name, fixed by the original design, does not end in `_total`. It is shown without a type.
        Untyped = "untyped",
    }
}

word_enum! {
    /// How a pass ended; a label of [`SWEEP_PASSES`].
    PassOutcome, "outcome of a pass" {
        /// It came to its end and held no agent.
        Ok = "ok",
        /// It came to its end and held agents.
        Held = "held",
        /// The store did not answer or refused.
        Failed = "failed",
    }
}

word_enum! {
    /// What a registered agent lacked that is watched again; a label of [`RECONCILED`].
    IndexGap, "gap of the indexes" {
        /// It was listed in `agents:active` and had no lease.
        Unleased = "unleased",
        /// No index had it, only its record told of it.
        Unindexed = "unindexed",
    }
}

/// Every metric with its kind and its HELP text.
pub const ALL: &[(&str, Kind, &str)] = &[
    (
        AGENT_COUNT,
        Kind::Gauge,
        "Agents whose lease runs (active: read with max) or is over (orphaned: read with min).",
    ),
    (
        ORPHAN_CLEANUP,
        Kind::Untyped,
        "Orphans cleaned up by this sweeper, by reason; only grows. Read with sum by (reason).",
    ),
    (
        AGENT_MEMORY,
        Kind::Gauge,
        "Resident memory of an agent's process tree in bytes, for the agents that use most. Read with max by (agent_id).",
    ),
    (
        MEMORY_GROWTH,
        Kind::Gauge,
        "Growth of resident memory over memory.leak_window, of agents present at both ends. Read with max.",
    ),
    (
        MEMORY_LEAK,
        Kind::Gauge,
        "1 while memory_growth_bytes is above the threshold, else 0. Read with max by (threshold).",
    ),
    (
        LEAKING_AGENTS,
        Kind::Gauge,
        "Agents whose memory grows and is not given back, by finding: leak, runaway. Read with max by (finding).",
    ),
    (
        MEMORY_LIMITS,
        Kind::Counter,
        "Memory limits exceeded, as told on the bus, by limit: soft, hard. Read with max of rates.",
    ),
    (AGENTS_BY_STATE, Kind::Gauge, "Agents by the state they report. Read with max by (state)."),
    (
        ORPHANS,
        Kind::Gauge,
        "Orphans that the last pass of this sweeper left standing, by reason. Read with max by (reason).",
    ),
    (
        LEASE_USED,
        Kind::Gauge,
        "Largest part of a lease that a living agent has let pass since its last beat, 0 to 1. Read with max.",
    ),
    (
        BEATS,
        Kind::Counter,
        "Beats heard on the bus. Every sweeper hears all of them: read with max of rates.",
    ),
    (
        FENCED_WRITES,
        Kind::Counter,
        "Writes refused because the writer's life was over, as told on the bus. Read with max of rates.",
    ),
    (
        PROCESS_PROOFS,
        Kind::Counter,
        "What was found of the processes of lost agents, as told on the bus: dead, killed, left; and unknown for each cleanup before which nobody had looked, even if somebody does later. Read with max of rates.",
    ),
    (SWEEP_PASSES, Kind::Counter, "Passes of this sweeper, by outcome: ok, held, failed."),
    (SWEEP_DURATION, Kind::Histogram, "Duration of a pass in seconds."),
    (
        SWEEP_LAST_GOOD_AGE,
        Kind::Gauge,
        "Time since the last pass of this sweeper that held nothing and did not fail, or since its start. Read with min.",
    ),
    (SWEEP_HELD, Kind::Gauge, "Agents that stay because reaping is held. Read with max."),
    (SWEEP_HOLDS, Kind::Counter, "Holds that this sweeper began, by reason."),
    (REAP_OUTCOMES, Kind::Counter, "Ends of reaps by this sweeper: cleaned, refuted, elsewhere, failed."),
    (KEYS_DELETED, Kind::Counter, "Keys removed by this sweeper."),
    (TASKS_REQUEUED, Kind::Counter, "Tasks handed back to their sprints by this sweeper."),
    (
        RECONCILED,
        Kind::Counter,
        "Registered agents that this sweeper watches again, by finding: unleased (one of two indexes had lost them), unindexed (found by their record alone). The first lease of a plain agent is no finding.",
    ),
    (RESIDUE, Kind::Gauge, "Keys of ours without a living owner, as of the last reconcile. Read with min."),
    (FLEET_RSS, Kind::Gauge, "Resident memory of the process trees of all agents. Read with max."),
    (FLEET_HEAP_USED, Kind::Gauge, "Heap in use, of the agents that tell. Read with max."),
    (FLEET_PROCESSES, Kind::Gauge, "Processes in the trees of all agents that tell. Read with max."),
    (
        BUS_EVENTS,
        Kind::Counter,
        "Events heard on the bus, by event. Every sweeper hears all of them: read with max of rates.",
    ),
    (
        BUS_LAG,
        Kind::Gauge,
        "How long the last message of this sweeper to itself took over the bus. Read with max.",
    ),
    (
        BUS_RESYNCS,
        Kind::Counter,
        "Times an event may have been missed and the keys were read instead, by reason: subscribed, reconnected, overrun, lagged.",
    ),
    (STORE_UP, Kind::Gauge, "1 while the store answers this sweeper, else 0."),
    (STORE_ROUND_TRIP, Kind::Histogram, "How long the store took to answer a probe of this sweeper."),
    (STORE_MEMORY, Kind::Gauge, "Memory that the store uses. Read with max."),
    (STORE_MEMORY_LIMIT, Kind::Gauge, "Memory that the store may use, 0 for no limit. Read with max."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_designs_metrics_have_literally_the_original_designs_names() {
        assert_eq!(
            [AGENT_COUNT, ORPHAN_CLEANUP, AGENT_MEMORY, MEMORY_GROWTH, MEMORY_LEAK],
            [
                "agent_count_total",
                "agent_orphan_cleanup_count",
                "agent_memory_usage_bytes",
                "memory_growth_bytes",
                "memory_leak_detected"
            ]
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
