//! Which keys may be left behind. Decided by name and lease alone, page by page, so for stores of any size.

use std::collections::{BTreeSet, HashSet};

use fred::bytes_utils::Str;
use fred::interfaces::ClientLike;
use fred::types::Value;
use lifecycle_core::agent::liveness::runs;
use lifecycle_core::wire::keys::KeyOwner;
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::reply::time;
use crate::roles::SweeperStore;

/// Most names that are returned: no caller can check more in one look.
const MOST: usize = 100_000;
/// Leases that one command asks for.
const CHUNK: usize = 500;

impl SweeperStore {
    /// The product's keys that may be left behind: those of agents without a running lease, and all of sprints and
    /// epics. At most 100,000. Takes one SCAN of the whole keyspace and, for each page of it, one look at the leases.
    pub async fn possible_residue(&self) -> Result<Vec<String>, StoreError> {
        let now = self.store.server_time().await?;
        let mut possible = BTreeSet::new();
        let mut at = Some(Str::from("0"));
        while let Some(cursor) = at.filter(|_| possible.len() < MOST) {
            let (page, next) = self.store.key_page(cursor).await?;
            let names = page.iter().filter_map(|key| key.as_str()).map(str::to_string).collect();
            possible.extend(self.without_running_lease(names, now).await?);
            at = next;
        }
        Ok(possible.into_iter().take(MOST).collect())
    }

    async fn without_running_lease(
        &self,
        names: Vec<String>,
        now: ServerTime,
    ) -> Result<Vec<String>, StoreError> {
        let owners: BTreeSet<&str> = names
            .iter()
            .filter_map(|name| match self.store.keys().parse(name) {
                Some(KeyOwner::Agent(id)) => Some(id),
                _ => None,
            })
            .collect();
        let owners: Vec<&str> = owners.into_iter().collect();
        let mut running = HashSet::new();
        for chunk in owners.chunks(CHUNK) {
            let mut args: Vec<Value> = vec![self.store.keys().leases().into()];
            args.extend(chunk.iter().map(|id| Value::from(*id)));
            let ends: Value = self.store.client.custom(fred::cmd!("ZMSCORE"), args).await?;
            let ends = ends.into_array();
            let is_running = |end: &Value| time(end).is_some_and(|end| runs(end, now));
            running.extend(
                chunk.iter().zip(&ends).filter(|(_, end)| is_running(end)).map(|(id, _)| (*id).to_string()),
            );
        }
        let is_owned = |name: &String| match self.store.keys().parse(name) {
            // A lock has to have an expiry even if its agent lives.
            Some(KeyOwner::Agent(id)) => running.contains(id) && !self.store.keys().is_lock(name),
            Some(KeyOwner::Fleet) | None => true,
            Some(KeyOwner::Sprint(_) | KeyOwner::Epic(_)) => false,
        };
        Ok(names.into_iter().filter(|name| !is_owned(name)).collect())
    }
}
