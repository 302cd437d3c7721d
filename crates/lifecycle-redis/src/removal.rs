//! Removes an agent with everything it owns, by its own release or by a reap of others.
//!
//! Both take the same few steps, each an atomic call of one script library: read what the agent owns, remove at most
//! [`CHUNK`] keys of it, tell its children, repeat until nothing is left. The first step ends the life for good. After
//! a crash in between, the next remover goes on from there.

use fred::interfaces::{HashesInterface, KeysInterface, SetsInterface};
use fred::types::Value;
use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::sweep::observation::{JudgedBeat, Suspect};
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::event::{EventKind, Payload};
use lifecycle_core::wire::ids::EpicId;
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::{AgentRecord, Order, Role};
use lifecycle_core::wire::task::Cost;
use lifecycle_core::wire::time::ServerTime;
use serde::Serialize;

use crate::error::{StoreError, is_wrong_type};
use crate::fenced::Life;
use crate::owned_by_name::is_list_of_agents;
use crate::reply::Reply;
use crate::scripts::{ReapDead, Release};
use crate::store::{Store, arguments};

/// Most owned keys one script call removes: 1,000 UNLINKs stay well under 5 ms.
const CHUNK: usize = 1_000;
/// About how many entries `agents:log` keeps.
pub(crate) const LOG_LENGTH: u32 = 10_000;

/// What a removal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Keys removed.
    pub keys_deleted: u64,
    /// Tasks handed back.
    pub tasks_requeued: u64,
}

/// How a reap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReapOutcome {
    /// The agent and everything it owned is gone.
    Reaped(Removed),
    /// The agent spoke up in time, and stays.
    Refuted,
    /// That life was not there any more.
    AlreadyGone,
}

/// Which agent to reap, and on what grounds.
#[derive(Debug, Clone)]
pub struct Reap<'a> {
    /// The agent's id, as found.
    pub id: &'a str,
    /// The registration by which it was judged; `None` for an agent on the plain protocol.
    pub record: Option<&'a AgentRecord>,
    /// The heartbeat by which a plain agent was judged.
    pub beat: &'a JudgedBeat,
    /// Keys that a plain agent left behind, and sets that list it, as `left_behind` found them.
    pub left_behind: &'a [String],
    /// Why it is reaped.
    pub reason: Reason,
    /// Whether to reap it even if its lease runs (an operator's word, a takeover).
    pub force: bool,
    /// Token of the cleanup lock, if one was taken.
    pub token: Option<&'a str>,
    /// The reaper's name, for the audit log.
    pub by: &'a str,
    /// What was proven of its processes.
    pub process: ProcessFate,
}

impl<'a> Reap<'a> {
    /// A reap of this suspect. It is removed only if the script still finds what was judged.
    #[must_use]
    pub fn of(suspect: &'a Suspect, reason: Reason, by: &'a str) -> Self {
        Self { beat: &suspect.beat, ..Self::new(&suspect.id, suspect.record.as_ref(), reason, by) }
    }

    /// A reap of a registered life. It is removed only if the script finds its end proven or its lease over.
    #[must_use]
    pub fn of_life(id: &'a str, record: &'a AgentRecord, reason: Reason, by: &'a str) -> Self {
        Self::new(id, Some(record), reason, by)
    }

