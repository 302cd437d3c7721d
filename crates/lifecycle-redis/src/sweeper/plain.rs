//! Agents that have no lease: those on the plain protocol, and registered ones that an index has lost.
//!
//! A plain agent does `SADD agents:active` and `SETEX agent:heartbeat:<id>`, and nothing else. A sweeper makes a lease
//! of its heartbeat, and from then on finds it like any other agent. A plain agent keeps no list of its keys, so what
//! it leaves behind is found by one SCAN, and names are compared exactly.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::interfaces::{ClientLike, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::types::scan::ScanType;
use fred::types::{Key, Value};
use futures_util::StreamExt as _;
use futures_util::stream::TryStreamExt as _;
use lifecycle_core::agent::plain_lease::{FirstLook, PlainBeat, PlainLease, PlainRule, plain_lease};
use lifecycle_core::sweep::observation::{JudgedBeat, Suspect};
use lifecycle_core::wire::codec::{self, MAX_DECODED_LEN};
use lifecycle_core::wire::keys::{KeyOwner, KeySchema};
use lifecycle_core::wire::record::Heartbeat;
use lifecycle_core::wire::time::{ServerTime, millis};

use crate::error::{StoreError, is_wrong_type};
use crate::owned_by_name::is_list_of_agents;
use crate::pipeline::{IN_FLIGHT, PIPELINED, value};
use crate::reply::{self, argument, number, time};
use crate::roles::{OperatorStore, SweeperStore};
use crate::scripts::{Adopt, Forget, Restore};
use crate::store::Store;

/// Where the two indexes, `agents:active` and `agents:leases`, disagree.
#[derive(Debug, Clone, Default)]
pub struct Differences {
    /// Agents that are listed without a lease (or, if registered, the other way round), judged by their heartbeat now.
    pub unleased: Vec<Suspect>,
    /// Plain agents that left and still have a lease.
    pub left: Vec<Suspect>,
    /// Ids from which no key name can be built without meaning another agent's key. They can only be reported.
    pub unusable: Vec<String>,
}

impl SweeperStore {
    /// Compares the two indexes. Reads only.
    pub async fn compare_indexes(&self, now: ServerTime) -> Result<Differences, StoreError> {
        let (active, leases) = (self.store.keys().active(), self.store.keys().leases());
        let members: Value = self.store.of_key(&active, self.store.client.smembers(&active).await).await?;
        let members: HashSet<String> = members.into_array().iter().map(reply::text).collect();
        let leased = self.store.client.zrange(&leases, 0, -1, None, false, None, false).await;
        let leases: Value = self.store.of_key(&leases, leased).await?;
        let leases: HashSet<String> = leases.into_array().iter().map(reply::text).collect();
        let differing = members.symmetric_difference(&leases).cloned();
        let (usable, unusable): (Vec<String>, Vec<String>) = differing.partition(|id| is_usable(id));
        let usable: Vec<(String, ServerTime)> = usable.into_iter().map(|id| (id, now)).collect();
        let suspects = self.store.suspects(&usable, now).await?;
        let (left, others): (Vec<Suspect>, Vec<Suspect>) = suspects.into_iter().partition(Suspect::has_left);
        // An agent that has a lease, is not listed and beats is about to list itself.
        let unleased =
            others.into_iter().filter(|suspect| suspect.listed || suspect.plain.is_none()).collect();
        Ok(Differences { unleased, left, unusable })
    }

    /// Removes the lease of a plain agent that left, and the keys it left behind (as [`Store::left_behind`]
    /// found them). Returns how many keys; `None` if the agent is back.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Doing it again is harmless.
    pub async fn forget(&self, id: &str, left_behind: &[String]) -> Result<Option<u64>, StoreError> {
        let keys = self.store.keys();
        let names = Forget {
            active: keys.active(),
            leases: keys.leases(),
            state: keys.state(id),
            heartbeat: keys.heartbeat(id),
            memory: keys.memory(id),
            stats: keys.memory_stats(),
        };
        // A set that lists the agent belongs to its own owner.
        let own = left_behind.iter().filter(|key| !is_list_of_agents(keys, key));
        Ok(number(&self.store.run_on(names, own.cloned(), vec![id.into()]).await?))
    }

