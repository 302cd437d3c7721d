//! Epics as everybody reads them, and those that wait for a coordinator.

use std::collections::HashMap;

use fred::interfaces::{ClientLike, HashesInterface, SetsInterface, SortedSetsInterface};
use fred::types::Value;
use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::epic_record::{EpicOutcome, EpicRecord, EpicStatus};
use lifecycle_core::wire::ids::{EpicId, Incarnation, SprintId};
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::operator::fleet::LogEntry;
use crate::pipeline::value;
use crate::removal::LOG_LENGTH;
use crate::reply::{Reply, argument, fields, scores, text};
use crate::roles::{OperatorStore, SweeperStore};
use crate::scripts::{EpicCancel, EpicRemove, EpicWait};
use crate::store::Store;

/// About how many entries `epics:history` keeps.
pub(crate) const HISTORY_LENGTH: u32 = 1_000;

/// Why an epic is removed that an operator does not want any more.
const CANCELLED: &str = "cancelled by an operator";
/// Why a sweeper removes an epic.
const EXPIRED: &str = "nobody went on with it in time";

impl Store {
    /// The epic's own record; `None` where there is none of ours.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn epic(&self, epic: &EpicId) -> Result<Option<EpicRecord>, StoreError> {
        let found = value(&self.client.hgetall::<Value, _>(self.keys().epic_state(epic)).await)?;
        Ok(found.and_then(|found| EpicRecord::from_fields(&fields(found))))
    }

    /// The sprints of an epic that have started.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn sprints_of(&self, epic: &EpicId) -> Result<Vec<SprintId>, StoreError> {
        let found = value(&self.client.smembers::<Value, _>(self.keys().epic_sprints(epic)).await)?;
        let ids = found.map(Value::into_array).unwrap_or_default();
        let mut ids: Vec<SprintId> = ids.iter().filter_map(|id| SprintId::new(text(id)).ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The epics that wait, with until when each is kept.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn waiting_epics(&self) -> Result<Vec<(EpicId, ServerTime)>, StoreError> {
        let all = self.client.zrange(self.keys().epics_waiting(), 0, -1, None, false, None, true).await;
        let all = value(&all)?.map(scores).unwrap_or_default();
        Ok(all.into_iter().filter_map(|(id, until)| Some((EpicId::new(id).ok()?, until))).collect())
    }
}

impl OperatorStore {
    /// The latest epics that ended, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn epics_history(&self, count: u64) -> Result<Vec<LogEntry>, StoreError> {
        self.store.entries(&self.store.keys().epics_history(), count).await
    }

    /// The latest end of this epic, as far as the history goes back.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn latest_end(&self, epic: &EpicId) -> Result<Option<LogEntry>, StoreError> {
        let history = self.epics_history(HISTORY_LENGTH.into()).await?;
        let is_of = |entry: &LogEntry| entry.fields.get("epic").is_some_and(|ended| ended == epic.as_str());
        Ok(history.into_iter().find(is_of))
    }

    /// Every epic that has a record: those that wait, and those of the living coordinators.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn epics(&self) -> Result<Vec<(EpicId, EpicRecord)>, StoreError> {
        let mut ids: Vec<EpicId> = self.store.waiting_epics().await?.into_iter().map(|(id, _)| id).collect();
        let coordinated = self.store.fleet().await?.into_iter();
        ids.extend(coordinated.filter_map(|view| view.record?.epic));
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(record) = self.store.epic(&id).await? {
                found.push((id, record));
            }
        }
        Ok(found)
    }
}

impl OperatorStore {
    /// Removes an epic that waits, whatever is left to do, and has the agents end that still work for it. Returns how many keys it had; `None` if it does not wait.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. It may be gone then; calling it again is harmless.
    pub async fn cancel_waiting(&self, epic: &EpicId, by: &str) -> Result<Option<u64>, StoreError> {
        self.store.cancel_waiting(epic, by).await
    }

    /// Has the epic's coordinator end it for good; if that one is gone, the next one, or a sweeper. `false` if no coordinator has
    /// it: it waits, or has ended.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Calling it again is harmless.
    pub async fn cancel_running(
        &self,
        epic: &EpicId,
        coordinator: &str,
        life: Incarnation,
    ) -> Result<bool, StoreError> {
        let names = EpicCancel { epic_state: self.store.keys().epic_state(epic) };
        if Reply::read(self.store.run(names, Vec::new()).await?)?.word() != "ok" {
            return Ok(false);
        }
        // If that life is gone, the epic waits, or is about to.
        self.store.order(coordinator, Some(life), Order::Terminate, StopCause::EpicCancelled).await?;
        Ok(true)
    }
}

