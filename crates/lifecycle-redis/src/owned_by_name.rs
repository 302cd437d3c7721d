//! Finds by name what belongs to an agent whose record or list of keys is unreadable, because another type stands under
//! its name.

use std::collections::{BTreeSet, HashMap, HashSet};

use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Value;
use lifecycle_core::wire::ids::SprintId;
use lifecycle_core::wire::keys::{KeyOwner, KeySchema, KeyType};

use crate::error::StoreError;
use crate::pipeline::{PIPELINED, all, value};
use crate::reply::{number, text};
use crate::store::Store;

impl Store {
    /// The tasks of an agent with an unreadable list of keys. Takes one SCAN of the whole keyspace.
    pub(crate) async fn owned_by_name(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let mut owned = HashSet::new();
        let schema = self.keys();
        let prefix = schema.task_prefix(id);
        self.scan_keys(|key| {
            if key.starts_with(&prefix) {
                owned.insert(key.to_string());
            }
        })
        .await?;
        Ok(owned.into_iter().collect())
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