    fn new(id: &'a str, record: Option<&'a AgentRecord>, reason: Reason, by: &'a str) -> Self {
        let (beat, process) = (&JudgedBeat::Missing, ProcessFate::Unknown);
        Self { id, record, beat, left_behind: &[], reason, force: false, token: None, by, process }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RemoveArguments<'a> {
    agent_id: &'a str,
    incarnation: String,
    reason: &'a str,
    by: &'a str,
    format: &'static str,
    entry: AuditKind,
    event: &'static str,
    task_prefix: String,
    has_sprint: bool,
    has_parent: bool,
    /// The epic that it coordinates.
    #[serde(skip_serializing_if = "Option::is_none")]
    epic: Option<String>,
    children_told: bool,
    memberships: usize,
    log_length: u32,
    process: ProcessFate,
    cost: &'static str,
    plain: bool,
    force: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judged_expiry: Option<ServerTime>,
}

impl Store {
    /// A clean end: removes the life with everything it owns, and hands its tasks back at the cost of
    /// [`StopCause::cost`]. `process` is what was proven of the processes it had started. `None` if another process has
    /// removed the life or is removing it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot answer. Calling it again goes on where it stopped.
    pub(crate) async fn release(
        &self,
        life: &Life,
        cause: StopCause,
        process: ProcessFate,
    ) -> Result<Option<Removed>, StoreError> {
        let Some(record) = self.record(life.id.as_str()).await? else {
            // The life was reaped, or forgotten by a store that lost its memory. In both cases nothing is left to
            // remove.
            let key = self.keys().generation();
            let generation: Option<String> = self.of_key(&key, self.client.get(&key).await).await?;
            let is_forgotten = generation.as_deref() != Some(life.generation.as_str());
            return Ok(is_forgotten.then_some(Removed { keys_deleted: 0, tasks_requeued: 0 }));
        };
        let mut args =
            self.remove_arguments(life.id.as_str(), Some(&record), cause.as_str(), AuditKind::Release);
        args.incarnation = life.incarnation.to_string();
        args.event = EventKind::AgentShutdown.as_str();
        args.process = process;
        args.by = life.id.as_str();
        args.cost = cause.cost().as_str();
        let removal = Removal { store: self, script: Script::Release, judged: Value::from(""), extra: &[] };
        match removal.run(args, Some(&record)).await? {
            ReapOutcome::Reaped(removed) => Ok(Some(removed)),
            ReapOutcome::Refuted | ReapOutcome::AlreadyGone => Ok(None),
        }
    }

    /// Compare-and-reap: removes an agent if the script still finds what was judged. Running it twice has no further
    /// effect.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot answer; the next pass goes on where it stopped.
    pub(crate) async fn reap(&self, reap: &Reap<'_>) -> Result<ReapOutcome, StoreError> {
        let mut args = self.remove_arguments(reap.id, reap.record, reap.reason.as_str(), AuditKind::Cleanup);
        args.by = reap.by;
        args.process = reap.process;
        args.cost = reap.reason.cost().as_str();
        args.plain = reap.record.is_none();
        args.force = reap.force;
        args.token = reap.token;
        let judged = match reap.beat {
            JudgedBeat::Missing => Value::from(""),
            JudgedBeat::Bytes { bytes, expires_at } => {
                args.judged_expiry = *expires_at;
                Value::Bytes(bytes.clone().into())
            }
            JudgedBeat::Length(length) => {
                args.judged = Some(*length);
                Value::from("")
            }
        };
        let removal = Removal { store: self, script: Script::Reap, judged, extra: reap.left_behind };
        removal.run(args, reap.record).await
    }

    /// Removes a life that a later one of the same id has replaced, in a store that lost its memory and still has it.
    /// Its tasks are handed back. Its children are not ordered to stop, because they may be the later life's.
    ///
    /// # Errors
    /// As [`Store::reap`].
    pub(crate) async fn reap_replaced(
        &self,
        id: &str,
        earlier: &AgentRecord,
    ) -> Result<ReapOutcome, StoreError> {
        let mut args =
            self.remove_arguments(id, Some(earlier), Reason::StaleHeartbeat.as_str(), AuditKind::Cleanup);
        args.by = id;
        args.force = true;
        args.children_told = true;
        let removal = Removal { store: self, script: Script::Reap, judged: Value::from(""), extra: &[] };
        removal.run(args, Some(earlier)).await
    }

