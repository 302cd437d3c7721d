//! Reading a store for what is left behind in it: the facts that [`lifecycle_core::residue`] judges.

use std::collections::{BTreeSet, HashMap, HashSet};

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, SetsInterface};
use fred::types::Value;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lifecycle_core::ids::SprintId;
use lifecycle_core::keys::{KeyOwner, KeySchema};
use lifecycle_core::residue::{Holder, Inventory};

use super::AgentView;
use crate::error::StoreError;
use crate::reply::{number, text};
use crate::store::Store;
use crate::sweeping::{all, value};

/// Commands sent at once.
const CHUNK: usize = 500;
/// Agents that are read at once.
const IN_FLIGHT: usize = 64;
/// Most keys without a running lease that are looked into at once.
const MOST_UNVOUCHED: usize = 100_000;

impl Store {
    /// The names of the product's keys, and how many others there are. Takes one SCAN of the whole keyspace, which
    /// does not block the store.
    ///
    /// # Errors
    /// As the store says.
    pub async fn product_keys(&self) -> Result<(Vec<String>, u64), StoreError> {
        let (mut ours, mut others) = (Vec::new(), 0);
        self.scan_keys(|key| match self.keys().parse(key) {
            Some(_) => ours.push(key.to_string()),
            None => others += 1,
        })
        .await?;
        // SCAN may name a key twice.
        ours.sort_unstable();
        ours.dedup();
        Ok((ours, others))
    }

    /// Reads all that says who lives, and of these keys (those of them that exist) all that says whose they are.
    ///
    /// # Errors
    /// As the store says.
    pub async fn inventory(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        let keys = self.existing(keys).await?;
        let fleet = self.fleet().await?;
        let now = self.server_time().await?;
        let schema = self.keys();
        let members = self.all_members(keys.iter().filter(|key| is_membership(schema, key))).await?;
        let expiring_locks = self.expiring(keys.iter().filter(|key| is_lock(schema, key))).await?;
        let sprints = self.holders(sprint_names(schema, &keys, &members)).await?;
        let claimed = self.claimed_by_the_dead(&keys, &fleet, now).await?;
        let agents = fleet.into_iter().map(|view| (view.id.clone(), view.known())).collect();
        Ok(Inventory { now, keys, agents, sprints, members, claimed, expiring_locks })
    }

    /// The same of a few keys, reading of the fleet only those agents that can be their owners. Says nothing of members
    /// of sets: of sprints and children there may be as many as there are agents.
    ///
    /// # Errors
    /// As the store says.
    pub async fn inventory_of(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        let schema = self.keys();
        let keys = self.existing(keys).await?;
        let epics = keys.iter().filter(|key| matches!(schema.parse(key), Some(KeyOwner::Epic(_))));
        let members = self.all_members(epics).await?;
        let sprints = self.holders(sprint_names(schema, &keys, &members)).await?;
        let fleet = self.agents(owners(schema, &keys, &sprints)).await?;
        let now = self.server_time().await?;
        let expiring_locks = self.expiring(keys.iter().filter(|key| is_lock(schema, key))).await?;
        let claimed = self.claimed_by_the_dead(&keys, &fleet, now).await?;
        let agents = fleet.into_iter().map(|view| (view.id.clone(), view.known())).collect();
        Ok(Inventory { now, keys, agents, sprints, members, claimed, expiring_locks })
    }

    /// Those of these agents that are in either index.
    async fn agents(&self, ids: BTreeSet<String>) -> Result<Vec<AgentView>, StoreError> {
        let views = stream::iter(&ids).map(|id| self.agent(id)).buffered(IN_FLIGHT);
        let listed = views
            .try_filter_map(|view| async { Ok(view.filter(|view| view.active || view.lease_end.is_some())) });
        listed.try_collect().await
    }

    /// Names of the product's keys that no running lease of an agent vouches for: what may be left behind, and all that
    /// belongs to sprints and epics. At most [`MOST_UNVOUCHED`]. Takes one SCAN of the whole keyspace and, for each page
    /// of it, one look at the leases.
    ///
    /// # Errors
    /// As the store says.
    pub async fn unvouched_keys(&self) -> Result<Vec<String>, StoreError> {
        let now = self.server_time().await?;
        let mut unvouched = BTreeSet::new();
        let mut cursor = String::from("0");
        loop {
            let args: Vec<Value> = vec![cursor.as_str().into(), "COUNT".into(), "1000".into()];
            let reply: Value = self.client.custom(fred::cmd!("SCAN"), args).await?;
            let mut parts = reply.into_array().into_iter();
            cursor = parts.next().map_or_else(|| "0".into(), |next| text(&next));
            let page = parts.next().map(Value::into_array).unwrap_or_default();
            let names: Vec<String> = page.iter().filter_map(Value::as_string).collect();
            unvouched.extend(self.without_running_lease(names, now).await?);
            if cursor == "0" || unvouched.len() >= MOST_UNVOUCHED {
                return Ok(unvouched.into_iter().take(MOST_UNVOUCHED).collect());
            }
        }
    }