    /// Registered agents that have a record and no lease, whichever index lost them. Reads the name of every key in the
    /// store.
    pub async fn unlisted(&self, now: ServerTime) -> Result<Vec<Suspect>, StoreError> {
        let mut ids = Vec::new();
        self.store
            .scan_keys(|key| {
                if let Some(KeyOwner::Agent(id)) = self.store.keys().parse(key)
                    && is_usable(id)
                    && key == self.store.keys().state(id)
                {
                    ids.push(id.to_string());
                }
            })
            .await?;
        let without = self.without_lease(&ids, now).await?;
        let mut suspects = self.store.suspects(&without, now).await?;
        suspects.retain(|suspect| suspect.record.is_some());
        Ok(suspects)
    }

    async fn without_lease(
        &self,
        ids: &[String],
        now: ServerTime,
    ) -> Result<Vec<(String, ServerTime)>, StoreError> {
        let mut without = Vec::new();
        for chunk in ids.chunks(PIPELINED) {
            let mut args: Vec<Value> = vec![self.store.keys().leases().into()];
            args.extend(chunk.iter().map(|id| Value::from(id.as_str())));
            let scores: Value = self.store.client.custom(fred::cmd!("ZMSCORE"), args).await?;
            let missing = chunk.iter().zip(scores.into_array()).filter(|(_, score)| score.is_null());
            without.extend(missing.map(|(id, _)| (id.clone(), now)));
        }
        Ok(without)
    }

    /// Gives leases to agents that have none: the lease of its heartbeat to a plain agent, a whole lease to a
    /// registered one. Returns how many were given.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Some may be given already; doing it again is harmless.
    pub async fn adopt(&self, suspects: &[Suspect]) -> Result<u64, StoreError> {
        let adopted: Vec<bool> = futures_util::stream::iter(suspects)
            .map(|suspect| async move {
                match suspect.plain {
                    Some(lease) => self.set_lease(&suspect.id, lease, None).await,
                    None => self.restore(&suspect.id).await,
                }
            })
            .buffered(IN_FLIGHT)
            .try_collect()
            .await?;
        Ok(adopted.into_iter().filter(|&took_effect| took_effect).count() as u64)
    }

    /// Renews a plain agent's lease by its heartbeat. `judged_end` is the lease by which it was found. `false` if it
    /// has changed.
    pub async fn renew_plain(&self, suspect: &Suspect, judged_end: ServerTime) -> Result<bool, StoreError> {
        match suspect.plain {
            Some(lease) => self.set_lease(&suspect.id, lease, Some(judged_end)).await,
            None => Ok(false),
        }
    }

    async fn set_lease(
        &self,
        id: &str,
        lease: PlainLease,
        judged: Option<ServerTime>,
    ) -> Result<bool, StoreError> {
        let keys = self.store.keys();
        let names = Adopt {
            active: keys.active(),
            leases: keys.leases(),
            state: keys.state(id),
            first_look: keys.first_look(id),
        };
        let threshold = self.store.settings().sweep.orphan_threshold;
        let look = lease.first_look.map(|look| (look.to_string(), look.kept_until(threshold)));
        let (look, kept_until) = look.unwrap_or_default();
        let args = vec![
            id.into(),
            argument(lease.end.as_ms()),
            judged.map_or_else(|| Value::from(""), |judged| argument(judged.as_ms())),
            look.into(),
            argument(kept_until.as_ms()),
            argument(millis(threshold)),
        ];
        Ok(number(&self.store.run(names, args).await?) == Some(1))
    }

