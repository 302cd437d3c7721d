//! Things that agents own and that are no keys, as the store knows them: the hash of each life, and what the audit log
//! says became of them.

use std::collections::{BTreeMap, HashMap};

use fred::interfaces::HashesInterface;
use fred::types::Value;
use lifecycle_core::agent::thing::{Account, Thing};
use lifecycle_core::wire::codec;
use lifecycle_core::wire::ids::Incarnation;

use crate::error::StoreError;
use crate::operator::fleet::LogEntry;
use crate::pipeline::value;
use crate::reply::Reply;
use crate::roles::HostStore;
use crate::scripts::{ThingsDrop, ThingsNote};
use crate::store::Store;

const HOST: &str = "host";
const UNDONE: &str = "thingsUndone";
const PARKED: &str = "thingsParked";
const LEFT: &str = "thingsLeft";

impl HostStore<'_> {
    /// Notes things that this life owns. `false` if that life is not there any more.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer, is full, or holds another type under the name.
    pub async fn note_things(
        &self,
        id: &str,
        incarnation: Incarnation,
        things: &[Thing],
    ) -> Result<bool, StoreError> {
        if things.is_empty() {
            return Ok(true);
        }
        let mut args: Vec<Value> = vec![incarnation.to_string().into()];
        for thing in things {
            args.extend([thing.name().into(), Value::Bytes(self.store.wire.encode(thing)?.into())]);
        }
        let keys = self.store.keys();
        let names = ThingsNote { state: keys.state(id), things: keys.things(id) };
        Ok(Reply::read(self.store.run(names, args).await?)?.word() == "ok")
    }

    /// Drops things that this life does not own any more.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn drop_things<'n>(
        &self,
        id: &str,
        incarnation: Incarnation,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<(), StoreError> {
        let names: Vec<Value> = names.into_iter().map(Value::from).collect();
        if names.is_empty() {
            return Ok(());
        }
        let args = std::iter::once(incarnation.to_string().into()).chain(names).collect();
        let keys = self.store.keys();
        let keys = ThingsDrop { state: keys.state(id), things: keys.things(id) };
        self.store.run(keys, args).await.map(drop)
    }
}

impl Store {
    /// The things that the registered life of this id owns, by its record in the store.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn things(&self, id: &str) -> Result<Vec<Thing>, StoreError> {
        let found = value(&self.client.hvals::<Value, _>(self.keys().things(id)).await)?;
        let values = found.map(Value::into_array).unwrap_or_default();
        let thing = |value: &Value| codec::decode(value.as_bytes()?).ok();
        let mut things: Vec<Thing> = values.iter().filter_map(thing).collect();
        things.sort_by_key(Thing::name);
        Ok(things)
    }
}

impl LogEntry {
    /// What this entry says of the things of its life.
    #[must_use]
    pub fn things(&self) -> Account {
        Account {
            host: self.fields.get(HOST).cloned().unwrap_or_default(),
            undone: read(&self.fields, UNDONE),
            parked: read(&self.fields, PARKED),
            left: read(&self.fields, LEFT),
        }
    }
}

fn read<T: serde::de::DeserializeOwned + Default>(fields: &HashMap<String, String>, name: &str) -> T {
    fields.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The fields of an audit entry that tell what became of a life's things.
pub(crate) fn things_fields(things: &Account) -> Result<Vec<(&'static str, String)>, StoreError> {
    let text =
        |value: serde_json::Result<String>| value.map_err(|error| StoreError::Invalid(error.to_string()));
    let mut fields = Vec::new();
    if !things.is_empty() {
        fields.extend([("things", things.to_string()), (HOST, things.host.clone())]);
    }
    if !things.undone.is_empty() {
        fields.push((UNDONE, text(serde_json::to_string(&things.undone))?));
    }
    let with_reason: [(_, &BTreeMap<String, String>); 2] = [(PARKED, &things.parked), (LEFT, &things.left)];
    for (name, those) in with_reason.into_iter().filter(|(_, those)| !those.is_empty()) {
        fields.push((name, text(serde_json::to_string(those))?));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use lifecycle_core::agent::thing::Outcome;

    use super::*;

    #[test]
    fn what_is_written_into_the_log_is_read_back() {
        let mut account = Account { host: "h".into(), ..Account::default() };
        account.add("file /a b".into(), Outcome::Undone, String::new());
        account.add("worktree /c".into(), Outcome::Parked, "dirty".into());
        account.add("run x".into(), Outcome::Left, "exit 1".into());
        let fields = things_fields(&account).unwrap();
        assert_eq!(fields[0], ("things", "1 undone, 1 parked, 1 left".into()));
        let fields = fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        assert_eq!(LogEntry { id: "1-0".into(), fields }.things(), account);
        assert_eq!(things_fields(&Account::default()).unwrap(), []);
    }
}
