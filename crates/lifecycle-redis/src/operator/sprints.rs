//! Word for whoever coordinates a sprint.

use fred::interfaces::SetsInterface;
use fred::types::Value;
use lifecycle_core::wire::ids::{EpicId, SprintId};
use lifecycle_core::wire::task::SprintMessage;

use crate::error::StoreError;
use crate::reply::Reply;
use crate::store::Store;

impl Store {
    /// Leaves word for whoever coordinates the sprint. `false` if there is no such sprint.
    ///
    /// # Errors
    /// As the store says.
    pub async fn tell_sprint(&self, sprint: &SprintId, message: &SprintMessage) -> Result<bool, StoreError> {
        let names = vec![self.keys().sprint_state(sprint), self.keys().sprint_inbox(sprint)];
        let (about, word) = message.about();
        let encoded = Value::Bytes(self.wire.encode(message)?.into());
        let args =
            vec![sprint.as_str().into(), encoded, self.wire.as_str().into(), about.into(), word.into()];
        Ok(Reply::read(self.run(&self.scripts.inbox_put, names, args).await?)?.word() == "ok")
    }

    /// The sprints of an epic that are at work.
    ///
    /// # Errors
    /// As the store says.
    pub async fn sprints_of(&self, epic: &EpicId) -> Result<Vec<SprintId>, StoreError> {
        let ids: Vec<String> = self.client.smembers(self.keys().epic_sprints(epic)).await?;
        Ok(ids.into_iter().filter_map(|id| SprintId::new(id).ok()).collect())
    }
}
