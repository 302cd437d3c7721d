//! The memory tracker: what the agent's process tree uses, sampled for every beat.
//!
//! Resident memory is cheap to read, and counts shared pages more than once. When it comes near the limit, or grew much
//! since this life's lowest sample, the proportional share is read too. With it a judge can tell a leak from a fork.

use std::time::Duration;

use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::record::Role;
use tokio::time::Instant;

use crate::process::{own_cgroup, proportional, resident, tree_of};

/// How old a sample may be. Beats that only tell of another state come in quick succession.
const AGE: Duration = Duration::from_secs(1);
/// Growth over the lowest sample that is worth a closer look, in bytes: the original design's alarm threshold.
const NOTABLE: u64 = 100_000_000;

/// Which processes an agent reports.
#[derive(Debug, Clone, Copy)]
enum Measured {
    /// This process and all that it started.
    Tree,
    /// This process alone. A coordinator's children are agents that report themselves, and must not count twice.
    Process,
}

/// Samples the memory of this agent.
#[derive(Debug)]
pub(crate) struct MemoryTracker {
    of: Measured,
    limit: Option<u64>,
    lowest: u64,
    sample: Option<(Instant, MemoryUsage)>,
}

impl MemoryTracker {
    pub(crate) fn new(role: Role, limit: Option<u64>) -> Self {
        let of = match role {
            Role::Worker => Measured::Tree,
            Role::Coordinator => Measured::Process,
        };
        Self { of, limit, lowest: u64::MAX, sample: None }
    }

    /// A sample that is at most [`AGE`] old.
    pub(crate) async fn sample(&mut self) -> MemoryUsage {
        if let Some((at, usage)) = self.sample
            && at.elapsed() < AGE
        {
            return usage;
        }
        let (of, limit, lowest) = (self.of, self.limit, self.lowest);
        // Reading /proc must not hold up other agents' beats on this thread.
        let usage = tokio::task::spawn_blocking(move || measure(of, limit, lowest)).await.unwrap_or_default();
        self.lowest = self.lowest.min(usage.rss);
        self.sample = Some((Instant::now(), usage));
        usage
    }
}

fn measure(of: Measured, limit: Option<u64>, lowest: u64) -> MemoryUsage {
    let group = own_cgroup();
    let of_group = group.and_then(|group| group.max);
    let limit = limit.into_iter().chain(of_group).min();
    let own = std::process::id();
    let tree = match of {
        Measured::Tree => tree_of(own),
        Measured::Process => vec![own],
    };
    let used = resident(&tree);
    MemoryUsage {
        rss: used.rss,
        heap_used: used.private(),
        heap_total: used.reserved,
        external: used.shared,
        processes: Some(used.processes),
        pss: is_suspicious(used.rss, limit, lowest).then(|| proportional(&tree)).flatten(),
        cgroup: group.map(|group| group.current),
        limit,
    }
}

fn is_suspicious(rss: u64, limit: Option<u64>, lowest: u64) -> bool {
    limit.is_some_and(|limit| rss > limit / 4 * 3) || rss.saturating_sub(lowest) > NOTABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closer_look_is_taken_near_the_limit_and_after_growth_and_not_otherwise() {
        assert!(!is_suspicious(700, Some(1_000), 0));
        assert!(is_suspicious(760, Some(1_000), 0));
        assert!(!is_suspicious(NOTABLE, None, u64::MAX), "the first sample has nothing to compare with");
        assert!(!is_suspicious(NOTABLE + 5, None, 5));
        assert!(is_suspicious(NOTABLE + 6, None, 5));
    }

    #[tokio::test]
    async fn a_sample_has_the_original_designs_figures_and_the_trees() {
        // No group allows less than this test needs.
        let usage = MemoryTracker::new(Role::Worker, Some(u64::MAX)).sample().await;
        assert!(
            usage.rss > 0 && usage.heap_used > 0 && usage.heap_total > 0 && usage.external > 0,
            "{usage:?}"
        );
        assert!(usage.processes >= Some(1), "{usage:?}");
        assert!(usage.limit.is_some() && usage.pss.is_none(), "{usage:?}");
    }
}
