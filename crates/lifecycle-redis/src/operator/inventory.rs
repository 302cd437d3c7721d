//! Reads from a store the facts by which [`lifecycle_core::sweep::residue`] finds what is left behind.

use std::collections::{BTreeSet, HashMap, HashSet};

use fred::interfaces::{HashesInterface, KeysInterface, SetsInterface};
use fred::types::Value;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lifecycle_core::sweep::residue::Inventory;
use lifecycle_core::wire::epic_record::EpicRecord;
use lifecycle_core::wire::ids::{EpicId, SprintId};
use lifecycle_core::wire::keys::{KeyOwner, KeySchema, KeyType};
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::operator::fleet::AgentView;
use crate::pipeline::{all, value};
use crate::reply::text;
use crate::roles::OperatorStore;
use crate::store::Store;

/// Commands in one pipeline.
const CHUNK: usize = 500;
/// How many agents are read at once.
const IN_FLIGHT: usize = 64;

impl OperatorStore {
    /// The names of the product's keys, and how many other keys there are. Takes one SCAN of the whole keyspace, which
    /// does not block the store.
    pub async fn product_keys(&self) -> Result<(Vec<String>, u64), StoreError> {
        let (mut ours, mut others) = (Vec::new(), 0);
        self.store
            .scan_keys(|key| match self.store.keys().parse(key) {
                Some(_) => ours.push(key.to_string()),
                None => others += 1,
            })
            .await?;
        // SCAN may name a key twice.
        ours.sort_unstable();
        ours.dedup();
        Ok((ours, others))
    }
}

impl Store {
    /// Reads who lives, and of those of `keys` that exist, all that tells whose they are.
    pub async fn inventory(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        let (keys, mistyped) = self.typed(keys).await?;
        let fleet = self.fleet().await?;
        let now = self.server_time().await?;
        let schema = self.keys();
        let members = self.all_members(keys.iter().filter(|key| is_membership(schema, key))).await?;
        let expiring_locks = self.expiring(keys.iter().filter(|key| schema.is_lock(key))).await?;
        let sprints = self.epics_of(sprint_names(schema, &keys, &members)).await?;
        let epics = self.epic_records(&keys, &sprints).await?;
        let claimed = self.claimed_by_the_dead(&keys, &fleet, now).await?;
        let agents = fleet.into_iter().map(|view| (view.id.clone(), view.signs_of_life())).collect();
        Ok(Inventory { now, keys, mistyped, agents, sprints, epics, members, claimed, expiring_locks })
    }

    /// The same for a few keys, with only those agents of the fleet that can own them. Members of sets are not read: a
    /// sprint or parent may list as many as there are agents.
    pub async fn inventory_of(&self, keys: &[String]) -> Result<Inventory, StoreError> {
        let schema = self.keys();
        let (keys, mistyped) = self.typed(keys).await?;
        let lists = keys
            .iter()
            .filter(|key| matches!(schema.parse(key), Some(KeyOwner::Epic(_))) && is_membership(schema, key));
        let members = self.all_members(lists).await?;
        let sprints = self.epics_of(sprint_names(schema, &keys, &members)).await?;
        let epics = self.epic_records(&keys, &sprints).await?;
        let fleet = self.agents(owners(schema, &keys, &epics)).await?;
        let now = self.server_time().await?;
        let expiring_locks = self.expiring(keys.iter().filter(|key| schema.is_lock(key))).await?;
        let claimed = self.claimed_by_the_dead(&keys, &fleet, now).await?;
        let agents = fleet.into_iter().map(|view| (view.id.clone(), view.signs_of_life())).collect();
        Ok(Inventory { now, keys, mistyped, agents, sprints, epics, members, claimed, expiring_locks })
    }

    /// Those of `ids` that are in either index.
    async fn agents(&self, ids: BTreeSet<String>) -> Result<Vec<AgentView>, StoreError> {
        let views = stream::iter(&ids).map(|id| self.view(id)).buffered(IN_FLIGHT);
        let listed = views
            .try_filter_map(|view| async { Ok(view.filter(|view| view.active || view.lease_end.is_some())) });
        listed.try_collect().await
    }

