//! Residue: keys whose owner does not live.
//!
//! Every key of the product names its owner ([`KeySchema::parse`]). A store is clean if each of these owners lives, or
//! is kept for somebody:
//!
//! ```text
//!   agent:…:<id>  ──▶ <id> in agents:active / agents:leases, its lease running
//!   sprint:…:<s>  ──▶ sprint:state:<s> ──▶ its epic
//!   epic:…:<e>    ──▶ epic:state:<e>: running ──▶ its coordinator, in the same incarnation
//!                                     waiting ──▶ until when it is kept
//! ```
//!
//! A key whose owner's lease is over and who was not cleaned up yet is reported as [`Why::Orphan`]: the next pass
//! removes it. A key that holds another type than the product keeps under its name is somebody else's doing
//! ([`Why::WrongType`]). While it stands there, nothing is concluded from the records it hides. The opposite direction
//! is checked as well: index entries and members of sets that lead to no agent. An index entry without an agent keeps a
//! sprint from ending.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::agent::liveness::{SignsOfLife, Standing};
use crate::wire::epic_record::{EpicRecord, EpicStatus};
use crate::wire::ids::{EpicId, SprintId};
use crate::wire::keys::{KeyOwner, KeySchema, KeyType};
use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

word_enum! {
    /// Why a key or an entry counts as left behind.
    Why, "kind of residue" {
        /// Its owner is in no index.
        NoOwner = "no_owner",
        /// Its owner is dead and waits for cleanup.
        Orphan = "orphan",
        /// A member of `agents:active` that has neither a lease nor a heartbeat.
        NoLease = "no_lease",
        /// A lease whose agent is no member of `agents:active`.
        NotActive = "not_active",
        /// A cleanup lock without an expiry, which would stay for ever.
        NoExpiry = "no_expiry",
        /// A set's owner lives, but this member of it leads to no agent.
        Dangling = "dangling",
        /// It holds another type than the product keeps under its name.
        WrongType = "wrong_type",
    }
}

/// One reading of a whole store, as `verify` collects it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// When it was read.
    pub now: ServerTime,
    /// The product's keys, by name.
    pub keys: Vec<String>,
    /// The type that a key holds, of those keys that hold another than [`KeySchema::holds`] wants.
    pub mistyped: HashMap<String, KeyType>,
    /// Every id in either index, with what is known of its life.
    pub agents: BTreeMap<String, SignsOfLife>,
    /// The epics of those sprints that have a readable state.
    pub sprints: HashMap<String, String>,
    /// The epics that have a readable record.
    pub epics: HashMap<String, EpicRecord>,
    /// The members of `agent:children`, `sprint:agents` and `epic:sprints` sets, by key.
    pub members: HashMap<String, Vec<String>>,
    /// Keys outside the schema that agents declared as their own (`agent:keys:<id>`) and that exist, by agent.
    pub claimed: HashMap<String, Vec<String>>,
    /// Cleanup locks that have an expiry: their cleanup is in progress.
    pub expiring_locks: HashSet<String>,
}

/// A key, or a member of one, that is left behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Residue {
    /// The key.
    pub key: String,
    /// The member at fault, where the key itself is in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Whose it is, or was: `agent coder-1`.
    pub owner: String,
    /// Why it counts as left behind.
    pub why: Why,
    /// The same in words for people.
    pub detail: String,
}

impl Residue {
    /// The identity of a finding, by which findings of two readings are matched.
    fn subject(&self) -> (&str, Option<&str>, &str) {
        (&self.key, self.member.as_deref(), &self.owner)
    }
}

/// Keeps only those findings of the second reading that the first one had too.
pub fn confirm(first: &[Residue], again: &mut Vec<Residue>) {
    let known: HashSet<_> = first.iter().map(Residue::subject).collect();
    again.retain(|finding| known.contains(&finding.subject()));
}

