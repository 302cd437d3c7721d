//! Finds by name what belongs to an agent whose record or list of keys is unreadable, because another type stands under
//! its name.

use std::collections::{BTreeSet, HashMap, HashSet};

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use fred::types::Value;
use lifecycle_core::wire::ids::{EpicId, SprintId};
use lifecycle_core::wire::keys::{KeyOwner, KeySchema, KeyType};

use crate::error::StoreError;
use crate::pipeline::{PIPELINED, all, value};
use crate::reply::{number, text};
use crate::store::Store;

impl Store {
    /// What an agent with an unreadable list of keys owns: its tasks, and the records of sprints that it coordinates.
    /// Takes one SCAN of the whole keyspace.
    pub(crate) async fn owned_by_name(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let (mut owned, mut sprints) = (HashSet::new(), BTreeSet::new());
        let schema = self.keys();
        let prefix = schema.task_prefix(id);
        self.scan_keys(|key| match schema.parse(key) {
            Some(KeyOwner::Agent(_)) if key.starts_with(&prefix) => {
                owned.insert(key.to_string());
            }
            Some(KeyOwner::Sprint(name)) => sprints.extend(SprintId::new(name)),
            _ => {}
        })
        .await?;
        for sprint in sprints {
            owned.extend(self.coordinated(id, &sprint).await?);
        }
        Ok(owned.into_iter().collect())
    }

    /// The records of this sprint and its epic, if this agent coordinates it.
    async fn coordinated(&self, id: &str, sprint: &SprintId) -> Result<Vec<String>, StoreError> {
        let schema = self.keys();
        let state = schema.sprint_state(sprint);
        let found = self.client.hmget::<Value, _, _>(state.as_str(), vec!["coordinator", "epic"]).await;
        let found = value(&found)?.map(Value::into_array).unwrap_or_default();
        let [coordinator, epic] = found.as_slice() else { return Ok(Vec::new()) };
        if text(coordinator) != id {
            return Ok(Vec::new());
        }
        let epic = EpicId::new(text(epic)).ok().map(|epic| schema.epic_sprints(&epic));
        let owned = [
            state,
            schema.sprint_agents(sprint),
            schema.sprint_tasks(sprint),
            schema.sprint_requeue(sprint),
            schema.sprint_inbox(sprint),
        ];
        Ok(owned.into_iter().chain(epic).collect())
    }

    /// Those of these agents whose record was overwritten with another type: they were registered, so other keys list
    /// them.
    pub(crate) async fn without_readable_record<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>, StoreError> {
        let ids: Vec<&str> = ids.collect();
        let mut without = Vec::new();
        for chunk in ids.chunks(PIPELINED) {
            let pipeline = self.client.pipeline();
            for id in chunk {
                let () = pipeline.r#type(self.keys().state(id)).await?;
            }
            let replies = all(pipeline.try_all::<Value>().await, chunk.len())?;
            for (id, reply) in chunk.iter().zip(&replies) {
                let holds = value(reply)?.and_then(|holds| text(&holds).parse::<KeyType>().ok());
                if holds.is_some_and(|holds| holds != KeyType::Hash) {
                    without.push(*id);
                }
            }
        }
        Ok(without)
    }

    /// Which of these sets list which of these agents.
    pub(crate) async fn lists_of(
        &self,
        ids: &[&str],
        lists: &BTreeSet<String>,
    ) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for list in lists {
            for chunk in ids.chunks(PIPELINED) {
                let args: Vec<Value> =
                    std::iter::once(list.as_str()).chain(chunk.iter().copied()).map(Value::from).collect();
                let reply = self.client.custom::<Value, Value>(fred::cmd!("SMISMEMBER"), args).await;
                let members = value(&reply)?.map(Value::into_array).unwrap_or_default();
                for (id, _) in chunk.iter().zip(&members).filter(|(_, is)| number(is) == Some(1)) {
                    found.entry((*id).to_string()).or_default().push(list.clone());
                }
            }
        }
        Ok(found)
    }
}

/// Whether a key is a set in which another owner lists agents: a sprint or a parent.
pub(crate) fn is_list_of_agents(schema: &KeySchema, key: &str) -> bool {
    match schema.parse(key) {
        Some(KeyOwner::Agent(parent)) => key == schema.children(parent),
        Some(KeyOwner::Sprint(name)) => SprintId::new(name).is_ok_and(|id| key == schema.sprint_agents(&id)),
        _ => false,
    }
}
