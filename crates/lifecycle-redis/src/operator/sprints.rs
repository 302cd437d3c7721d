//! Messages to the coordinator of a sprint.

use fred::types::Value;
use lifecycle_core::wire::ids::SprintId;
use lifecycle_core::wire::task::SprintMessage;

use crate::error::StoreError;
use crate::reply::Reply;
use crate::roles::OperatorStore;
use crate::scripts::InboxPut;

impl OperatorStore {
    /// Leaves a message for the coordinator of the sprint. `false` if there is no such sprint.
    pub async fn tell_sprint(&self, sprint: &SprintId, message: &SprintMessage) -> Result<bool, StoreError> {
        let (keys, format) = (self.store.keys(), self.store.wire.as_str());
        let names = InboxPut { sprint_state: keys.sprint_state(sprint), inbox: keys.sprint_inbox(sprint) };
        let (about, word) = message.about();
        let encoded = Value::Bytes(self.store.wire.encode(message)?.into());
        let args = vec![sprint.as_str().into(), encoded, format.into(), about.into(), word.into()];
        Ok(Reply::read(self.store.run(names, args).await?)?.word() == "ok")
    }
}
