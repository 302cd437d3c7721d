//! Memory figures: an agent's, as its beats carry them, and the fleet's.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::time::{HostTime, ServerTime};

/// Memory figures in bytes, named as in the original design, and what else is known of the agent's process tree.
///
/// What a heap is depends on who measures. A Node client writes `process.memoryUsage()`; our own agents, which may run
/// any command, write what the kernel knows: `heapUsed` is resident memory that belongs to one process alone,
/// `heapTotal` the address space reserved for data and stacks, `external` resident files and shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryUsage {
    /// Resident memory of the agent's process tree.
    pub rss: u64,
    /// Heap in use, where the platform tells.
    pub heap_used: u64,
    /// Heap reserved, where the platform tells.
    pub heap_total: u64,
    /// Memory outside the heap, where the platform tells.
    pub external: u64,
    /// Processes in the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Proportional share of the tree, which counts shared pages once. Absent where resident memory gave no cause to
    /// read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss: Option<u64>,
    /// What the agent's control group uses (`memory.current`, cgroup v2); absent where the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<u64>,
    /// What the tree may use: the agent's own limit, or else that of its control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl MemoryUsage {
    /// The names of the figures, in `agent:memory:<id>` as in a beat.
    pub const FIELDS: [&'static str; 8] =
        ["heapUsed", "heapTotal", "rss", "external", "processes", "pss", "cgroup", "limit"];

    /// The figures, in the order of [`Self::FIELDS`].
    #[must_use]
    pub fn figures(&self) -> [Option<u64>; 8] {
        let always = [self.heap_used, self.heap_total, self.rss, self.external].map(Some);
        let [heap_used, heap_total, rss, external] = always;
        [heap_used, heap_total, rss, external, self.processes, self.pss, self.cgroup, self.limit]
    }

    /// The reverse of [`Self::figures`]: takes them in the order of [`Self::FIELDS`].
    #[must_use]
    pub fn from_figures(figures: [Option<u64>; 8]) -> Self {
        let [heap_used, heap_total, rss, external, processes, pss, cgroup, limit] = figures;
        Self {
            rss: rss.unwrap_or(0),
            heap_used: heap_used.unwrap_or(0),
            heap_total: heap_total.unwrap_or(0),
            external: external.unwrap_or(0),
            processes,
            pss,
            cgroup,
            limit,
        }
    }
}

/// Memory of the fleet, in the original design's words. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryStats {
    /// How many agents the totals cover.
    pub total_agents: u64,
    /// Heap in use, of the agents that report one.
    pub total_heap_used: u64,
    /// Resident memory of their process trees.
    #[serde(rename = "totalRSS")]
    pub total_rss: u64,
    /// Memory in use by the store.
    pub redis_memory: u64,
    /// When.
    pub timestamp: ServerTime,
}

/// One of the agents that grew most, as `memory_leak_detected` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grown {
    /// The agent's id.
    pub agent_id: String,
    /// By how many bytes of resident memory it grew.
    pub growth: i64,
}

/// A plain client may write anything in place of a number. Such a figure is dropped, and the rest of the beat counts.
pub(super) fn lenient_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(number(&Loose::deserialize(deserializer)?))
}

/// As [`lenient_number`].
pub(super) fn lenient_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HostTime>, D::Error> {
    Ok(lenient_number(deserializer)?.map(HostTime::from_host_ms))
}

pub(super) fn lenient_memory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MemoryUsage>, D::Error> {
    let Loose::Map(fields) = Loose::deserialize(deserializer)? else { return Ok(None) };
    Ok(Some(MemoryUsage::from_figures(MemoryUsage::FIELDS.map(|name| fields.get(name).and_then(number)))))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Natural(u64),
    Real(f64),
    Map(HashMap<String, Loose>),
    Other(serde::de::IgnoredAny),
}

fn number(value: &Loose) -> Option<u64> {
    match value {
        Loose::Natural(number) => Some(*number),
        // Clients without whole numbers write 1764000000000.0. A number out of this range is dropped.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Loose::Real(real) if (0.0..9e15).contains(real) => Some(*real as u64),
        _ => None,
    }
}