    fn remove_arguments<'a>(
        &self,
        id: &'a str,
        record: Option<&AgentRecord>,
        reason: &'a str,
        entry: AuditKind,
    ) -> RemoveArguments<'a> {
        RemoveArguments {
            agent_id: id,
            incarnation: record.map(|record| record.incarnation.to_string()).unwrap_or_default(),
            reason,
            by: "",
            format: self.wire.as_str(),
            entry,
            event: EventKind::CleanupCompleted.as_str(),
            task_prefix: self.keys().task_prefix(id),
            has_sprint: record.is_some_and(|record| record.sprint.is_some()),
            has_parent: record
                .is_some_and(|record| record.parent.as_deref().is_some_and(KeySchema::is_exact)),
            epic: coordinated(record).map(ToString::to_string),
            children_told: false,
            memberships: 0,
            log_length: LOG_LENGTH,
            process: ProcessFate::Unknown,
            cost: Cost::Nothing.as_str(),
            plain: false,
            force: false,
            token: None,
            judged: None,
            judged_expiry: None,
        }
    }

    /// Reads a registration. `None` when there is none, or none of ours.
    pub async fn record(&self, id: &str) -> Result<Option<AgentRecord>, StoreError> {
        match self.client.hgetall::<Value, _>(self.keys().state(id)).await {
            Ok(value) => Ok(AgentRecord::from_fields(&crate::reply::fields(value))),
            Err(error) if is_wrong_type(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes that a coordinator was lost, and orders its children to stop. The order is given only to children that
    /// are still this coordinator's: a child that another one has adopted goes on.
    async fn tell_children(
        &self,
        id: &str,
        record: Option<&AgentRecord>,
        children: &[String],
    ) -> Result<(), StoreError> {
        for child in children {
            let theirs = self.record(child).await?;
            if let Some(theirs) = theirs.filter(|theirs| theirs.parent.as_deref() == Some(id)) {
                self.order(child, Some(theirs.incarnation), Order::Terminate, StopCause::CoordinatorLost)
                    .await?;
            }
        }
        if record.is_some_and(|record| record.role == Role::Coordinator) || !children.is_empty() {
            let lost = Payload::CoordinatorLost { count: Some(children.len() as u64) };
            self.announce(id, record.map(|record| record.incarnation), lost).await?;
        }
        Ok(())
    }

    /// The same for a parent that is already gone. Nobody repeats this later, so a child that cannot be told now is
    /// never told.
    async fn tell_orphaned(&self, id: &str, children: &[String]) {
        if children.is_empty() {
            return;
        }
        if let Err(error) = self.tell_children(id, None, children).await {
            tracing::warn!(agent = ?id, %error, "its children were not all told that it is gone; stop them by hand");
        }
    }

    /// Its children by its own list. Where another type stands under the list's name, the children's records tell.
    async fn children_to_tell(&self, id: &str) -> Result<Vec<String>, StoreError> {
        match self.client.smembers(self.keys().children(id)).await {
            Ok(children) => Ok(children),
            Err(error) if is_wrong_type(&error) => {
                let is_child = |record: &AgentRecord| record.parent.as_deref() == Some(id);
                let fleet = self.fleet().await?.into_iter();
                Ok(fleet
                    .filter(|view| view.record.as_ref().is_some_and(is_child))
                    .map(|view| view.id)
                    .collect())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The epic that this life coordinates.
fn coordinated(record: Option<&AgentRecord>) -> Option<&EpicId> {
    record.filter(|record| record.role == Role::Coordinator)?.epic.as_ref()
}

/// The keys that both scripts name. A membership key that does not apply is filled with the agent's own record.
macro_rules! named_keys {
    ($script:ident, $keys:expr, $id:expr, $record:expr) => {{
        let (keys, id, record): (&KeySchema, &str, Option<&AgentRecord>) = ($keys, $id, $record);
        let own = || keys.state(id);
        let sprint = record.and_then(|record| record.sprint.as_ref());
        let parent = record.and_then(|record| record.parent.as_deref());
        let parent = parent.filter(|parent| KeySchema::is_exact(parent));
        $script {
            active: keys.active(),
            leases: keys.leases(),
            state: own(),
            heartbeat: keys.heartbeat(id),
            memory: keys.memory(id),
            deps: keys.deps(id),
            children: keys.children(id),
            keys: keys.keys(id),
            things: keys.things(id),
            command: keys.command(id),
            lock: keys.cleanup_lock(id),
            stats: keys.memory_stats(),
            log: keys.log(),
            sprint_state: sprint.map_or_else(own, |sprint| keys.sprint_state(sprint)),
            requeue: sprint.map_or_else(own, |sprint| keys.sprint_requeue(sprint)),
            sprint_agents: sprint.map_or_else(own, |sprint| keys.sprint_agents(sprint)),
            parent_children: parent.map_or_else(own, |parent| keys.children(parent)),
            epic_state: coordinated(record).map_or_else(own, |epic| keys.epic_state(epic)),
            waiting: keys.epics_waiting(),
        }
    }};
}

/// The script that decides whether the removal may happen.
#[derive(Debug, Clone, Copy)]
enum Script {
    Release,
    Reap,
}

struct Removal<'a> {
    store: &'a Store,
    script: Script,
    judged: Value,
    extra: &'a [String],
}

impl Removal<'_> {
    async fn run(
        &self,
        mut args: RemoveArguments<'_>,
        record: Option<&AgentRecord>,
    ) -> Result<ReapOutcome, StoreError> {
        let id = args.agent_id;
        let is_list = |key: &&String| is_list_of_agents(self.store.keys(), key);
        let lists: Vec<String> = self.extra.iter().filter(is_list).cloned().collect();
        args.memberships = lists.len();
        // An agent whose record was overwritten may have children all the same. They are told once it is certainly
        // gone.
        let orphaned = match record {
            Some(_) => Vec::new(),
            None => self.store.children_to_tell(id).await?,
        };
        // A plain agent keeps no list of keys, so all that was found goes in one call.
        let mut progressed = true;
        while progressed {
            let owned = self.owned(id, record).await?;
            let further: Vec<String> = owned.into_iter().chain(lists.iter().cloned()).collect();
            let call = vec![arguments(&args)?, self.judged.clone()];
            let mut reply = Reply::read(self.evaluate(id, record, further, call).await?)?;
            match reply.word() {
                "removed" => {
                    self.store.tell_orphaned(id, &orphaned).await;
                    if record.is_none() {
                        self.store.let_wait_for_another(id).await?;
                    }
                    let removed = Removed { keys_deleted: reply.number()?, tasks_requeued: reply.number()? };
                    return Ok(ReapOutcome::Reaped(removed));
                }
                "refuted" => return Ok(ReapOutcome::Refuted),
                "gone" | "fenced" => return Ok(ReapOutcome::AlreadyGone),
                "more" => {
                    if let (Some(record), false) = (record, args.children_told) {
                        let children = self.store.children_to_tell(id).await?;
                        self.store.tell_children(id, Some(record), &children).await?;
                        args.children_told = true;
                    }
                }
                _ => return Err(reply.unexpected()),
            }
            progressed = record.is_some();
        }
        Err(StoreError::Unexpected(format!("removing {id} did not come to an end; the next pass goes on")))
    }

    async fn evaluate(
        &self,
        id: &str,
        record: Option<&AgentRecord>,
        further: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, StoreError> {
        let keys = self.store.keys();
        match self.script {
            Script::Release => self.store.run_on(named_keys!(Release, keys, id, record), further, args).await,
            Script::Reap => self.store.run_on(named_keys!(ReapDead, keys, id, record), further, args).await,
        }
    }

    /// A part of the keys that it owns. Removed keys are off the list, so the next call gives others.
    async fn owned(&self, id: &str, record: Option<&AgentRecord>) -> Result<Vec<String>, StoreError> {
        if record.is_none() {
            let further = self.store.owned_keys(id).await?;
            let own = self.extra.iter().filter(|key| !is_list_of_agents(self.store.keys(), key));
            let mut owned: Vec<String> = own.cloned().chain(further).collect();
            owned.sort_unstable();
            owned.dedup();
            return Ok(owned);
        }
        // SSCAN would do for huge sets, but SRANDMEMBER gives a bounded part in one call.
        match self.store.client.srandmember(self.store.keys().keys(id), Some(CHUNK)).await {
            Ok(owned) => Ok(owned),
            Err(error) if is_wrong_type(&error) => self.store.owned_by_name(id).await,
            Err(error) => Err(error.into()),
        }
    }
}
