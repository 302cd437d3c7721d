//! What lives that are over left on this host: whoever starts here ends it.

use agent_sdk::leftovers::{bear_witness, end_over, judge};
use agent_sdk::process::{self, Leftover, Remains};
use lifecycle_core::wire::ids::AgentId;
use lifecycle_redis::{AgentStore, Store, StoreError};
use tokio::task::spawn_blocking;

/// Ends what is left of lives that are proven over, and removes their ledgers.
pub(crate) async fn clear(store: AgentStore, by: AgentId) {
    if let Err(error) = clear_now(&store, by.as_str()).await {
        tracing::debug!(%error, "what others left on this host was not looked at");
    }
}

async fn clear_now(store: &Store, by: &str) -> Result<(), StoreError> {
    let looked = spawn_blocking(|| process::ledgers().iter().any(process::Ledger::is_orphan).then(process::find));
    let Ok(Some(Remains { leftovers, empty })) = looked.await else { return Ok(()) };
    if let Err(error) = process::tidy(&empty) {
        tracing::debug!(%error, "the ledger of a life of which nothing is left could not be removed");
    }
    if !leftovers.is_empty() {
        end(store, leftovers, by).await?;
    }
    Ok(())
}

async fn end(store: &Store, found: Vec<Leftover>, by: &str) -> Result<(), StoreError> {
    let mut judged = judge(Some(store), found.clone()).await?;
    if bear_witness(store, &judged, by).await? {
        judged = judge(Some(store), found).await?;
    }
    let told = end_over(store, &judged, by).await;
    if !told.is_empty() {
        let left = told.iter().filter(|told| !told.is_gone).count();
        tracing::warn!(ended = told.len() - left, left, "processes of lives that are over were still on this host");
    }
    Ok(())
}
