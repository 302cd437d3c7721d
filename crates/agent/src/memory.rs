//! The command's memory budget, held by looking.
//!
//! Beyond the soft limit the agent gives itself a `drain` order, through the store where everybody sees it: it finishes
//! what it has in hand and leaves. Beyond the hard limit [`exceeded`] resolves and the tree is ended. Both are told on
//! `system:alerts`.

use std::time::Duration;

use agent_sdk::process::{proportional, resident};
use agent_sdk::{Agent, Urgency};
use lifecycle_cli::output;
use lifecycle_core::budget::{Excess, Limit, MemoryBudget};
use lifecycle_core::event::EventKind;
use lifecycle_core::record::Order;
use tokio::time::sleep;

use crate::containment;

/// Why an agent over its soft limit leaves.
pub(crate) const SPENT: &str = "soft memory limit";

/// How often the tree is looked at while there is a limit.
const INTERVAL: Duration = Duration::from_millis(250);

/// Resolves when the tree uses more than its hard limit; drains the agent when it uses more than its soft one.
pub(crate) async fn exceeded(agent: &Agent, budget: MemoryBudget) -> Excess {
    if budget.is_unlimited() {
        return std::future::pending().await;
    }
    loop {
        sleep(INTERVAL).await;
        let found = tokio::task::spawn_blocking(move || look(budget)).await.unwrap_or(None);
        match found {
            Some(excess) if excess.limit == Limit::Hard => {
                alert(agent, excess).await;
                return excess;
            }
            Some(excess) if agent.stop_requested().is_none() => drain(agent, excess).await,
            _ => {}
        }
    }
}

/// Resident memory first; only what exceeds a limit is worth the longer look that counts shared pages once.
fn look(budget: MemoryBudget) -> Option<Excess> {
    let tree = containment::command_tree();
    let at_most = budget.judge(resident(&tree).rss)?;
    budget.judge(proportional(&tree).unwrap_or(at_most.used))
}

async fn drain(agent: &Agent, excess: Excess) {
    tracing::warn!(
        agent = %agent.id(),
        "over its soft memory limit: {} of {}; finishing what is in hand and leaving",
        output::size(excess.used),
        output::size(excess.allowed)
    );
    alert(agent, excess).await;
    let life = agent.life();
    if let Err(error) =
        agent.store().order(life.id.as_str(), Some(life.incarnation), Order::Drain, SPENT).await
    {
        tracing::warn!(%error, "the drain order could not be written; draining all the same");
    }
    agent.request_stop(Urgency::Drain, SPENT);
}

async fn alert(agent: &Agent, excess: Excess) {
    let life = agent.life();
    let said = agent.store().announce(EventKind::MemoryLimitExceeded, |event| {
        event.agent_id = Some(life.id.to_string());
        event.incarnation = Some(life.incarnation);
        event.reason = Some(excess.limit.to_string());
        event.bytes = Some(excess.used);
        event.limit = Some(excess.allowed);
    });
    if let Err(error) = said.await {
        tracing::warn!(%error, "could not publish memory_limit_exceeded");
    }
}