    async fn restore(&self, id: &str) -> Result<bool, StoreError> {
        let keys = self.store.keys();
        let names = Restore { active: keys.active(), leases: keys.leases(), state: keys.state(id) };
        Ok(number(&self.store.run(names, vec![id.into()]).await?) == Some(1))
    }
}

impl OperatorStore {
    /// Removes an id that cannot stand in a key name from both indexes, and touches nothing else: keys that seem to be
    /// its own may be another agent's. If the id had bytes that are no text and were replaced, every entry that reads
    /// the same is removed. Returns how many entries were; none for a usable id.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Half of it may be done; doing it again is harmless.
    pub async fn unlist(&self, id: &str) -> Result<u64, StoreError> {
        if is_usable(id) {
            return Ok(0);
        }
        let names = if id.contains('\u{fffd}') { self.reading_like(id).await? } else { vec![id.into()] };
        if names.is_empty() {
            return Ok(0);
        }
        let listed: u64 = self.store.client.srem(self.keys().active(), names.clone()).await?;
        let leased: u64 = self.store.client.zrem(self.keys().leases(), names).await?;
        Ok(listed + leased)
    }

    /// The entries of both indexes, byte for byte, that read like this id.
    async fn reading_like(&self, id: &str) -> Result<Vec<Value>, StoreError> {
        let members: Value = self.store.client.smembers(self.keys().active()).await?;
        let leases: Value =
            self.store.client.zrange(self.keys().leases(), 0, -1, None, false, None, false).await?;
        let entries = members.into_array().into_iter().chain(leases.into_array());
        Ok(entries.filter(|entry| reply::text(entry) == id).collect())
    }
}

impl Store {
    /// The settings by which plain beats are judged.
    pub(crate) fn plain_rule(&self) -> PlainRule {
        let settings = self.settings();
        PlainRule { threshold: settings.sweep.orphan_threshold, lifetime: settings.heartbeat.ttl }
    }

    /// Adds the lease that its heartbeat, of this length, stands for to a suspect on the plain protocol.
    pub(crate) async fn read_beat_of(
        &self,
        mut suspect: Suspect,
        length: u64,
        now: ServerTime,
    ) -> Result<Suspect, StoreError> {
        if suspect.record.is_some() {
            return Ok(suspect);
        }
        let (beat, judged) = self.plain_beat(&suspect.id, length).await?;
        let mut lease = plain_lease(&beat, None, now, self.plain_rule());
        if lease.first_look.is_some() {
            let earlier = self.first_look(&suspect.id).await?;
            lease = plain_lease(&beat, earlier, now, self.plain_rule());
        }
        suspect.last_seen = lease.last_seen;
        // Without a heartbeat nothing is known but when its absence was found.
        if beat != PlainBeat::Missing {
            suspect.lease_end = lease.end.min(now);
        }
        (suspect.plain, suspect.beat) = (Some(lease), judged);
        Ok(suspect)
    }

    /// The remembered first look at the heartbeat.
    async fn first_look(&self, id: &str) -> Result<Option<FirstLook>, StoreError> {
        let found = value(&self.client.get::<Value, _>(self.keys().first_look(id)).await)?;
        Ok(found.and_then(|look| look.as_string()).and_then(|look| look.parse().ok()))
    }