    async fn existing(&self, keys: &[String]) -> Result<Vec<String>, StoreError> {
        Ok(self.typed(keys).await?.0)
    }

    /// Those of `keys` that exist; and the types of those that hold another type than they should.
    async fn typed(&self, keys: &[String]) -> Result<(Vec<String>, HashMap<String, KeyType>), StoreError> {
        let (mut there, mut mistyped) = (Vec::with_capacity(keys.len()), HashMap::new());
        for chunk in keys.chunks(CHUNK) {
            let pipeline = self.client.pipeline();
            for key in chunk {
                let () = pipeline.r#type(key.as_str()).await?;
            }
            let replies: Vec<String> = pipeline.all().await?;
            for (key, holds) in chunk.iter().zip(replies).filter(|(_, holds)| holds != "none") {
                there.push(key.clone());
                if let (Some(wanted), Ok(holds)) = (self.keys().holds(key), holds.parse::<KeyType>())
                    && wanted != holds
                {
                    mistyped.insert(key.clone(), holds);
                }
            }
        }
        Ok((there, mistyped))
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
            // -2: the key expired meanwhile.
            if left != -1 {
                expiring.insert(key.clone());
            }
        }
        Ok(expiring)
    }

    /// The epic of each of these sprints that has a readable state.
    async fn epics_of(&self, sprints: BTreeSet<SprintId>) -> Result<HashMap<String, String>, StoreError> {
        let mut epics = HashMap::new();
        for sprint in sprints {
            let found = self.client.hget::<Value, _, _>(self.keys().sprint_state(&sprint), "epic").await;
            if let Some(epic) = value(&found)?.filter(|epic| !epic.is_null()) {
                epics.insert(sprint.to_string(), text(&epic));
            }
        }
        Ok(epics)
    }

    /// The records of the epics that these keys and sprints belong to.
    async fn epic_records(
        &self,
        keys: &[String],
        sprints: &HashMap<String, String>,
    ) -> Result<HashMap<String, EpicRecord>, StoreError> {
        let by_name = keys.iter().filter_map(|key| match self.keys().parse(key) {
            Some(KeyOwner::Epic(epic)) => Some(epic),
            _ => None,
        });
        let names: BTreeSet<&str> = by_name.chain(sprints.values().map(String::as_str)).collect();
        let mut records = HashMap::new();
        for epic in names.into_iter().filter_map(|name| EpicId::new(name).ok()) {
            if let Some(record) = self.epic(&epic).await? {
                records.insert(epic.to_string(), record);
            }
        }
        Ok(records)
    }

    /// The declared keys that exist, of those agents that have a list of keys and do not live.
    async fn claimed_by_the_dead(
        &self,
        keys: &[String],
        fleet: &[AgentView],
        now: ServerTime,
    ) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let living: HashSet<&str> = fleet
            .iter()
            .filter(|view| view.signs_of_life().is_alive(now))
            .map(|view| view.id.as_str())
            .collect();
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

/// Every agent that may own one of these keys.
fn owners(schema: &KeySchema, keys: &[String], epics: &HashMap<String, EpicRecord>) -> BTreeSet<String> {
    let by_name = keys.iter().filter_map(|key| match schema.parse(key) {
        Some(KeyOwner::Agent(id)) => Some(id),
        _ => None,
    });
    let coordinators = epics.values().map(|record| record.coordinator.as_str());
    by_name.chain(coordinators).map(str::to_string).collect()
}

/// Whether a key is a set of ids that can be compared with the indexes.
fn is_membership(schema: &KeySchema, key: &str) -> bool {
    match schema.parse(key) {
        Some(KeyOwner::Agent(id)) => key == schema.children(id),
        Some(KeyOwner::Sprint(name)) => SprintId::new(name).is_ok_and(|id| key == schema.sprint_agents(&id)),
        Some(KeyOwner::Epic(name)) => EpicId::new(name).is_ok_and(|id| key == schema.epic_sprints(&id)),
        Some(KeyOwner::Fleet) | None => false,
    }
}

/// Every sprint that one of the keys belongs to, or that an epic lists.
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
