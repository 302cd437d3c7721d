//! Enforces the command's memory budget, by looking at its tree.
//!
//! Beyond the soft limit the agent gives itself a `drain` order, through the store where everybody sees it: it finishes
//! the work in hand and leaves. Beyond the hard limit [`exceeded`] resolves, and the tree is ended. Both are published
//! on `system:alerts`.

use std::time::Duration;

use agent_sdk::process::{proportional, resident};
use agent_sdk::{Agent, StopCause, Urgency};
use lifecycle_cli::output;
use lifecycle_core::agent::memory_budget::{Excess, Limit, MemoryBudget};
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::record::Order;
use tokio::time::{Instant, sleep};

use crate::containment;

/// Pause between two looks at the tree, if there is a limit.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a tree that only shares much memory is not examined again, unless its resident memory grows by a twentieth.
const CLEARED_FOR: Duration = Duration::from_secs(2);

/// Resolves when the tree uses more than its hard limit. Drains the agent when it uses more than its soft one. It does
/// not wait for the store, because a store that does not answer must not stop the looking.
pub(crate) async fn exceeded(agent: &Agent, budget: MemoryBudget) -> Excess {
    if budget.is_unlimited() {
        return std::future::pending().await;
    }
    let mut cleared = None;
    loop {
        sleep(INTERVAL).await;
        let looked = tokio::task::spawn_blocking(move || measure(budget, cleared)).await;
        match looked.unwrap_or(Look::Within) {
            Look::Over(excess) if excess.limit == Limit::Hard => return excess,
            Look::Over(excess) if agent.stop_requested().is_none() => drain(agent, excess),
            Look::Cleared(rss) => cleared = Some((Instant::now(), rss)),
            Look::Over(_) | Look::Within => {}
        }
    }
}

/// The result of a look at the tree.
enum Look {
    Within,
    /// This much is resident, but it is within the limit once shared pages count once.
    Cleared(u64),
    Over(Excess),
}

/// Reads resident memory first. Only if that exceeds a limit, takes the longer look that counts shared pages once. For
/// a tree that was `cleared` it is not repeated as long as little has changed.
fn measure(budget: MemoryBudget, cleared: Option<(Instant, u64)>) -> Look {
    let tree = containment::command_tree();
    let rss = resident(&tree).rss;
    let Some(at_most) = budget.judge(rss) else { return Look::Within };
    if cleared.is_some_and(|(when, then)| when.elapsed() < CLEARED_FOR && rss <= then + then / 20) {
        return Look::Within;
    }
    match budget.judge(proportional(&tree).unwrap_or(at_most.used)) {
        Some(excess) => Look::Over(excess),
        None => Look::Cleared(rss),
    }
}

fn drain(agent: &Agent, excess: Excess) {
    tracing::warn!(
        agent = %agent.id(),
        "over its soft memory limit: {} of {}; finishing what is in hand and leaving",
        output::size(excess.used),
        output::size(excess.allowed)
    );
    agent.request_stop(Urgency::Drain, StopCause::SoftMemoryLimit);
    let agent = agent.clone();
    tokio::spawn(async move {
        tell(&agent, excess).await;
        if let Err(error) = agent.store().order_itself(Order::Drain, StopCause::SoftMemoryLimit).await {
            tracing::debug!(%error, "the drain order was not written; the agent drains all the same");
        }
    });
}

/// Publishes it on `system:alerts`.
pub(crate) async fn tell(agent: &Agent, excess: Excess) {
    let exceeded = Payload::MemoryLimitExceeded {
        reason: Some(excess.limit.to_string()),
        bytes: Some(excess.used),
        limit: Some(excess.allowed),
    };
    if let Err(error) = agent.store().announce(exceeded).await {
        tracing::warn!(%error, "could not publish memory_limit_exceeded");
    }
}