    async fn plain_beat(&self, id: &str, length: u64) -> Result<(PlainBeat, JudgedBeat), StoreError> {
        let key = self.keys().heartbeat(id);
        if length == 0 {
            return Ok((PlainBeat::Missing, JudgedBeat::Missing));
        }
        // Read before the beat. A beat that arrives in between has a new timestamp and an old expiry: that is doubt,
        // and no proof of death.
        let expires_at = time(&self.client.pexpire_time::<Value, _>(key.as_str()).await?);
        let raw = if length > MAX_DECODED_LEN as u64 {
            JudgedBeat::Length(length)
        } else {
            match self.client.get::<Value, _>(key.as_str()).await {
                Ok(value) => value
                    .into_owned_bytes()
                    .map_or(JudgedBeat::Missing, |bytes| JudgedBeat::Bytes { bytes, expires_at }),
                Err(error) if is_wrong_type(&error) => JudgedBeat::Missing,
                Err(error) => return Err(error.into()),
            }
        };
        if let JudgedBeat::Bytes { bytes, .. } = &raw
            && let Ok(beat) = codec::decode::<Heartbeat>(bytes)
            && beat.timestamp.is_some()
        {
            return Ok((PlainBeat::Read { beat: Box::new(beat), expires_at }, raw));
        }
        let left: i64 = self.client.pttl(key.as_str()).await?;
        tracing::debug!(agent = ?id, bytes = length, "a heartbeat cannot be read; it counts until its key expires");
        Ok((PlainBeat::Unreadable { expires_in: u64::try_from(left).ok().map(Duration::from_millis) }, raw))
    }

    /// What these suspects left behind, by agent, as far as it has to be searched for: a registered agent keeps a list of
    /// its keys, an agent on the plain protocol does not.
    pub async fn left_behind_by<'a>(
        &self,
        suspects: impl IntoIterator<Item = &'a Suspect>,
    ) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let plain = suspects.into_iter().filter(|suspect| suspect.record.is_none());
        let ids: Vec<&str> = plain.map(|suspect| suspect.id.as_str()).collect();
        if ids.is_empty() { Ok(HashMap::new()) } else { self.left_behind(&ids).await }
    }

    /// What plain agents left behind, by agent. First, their keys: `agent:task:<id>…` and `agent:deps:<id>…`; every
    /// removal names `agent:state:<id>` anyway. Second, sets of others that still list an agent whose record was
    /// overwritten. One SCAN for all of them; names are compared exactly.
    pub async fn left_behind(&self, ids: &[&str]) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let ids: HashSet<&str> = ids.iter().copied().collect();
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        let mut lists = BTreeSet::new();
        self.scan_keys(|key| {
            if let Some(owner) = self.keys().plain_owner(key)
                && ids.contains(owner)
                && key != self.keys().state(owner)
            {
                found.entry(owner.to_string()).or_default().push(key.to_string());
            } else if is_list_of_agents(self.keys(), key) {
                lists.insert(key.to_string());
            }
        })
        .await?;
        let registered = self.without_readable_record(ids.into_iter()).await?;
        for (id, lists) in self.lists_of(&registered, &lists).await? {
            found.entry(id).or_default().extend(lists);
        }
        // SCAN may return a key twice.
        for keys in found.values_mut() {
            keys.sort_unstable();
            keys.dedup();
        }
        Ok(found)
    }

    /// Calls `see` with every key of the store that could be ours. Does not block the store.
    pub(crate) async fn scan_keys(&self, mut see: impl FnMut(&str)) -> Result<(), StoreError> {
        let mut at = Some(Str::from("0"));
        while let Some(cursor) = at {
            let (page, next) = self.key_page(cursor).await?;
            page.iter().filter_map(|key| key.as_str()).for_each(&mut see);
            at = next;
        }
        Ok(())
    }

    /// The next page of keys that could be ours, and the cursor to go on with (`None` at the end). The first cursor is
    /// "0".
    pub(crate) async fn key_page(&self, cursor: Str) -> Result<(Vec<Key>, Option<Str>), StoreError> {
        let (next, page): (Str, Vec<Key>) =
            self.client.scan_page(cursor, "*", Some(1_000), None::<ScanType>).await?;
        let is_end = &*next == "0";
        Ok((page, (!is_end).then_some(next)))
    }
}

/// Whether an id taken from an index can be used in exact key names.
#[must_use]
pub fn is_usable(id: &str) -> bool {
    KeySchema::is_exact(id) && !id.contains('\u{fffd}')
}