/// Everything that is left behind, sorted by key.
#[must_use]
pub fn find(keys: &KeySchema, seen: &Inventory) -> Vec<Residue> {
    let inspector = Inspector { keys, seen };
    let mut found: Vec<Residue> = seen.keys.iter().filter_map(|key| inspector.key(key)).collect();
    found.extend(seen.agents.iter().filter_map(|(id, known)| inspector.entry(id, known)));
    found.extend(seen.members.iter().flat_map(|(key, members)| inspector.dangling(key, members)));
    found.extend(seen.claimed.iter().flat_map(|(id, claimed)| inspector.claimed(id, claimed)));
    found.sort();
    found.dedup();
    found
}

/// The epics that run by their record and whose coordinator is not registered in the life that has them.
pub fn without_coordinator(seen: &Inventory) -> impl Iterator<Item = (&str, &EpicRecord)> {
    let is_there = |record: &EpicRecord| {
        let known = seen.agents.get(&record.coordinator);
        known.is_some_and(|known| known.incarnation == record.incarnation)
    };
    let running = seen.epics.iter().filter(|(_, record)| record.status == EpicStatus::Running);
    running.filter(move |(_, record)| !is_there(record)).map(|(epic, record)| (epic.as_str(), record))
}

type Complaint = Option<(Why, String)>;

struct Inspector<'a> {
    keys: &'a KeySchema,
    seen: &'a Inventory,
}

