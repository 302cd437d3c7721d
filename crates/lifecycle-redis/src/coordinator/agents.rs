//! Reads many agents of a coordinator at once.

use fred::interfaces::{ClientLike, HashesInterface};
use fred::types::Value;
use lifecycle_core::wire::ids::{AgentId, TaskId};
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_core::wire::time::ServerTime;

use crate::error::{StoreError, is_wrong_type};
use crate::pipeline::{PIPELINED, all};
use crate::reply::{fields, number, time};
use crate::roles::CoordinatorStore;
use crate::store::Store;

impl CoordinatorStore {
    /// Whether each of these agents has this task in flight, in the same order.
    pub async fn have_tasks(&self, tasks: &[(&AgentId, &TaskId)]) -> Result<Vec<bool>, StoreError> {
        let mut held = Vec::with_capacity(tasks.len());
        for chunk in tasks.chunks(PIPELINED) {
            let pipeline = self.store.client.pipeline();
            for (agent, task) in chunk {
                let () = pipeline.hexists(self.store.keys().task(agent, task), "attempt").await?;
            }
            for reply in all(pipeline.try_all::<Value>().await, chunk.len())? {
                held.push(number(&reply?) == Some(1));
            }
        }
        Ok(held)
    }
}

impl CoordinatorStore {
    /// When the leases of these agents end, in the same order; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn lease_ends(&self, ids: &[&AgentId]) -> Result<Vec<Option<ServerTime>>, StoreError> {
        let mut ends = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(PIPELINED) {
            let mut args: Vec<Value> = vec![self.store.keys().leases().into()];
            args.extend(chunk.iter().map(|id| Value::from(id.as_str())));
            let found: Value = self.store.client.custom(fred::cmd!("ZMSCORE"), args).await?;
            ends.extend(found.into_array().iter().map(time));
        }
        Ok(ends)
    }
}

impl Store {
    /// The registrations of these agents, in the same order; `None` where there is none of ours.
    pub async fn records(&self, ids: &[&AgentId]) -> Result<Vec<Option<AgentRecord>>, StoreError> {
        let mut records = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(PIPELINED) {
            let pipeline = self.client.pipeline();
            for id in chunk {
                let () = pipeline.hgetall(self.keys().state(id.as_str())).await?;
            }
            for reply in all(pipeline.try_all::<Value>().await, chunk.len())? {
                records.push(match reply {
                    Ok(hash) => AgentRecord::from_fields(&fields(hash)),
                    Err(error) if is_wrong_type(&error) => None,
                    Err(error) => return Err(error.into()),
                });
            }
        }
        Ok(records)
    }
}