impl SweeperStore {
    /// Removes the epics that have waited for longer than they are kept. Returns them, with how many keys each had.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Epics that were removed until then stay removed.
    pub async fn expire_epics(&self, now: ServerTime, by: &str) -> Result<Vec<(EpicId, u64)>, StoreError> {
        let mut expired = Vec::new();
        for (epic, until) in self.store.waiting_epics().await? {
            if until > now {
                continue;
            }
            let record = self.store.epic(&epic).await?;
            let is_cancelled = record.is_some_and(|record| record.cancelled_at.is_some());
            let removed = if is_cancelled {
                self.store.cancel_waiting(&epic, by).await?
            } else {
                self.store.remove_waiting(&epic, EXPIRED, by, AuditKind::EpicExpired).await?
            };
            expired.extend(removed.map(|keys| (epic, keys)));
        }
        Ok(expired)
    }

    /// Lets an epic wait that runs by its record, and whose coordinator is not there. `false` if it is there after all.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses.
    pub async fn let_epic_wait(&self, epic: &EpicId, record: &EpicRecord) -> Result<bool, StoreError> {
        self.store.let_wait(epic, record).await
    }
}

impl Store {
    /// Removes an epic that waits, whatever is left to do, and has the agents end that still work for it where their
    /// coordinator is gone.
    async fn cancel_waiting(&self, epic: &EpicId, by: &str) -> Result<Option<u64>, StoreError> {
        let agents = self.agents_of(epic).await?;
        let removed = self.remove_waiting(epic, CANCELLED, by, AuditKind::EpicCancelled).await?;
        if removed.is_some() {
            for id in agents {
                self.order(&id, None, Order::Terminate, StopCause::EpicCancelled).await?;
            }
        }
        Ok(removed)
    }

    /// The agents that are registered for the sprints of an epic.
    async fn agents_of(&self, epic: &EpicId) -> Result<Vec<String>, StoreError> {
        let mut agents = Vec::new();
        for sprint in self.sprints_of(epic).await? {
            let key = self.keys().sprint_agents(&sprint);
            let found = value(&self.client.smembers::<Value, _>(key).await)?;
            agents.extend(found.map(Value::into_array).unwrap_or_default().iter().map(text));
        }
        Ok(agents)
    }

    async fn remove_waiting(
        &self,
        epic: &EpicId,
        why: &str,
        by: &str,
        entry: AuditKind,
    ) -> Result<Option<u64>, StoreError> {
        let keys = self.keys();
        let sprints = self.sprints_of(epic).await?;
        let names = EpicRemove {
            epic_state: keys.epic_state(epic),
            waiting: keys.epics_waiting(),
            history: keys.epics_history(),
            epic_sprints: keys.epic_sprints(epic),
            log: keys.log(),
        };
        let args = vec![
            epic.as_str().into(),
            EpicOutcome::Cancelled.as_str().into(),
            why.into(),
            self.wire.as_str().into(),
            argument(HISTORY_LENGTH.into()),
            argument(LOG_LENGTH.into()),
            by.into(),
            entry.as_str().into(),
            if entry == AuditKind::EpicExpired { "1" } else { "0" }.into(),
        ];
        let further = sprints.iter().flat_map(|sprint| keys.of_sprint(sprint));
        let mut reply = Reply::read(self.run_on(names, further, args).await?)?;
        Ok(if reply.word() == "ok" { Some(reply.number()?) } else { None })
    }

    /// Lets an epic wait that runs by its record, and whose coordinator is not there. `false` if it is there after all.
    pub(crate) async fn let_wait(&self, epic: &EpicId, record: &EpicRecord) -> Result<bool, StoreError> {
        let (keys, Some(life)) = (self.keys(), record.incarnation) else { return Ok(false) };
        if record.status != EpicStatus::Running {
            return Ok(false);
        }
        let names = EpicWait {
            epic_state: keys.epic_state(epic),
            waiting: keys.epics_waiting(),
            state: keys.state(&record.coordinator),
        };
        let args = vec![
            epic.as_str().into(),
            life.to_string().into(),
            self.wire.as_str().into(),
            "coordinator_lost".into(),
        ];
        Ok(Reply::read(self.run(names, args).await?)?.word() == "ok")
    }

    /// The same for the epic of a coordinator that was removed although its record could not be read: its id names it.
    pub(crate) async fn let_wait_for_another(&self, coordinator: &str) -> Result<(), StoreError> {
        let Some(epic) = EpicId::of_coordinator(coordinator) else { return Ok(()) };
        if let Some(record) = self.epic(&epic).await?.filter(|record| record.coordinator == coordinator) {
            self.let_wait(&epic, &record).await?;
        }
        Ok(())
    }

    /// The latest entries of a stream, newest first.
    pub(crate) async fn entries(&self, key: &str, count: u64) -> Result<Vec<LogEntry>, StoreError> {
        let args: Vec<Value> =
            vec![key.into(), "+".into(), "-".into(), "COUNT".into(), count.to_string().into()];
        let reply = self.client.custom::<Value, Value>(fred::cmd!("XREVRANGE"), args).await;
        let reply = self.of_key(key, reply).await?;
        let entries = reply.into_array().into_iter().filter_map(|entry| {
            let mut parts = entry.into_array().into_iter();
            let (id, said): (Value, HashMap<String, String>) = (parts.next()?, fields(parts.next()?));
            Some(LogEntry { id: text(&id), fields: said })
        });
        Ok(entries.collect())
    }
}
