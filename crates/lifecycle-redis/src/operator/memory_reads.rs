//! Reads the memory of the whole fleet, and its trends.

use std::collections::{HashMap, HashSet};

use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::Value;
use lifecycle_core::memory::leak::Trend;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::memory_records::MemoryStats;

use crate::error::StoreError;
use crate::pipeline::{PIPELINED, all, value};
use crate::roles::OperatorStore;
use crate::sweeper::fleet_usage::{AgentUsage, IndexCursor};

/// Names that one command asks for.
const PAGE: u32 = 1_000;

impl OperatorStore {
    /// The figures of every agent in either index, each once, by id. Reads page by page, without blocking the store.
    pub async fn fleet_usage(&self) -> Result<Vec<AgentUsage>, StoreError> {
        let (mut fleet, mut met) = (Vec::new(), HashSet::new());
        let mut at = Some(IndexCursor::default());
        while let Some(cursor) = at {
            let (mut page, next) = self.store.index_page(&cursor, PAGE).await?;
            page.retain(|(id, _)| met.insert(id.clone()));
            fleet.extend(self.store.agent_usage(&page).await?);
            at = next;
        }
        fleet.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(fleet)
    }

    /// The trends of these agents, in the same order; `None` where no sweeper has written one.
    pub async fn trends(&self, ids: &[&str]) -> Result<Vec<Option<Trend>>, StoreError> {
        let mut trends = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(PIPELINED) {
            let pipeline = self.store.client.pipeline();
            for id in chunk {
                let () = pipeline.hmget(self.store.keys().memory(id), Trend::FIELDS.to_vec()).await?;
            }
            for reply in all(pipeline.try_all::<Value>().await, chunk.len())? {
                let values = value(&reply)?.map(Value::into_array).unwrap_or_default();
                let fields =
                    Trend::FIELDS.into_iter().map(String::from).zip(values.iter().map(crate::reply::text));
                trends.push(Trend::from_fields(&fields.collect::<HashMap<_, _>>()));
            }
        }
        Ok(trends)
    }

    /// The sample that the fleet's growth is measured against; `None` until a sweeper has watched for a window.
    pub async fn memory_baseline(&self) -> Result<Option<MemoryStats>, StoreError> {
        let found = value(&self.store.client.get::<Value, _>(self.store.keys().memory_baseline()).await)?;
        Ok(found.as_ref().and_then(Value::as_bytes).and_then(|bytes| decode(bytes).ok()))
    }
}