impl Inspector<'_> {
    fn key(&self, key: &str) -> Option<Residue> {
        let owner = self.keys.parse(key)?;
        let verdict = match owner {
            // A lock of another type is no lock that expires, either.
            KeyOwner::Agent(id) if key == self.keys.cleanup_lock(id) => {
                self.wrong_type(key).or_else(|| self.lock(key))
            }
            owner => self.owner(owner).or_else(|| self.wrong_type(key)),
        };
        let (why, detail) = verdict?;
        Some(residue(key, None, owner, why, detail))
    }

    /// Complains if the key's owner does not live; `None` if it does.
    fn owner(&self, owner: KeyOwner<'_>) -> Complaint {
        match owner {
            KeyOwner::Fleet => None,
            KeyOwner::Agent(id) => self.agent(id),
            KeyOwner::Sprint(sprint) => self.sprint(sprint),
            KeyOwner::Epic(epic) => self.epic(epic),
        }
    }

    fn wrong_type(&self, key: &str) -> Complaint {
        let (holds, wanted) = (self.seen.mistyped.get(key)?, self.keys.holds(key)?);
        // An agent without a record speaks the plain protocol, whose keys may be of any type.
        if let Some(owner) = self.keys.plain_owner(key)
            && self.seen.agents.get(owner).is_some_and(|known| known.incarnation.is_none())
        {
            return None;
        }
        let (holds, wanted) = (holds.in_words(), wanted.in_words());
        Some((Why::WrongType, format!("it holds {holds}, not {wanted}: rename or delete it")))
    }

    fn is_mistyped(&self, key: &str) -> bool {
        self.seen.mistyped.contains_key(key)
    }

    fn agent(&self, id: &str) -> Complaint {
        // Without a readable index of leases it cannot be told who lives.
        if self.is_mistyped(&self.keys.leases()) {
            return None;
        }
        let Some(known) = self.seen.agents.get(id) else {
            return Some((Why::NoOwner, "no such agent is in any index".into()));
        };
        match known.standing(self.seen.now) {
            Standing::Alive { .. } => None,
            Standing::Over { since } => {
                let over = Duration::from_secs(self.seen.now.since(since).as_secs());
                let over = humantime::format_duration(over);
                Some((Why::Orphan, format!("its lease is over by {over}; it waits for cleanup")))
            }
            Standing::Ended(why) => Some((Why::Orphan, format!("it ended ({why}) and waits for cleanup"))),
            Standing::Silent => Some((Why::NoLease, "it has neither a lease nor a heartbeat".into())),
        }
    }

    fn sprint(&self, sprint: &str) -> Complaint {
        let Some(epic) = self.seen.sprints.get(sprint) else {
            if SprintId::new(sprint).is_ok_and(|id| self.is_mistyped(&self.keys.sprint_state(&id))) {
                return None;
            }
            return Some((Why::NoOwner, "the sprint has no state that names an epic".into()));
        };
        self.epic(epic).map(|(why, detail)| (why, format!("its epic {epic}: {detail}")))
    }

    fn epic(&self, epic: &str) -> Complaint {
        let Some(record) = self.seen.epics.get(epic) else {
            if EpicId::new(epic).is_ok_and(|id| self.is_mistyped(&self.keys.epic_state(&id))) {
                return None;
            }
            return Some((Why::NoOwner, "there is no record of it".into()));
        };
        match record.status {
            EpicStatus::Waiting => {
                let is_over = record.kept_until.is_some_and(|until| until <= self.seen.now);
                is_over.then(|| (Why::Orphan, "nobody went on with it in time; it waits for cleanup".into()))
            }
            EpicStatus::Running => self.coordinated(record),
        }
    }

    /// Complains if the coordinator that has the epic does not live.
    fn coordinated(&self, record: &EpicRecord) -> Complaint {
        let coordinator = &record.coordinator;
        if let Some((_, detail)) = self.agent(coordinator) {
            return Some((Why::Orphan, format!("its coordinator {coordinator}: {detail}")));
        }
        if self.is_mistyped(&self.keys.state(coordinator)) {
            return None;
        }
        let lives = self.seen.agents.get(coordinator).and_then(|known| known.incarnation);
        (lives != record.incarnation).then(|| {
            (Why::Orphan, format!("its coordinator {coordinator} lives, but in another incarnation"))
        })
    }

    fn lock(&self, key: &str) -> Complaint {
        let expires = self.seen.expiring_locks.contains(key);
        (!expires).then(|| (Why::NoExpiry, "a cleanup lock must expire, and this one never does".into()))
    }

    /// Complains about an id's place in the indexes, if that is all that is wrong.
    fn entry(&self, id: &str, known: &SignsOfLife) -> Option<Residue> {
        let index = if known.active { self.keys.active() } else { self.keys.leases() };
        let verdict = self.agent(id).or_else(|| {
            (!known.active && !self.is_mistyped(&self.keys.active()))
                .then(|| (Why::NotActive, "it has a lease but is no member of agents:active".into()))
        });
        verdict.map(|(why, detail)| residue(&index, Some(id), KeyOwner::Agent(id), why, detail))
    }

    /// The members that lead to no agent. Where the owner of the whole set is gone, the set itself is reported instead.
    fn dangling(&self, key: &str, members: &[String]) -> Vec<Residue> {
        let Some(owner) = self.keys.parse(key).filter(|owner| self.owner(*owner).is_none()) else {
            return Vec::new();
        };
        let detail = |member: &str| match owner {
            // The epic lives, and its sprints with it.
            KeyOwner::Epic(_) => self.sprint(member).map(|(_, detail)| detail),
            _ if self.seen.agents.contains_key(member) => None,
            _ if self.is_mistyped(&self.keys.leases()) || self.is_mistyped(&self.keys.active()) => None,
            _ => Some("its member is in no index of agents".into()),
        };
        let found = members.iter().filter_map(|member| Some((member, detail(member)?)));
        found.map(|(member, detail)| residue(key, Some(member), owner, Why::Dangling, detail)).collect()
    }

    /// Declared keys of an agent that is gone. Keys of the product's own schema are judged by their names instead.
    fn claimed(&self, id: &str, claimed: &[String]) -> Vec<Residue> {
        let Some((why, detail)) = self.agent(id) else { return Vec::new() };
        let foreign = claimed.iter().filter(|key| self.keys.may_own(key));
        foreign.map(|key| residue(key, None, KeyOwner::Agent(id), why, detail.clone())).collect()
    }
}

fn residue(key: &str, member: Option<&str>, owner: KeyOwner<'_>, why: Why, detail: String) -> Residue {
    Residue { key: key.into(), member: member.map(Into::into), owner: owner.to_string(), why, detail }
}

#[cfg(test)]
mod tests;