    async fn without_running_lease(&self, names: Vec<String>, now: u64) -> Result<Vec<String>, StoreError> {
        let owners: BTreeSet<&str> = names
            .iter()
            .filter_map(|name| match self.keys().parse(name) {
                Some(KeyOwner::Agent(id)) => Some(id),
                _ => None,
            })
            .collect();
        let owners: Vec<&str> = owners.into_iter().collect();
        let mut running = HashSet::new();
        for chunk in owners.chunks(CHUNK) {
            let mut args: Vec<Value> = vec![self.keys().leases().into()];
            args.extend(chunk.iter().map(|id| Value::from(*id)));
            let ends: Value = self.client.custom(fred::cmd!("ZMSCORE"), args).await?;
            let ends = ends.into_array();
            let runs = |end: &Value| number(end).is_some_and(|end| end > now);
            running.extend(
                chunk.iter().zip(&ends).filter(|(_, end)| runs(end)).map(|(id, _)| (*id).to_string()),
            );
        }
        let is_vouched = |name: &String| match self.keys().parse(name) {
            // A lock is to expire, whoever lives.
            Some(KeyOwner::Agent(id)) => running.contains(id) && !is_lock(self.keys(), name),
            Some(KeyOwner::Fleet) | None => true,
            Some(KeyOwner::Sprint(_) | KeyOwner::Epic(_)) => false,
        };
        Ok(names.into_iter().filter(|name| !is_vouched(name)).collect())
    }

    async fn existing(&self, keys: &[String]) -> Result<Vec<String>, StoreError> {
        let mut there = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let pipeline = self.client.pipeline();
            for key in chunk {
                let () = pipeline.exists(key.as_str()).await?;
            }
            let replies: Vec<u64> = pipeline.all().await?;
            there.extend(
                chunk.iter().zip(replies).filter(|(_, count)| *count > 0).map(|(key, _)| key.clone()),
            );
        }
        Ok(there)
    }

    async fn all_members(
        &self,
        keys: impl Iterator<Item = &String>,
    ) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let keys: Vec<&String> = keys.collect();
        let mut sets = HashMap::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let pipeline = self.client.pipeline();
            for key in chunk {
                let () = pipeline.smembers(key.as_str()).await?;
            }
            let replies = all(pipeline.try_all::<Value>().await, chunk.len())?;
            for (key, reply) in chunk.iter().zip(replies) {
                let members = value(&reply)?.map(Value::into_array).unwrap_or_default();
                sets.insert((*key).clone(), members.iter().map(text).collect());
            }
        }
        Ok(sets)
    }

    async fn expiring(&self, keys: impl Iterator<Item = &String>) -> Result<HashSet<String>, StoreError> {
        let mut expiring = HashSet::new();
        for key in keys {
            let left: i64 = self.client.pttl(key.as_str()).await?;
            // -2: it has gone by itself meanwhile.
            if left != -1 {
                expiring.insert(key.clone());
            }
        }
        Ok(expiring)
    }

    async fn holders(&self, sprints: BTreeSet<SprintId>) -> Result<HashMap<String, Holder>, StoreError> {
        let mut holders = HashMap::new();
        for sprint in sprints {
            let fields = vec!["coordinator", "incarnation"];
            let found = self.client.hmget::<Value, _, _>(self.keys().sprint_state(&sprint), fields).await;
            let found = value(&found)?.map(Value::into_array).unwrap_or_default();
            if let [coordinator, incarnation] = found.as_slice()
                && !coordinator.is_null()
            {
                let incarnation = number(incarnation).map(lifecycle_core::ids::Incarnation);
                holders.insert(sprint.to_string(), Holder { coordinator: text(coordinator), incarnation });
            }
        }
        Ok(holders)
    }

    /// The further keys, of those agents that have a list of them and do not live, that exist.
    async fn claimed_by_the_dead(
        &self,
        keys: &[String],
        fleet: &[AgentView],
        now: u64,
    ) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let living: HashSet<&str> =
            fleet.iter().filter(|view| view.known().is_alive(now)).map(|view| view.id.as_str()).collect();
        let mut claimed = HashMap::new();
        for key in keys {
            if let Some(KeyOwner::Agent(id)) = self.keys().parse(key)
                && *key == self.keys().keys(id)
                && !living.contains(id)
            {
                let there = self.existing(&self.owned_keys(id).await?).await?;
                claimed.insert(id.to_string(), there);
            }
        }
        Ok(claimed)
    }
}

/// Every agent that can be the owner of these keys.
fn owners(schema: &KeySchema, keys: &[String], sprints: &HashMap<String, Holder>) -> BTreeSet<String> {
    let by_name = keys.iter().filter_map(|key| match schema.parse(key) {
        Some(KeyOwner::Agent(id)) => Some(id),
        _ => None,
    });
    let coordinators = sprints.values().map(|holder| holder.coordinator.as_str());
    by_name.chain(coordinators).map(str::to_string).collect()
}

/// Whether a key is a set of ids that can be compared with the indexes.
fn is_membership(schema: &KeySchema, key: &str) -> bool {
    match schema.parse(key) {
        Some(KeyOwner::Agent(id)) => key == schema.children(id),
        Some(KeyOwner::Sprint(name)) => SprintId::new(name).is_ok_and(|id| key == schema.sprint_agents(&id)),
        Some(KeyOwner::Epic(_)) => true,
        Some(KeyOwner::Fleet) | None => false,
    }
}

fn is_lock(schema: &KeySchema, key: &str) -> bool {
    matches!(schema.parse(key), Some(KeyOwner::Agent(id)) if key == schema.cleanup_lock(id))
}

/// Every sprint that a key belongs to, or that an epic names.
fn sprint_names(
    schema: &KeySchema,
    keys: &[String],
    members: &HashMap<String, Vec<String>>,
) -> BTreeSet<SprintId> {
    let owners = keys.iter().filter_map(|key| match schema.parse(key) {
        Some(KeyOwner::Sprint(name)) => Some(name),
        _ => None,
    });
    let of_epics = members.iter().filter(|(key, _)| matches!(schema.parse(key), Some(KeyOwner::Epic(_))));
    let of_epics = of_epics.flat_map(|(_, sprints)| sprints.iter().map(String::as_str));
    owners.chain(of_epics).filter_map(|name| SprintId::new(name).ok()).collect()
}
