//! An agent's writes about itself: register, beat, own keys, depend on something. Each is fenced by its incarnation.

use std::collections::BTreeMap;
use std::str::FromStr;

use fred::types::Value;
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::record::{AgentState, Heartbeat, Order, Registration};
use lifecycle_core::wire::time::{ServerTime, millis};
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::{Fenced, Life, fenced};
use crate::reply::{Reply, argument};
use crate::roles::AgentStore;
use crate::scripts::{Beat, Declare, Register};
use crate::store::{Store, arguments};

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The new life has begun.
    Ok(Life),
    /// A living agent has the id.
    Held {
        /// That agent's life; `None` for an agent on the plain protocol.
        incarnation: Option<Incarnation>,
        /// The host that it runs on.
        host: String,
        /// Its pid there.
        pid: String,
        /// How long its lease still runs, in ms.
        lease_left_ms: u64,
    },
    /// An earlier life was not cleaned up yet: reap it, then try again.
    Expired(Option<Incarnation>),
    /// The life to be taken up again was reaped or replaced.
    Fenced,
    /// The parent is not registered.
    NoParent,
    /// The sprint has not started, or is over.
    NoSprint,
}

/// The answer to a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeatReply {
    /// When the store had it.
    pub now: ServerTime,
    /// The order that the agent has to follow, with its reason.
    pub order: Option<(Order, String)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegisterArguments<'a> {
    agent_id: &'a AgentId,
    format: &'static str,
    lease_ms: u64,
    generation: String,
    fields: BTreeMap<&'static str, String>,
    has_parent: bool,
    has_sprint: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<Again<'a>>,
}

#[derive(Serialize)]
struct Again<'a> {
    incarnation: Incarnation,
    generation: &'a str,
}

impl AgentStore {
    /// One beat: renews the lease and learns of orders.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer. The beat may still be written later; it is fenced then like any
    /// other.
    pub async fn beat(
        &self,
        lease_ms: u64,
        beat: &Heartbeat,
        state: AgentState,
    ) -> Result<Fenced<BeatReply>, StoreError> {
        let (keys, id, settings) = (self.store.keys(), self.life.id.as_str(), self.store.settings());
        let names = Beat {
            leases: keys.leases(),
            heartbeat: keys.heartbeat(id),
            command: keys.command(id),
            memory: keys.memory(id),
        };
        let mut args: Vec<Value> = vec![
            id.into(),
            argument(lease_ms),
            argument(settings.heartbeat.ttl.as_secs().max(1)),
            argument(settings.memory.ttl.as_secs().max(1)),
            Value::Bytes(self.store.wire.encode(beat)?.into()),
            state.as_str().into(),
            beat.progress.as_deref().unwrap_or_default().into(),
            self.store.wire.as_str().into(),
            if settings.heartbeat.publish { "1" } else { "0" }.into(),
        ];
        if let Some(memory) = beat.memory_usage {
            // An absent figure is written too, because the one of an earlier beat must not stay.
            let written = |bytes: Option<u64>| bytes.map_or_else(|| "".into(), argument);
            let figures = MemoryUsage::FIELDS.into_iter().zip(memory.figures());
            args.extend(figures.flat_map(|(name, bytes)| [name.into(), written(bytes)]));
        }
        let mut reply = self.store.run_fenced(&self.life, names, args).await?;
        fenced(&reply)?.try_map(|| Ok(BeatReply { now: reply.time()?, order: parse_order(&reply.text()) }))
    }

    /// Declares further keys as the agent's own, so that they go when it goes. The keys need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when a name is one of the product's own keys: then nothing is declared. Any other
    /// [`StoreError`] may leave some declared; declaring them again is harmless.
    pub async fn own_keys(&self, names: &[String]) -> Result<Fenced<()>, StoreError> {
        if let Some(name) = names.iter().find(|name| !self.store.keys().may_own(name)) {
            return Err(StoreError::Invalid(format!(
                "{name:?} is empty or one of the product's own keys, so no agent can claim it; nothing was claimed"
            )));
        }
        self.declare(self.store.keys().keys(self.life.id.as_str()), names).await
    }

    /// Records what the agent depends on, in `agent:deps:<id>`.
    pub async fn depend_on(&self, names: &[String]) -> Result<Fenced<()>, StoreError> {
        self.declare(self.store.keys().deps(self.life.id.as_str()), names).await
    }

    async fn declare(&self, key: String, names: &[String]) -> Result<Fenced<()>, StoreError> {
        // Lua's unpack() fails for more than some thousand values.
        for chunk in names.chunks(1_000) {
            let args = chunk.iter().map(|name| Value::from(name.as_str())).collect();
            match fenced(&self.store.run_fenced(&self.life, Declare { names: key.clone() }, args).await?)? {
                Fenced::Ok(()) => {}
                other => return Ok(other),
            }
        }
        Ok(Fenced::Ok(()))
    }
}

impl Store {
    /// Begins a life, or takes `again` up in a store that lost its memory.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; then it is not known whether the life began.
    pub(crate) async fn register(
        &self,
        registration: &Registration,
        state: AgentState,
        again: Option<&Life>,
    ) -> Result<Registered, StoreError> {
        let keys = self.keys();
        let own = keys.state(registration.id.as_str());
        let (parent, sprint) = (registration.parent.as_ref(), registration.sprint.as_ref());
        let names = Register {
            active: keys.active(),
            leases: keys.leases(),
            state: own.clone(),
            generation: keys.generation(),
            stats: keys.memory_stats(),
            // A key that does not apply is filled with the agent's own record.
            parent_state: parent.map_or_else(|| own.clone(), |id| keys.state(id.as_str())),
            parent_children: parent.map_or_else(|| own.clone(), |id| keys.children(id.as_str())),
            sprint_state: sprint.map_or_else(|| own.clone(), |id| keys.sprint_state(id)),
            sprint_agents: sprint.map_or_else(|| own.clone(), |id| keys.sprint_agents(id)),
        };
        let args = arguments(&RegisterArguments {
            agent_id: &registration.id,
            format: self.wire.as_str(),
            lease_ms: millis(registration.lease),
            generation: format!("{:032x}", rand::random::<u128>()),
            fields: fields(registration, state),
            has_parent: parent.is_some(),
            has_sprint: sprint.is_some(),
            again: again.map(|life| Again { incarnation: life.incarnation, generation: &life.generation }),
        })?;
        let reply = Reply::read(self.run(names, vec![args]).await?)?;
        read_registered(&registration.id, reply)
    }
}

/// Reads a stored order such as `drain`, or `terminate coordinator_lost`.
pub(crate) fn parse_order(value: &str) -> Option<(Order, String)> {
    let (order, why) = value.split_once(' ').unwrap_or((value, ""));
    Some((Order::from_str(order).ok()?, why.to_string()))
}

fn fields(registration: &Registration, state: AgentState) -> BTreeMap<&'static str, String> {
    let mut fields = BTreeMap::from([
        ("role", registration.role.to_string()),
        ("kind", registration.kind.clone()),
        ("host", registration.host.clone()),
        ("pid", registration.pid.to_string()),
        ("state", state.to_string()),
        ("leaseMs", millis(registration.lease).to_string()),
    ]);
    let optional = [
        ("pidStart", registration.pid_start.map(|start| start.to_string())),
        ("place", registration.place.clone()),
        ("containment", registration.containment.map(|layers| layers.to_string())),
        ("parent", registration.parent.as_ref().map(ToString::to_string)),
        ("sprint", registration.sprint.as_ref().map(ToString::to_string)),
        ("pool", registration.pool.as_ref().map(ToString::to_string)),
        ("epic", registration.epic.as_ref().map(ToString::to_string)),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

fn read_registered(id: &AgentId, mut reply: Reply) -> Result<Registered, StoreError> {
    Ok(match reply.word() {
        "ok" => {
            let incarnation = reply.number().map(Incarnation)?;
            Registered::Ok(Life { id: id.clone(), incarnation, generation: reply.text() })
        }
        "held" => {
            let incarnation = reply.text().parse().ok();
            let (host, pid) = (reply.text(), reply.text());
            let (end, now) = (reply.time()?, reply.time()?);
            Registered::Held { incarnation, host, pid, lease_left_ms: now.ms_until(end) }
        }
        "expired" => Registered::Expired(reply.text().parse().ok()),
        "fenced" => Registered::Fenced,
        "no_parent" => Registered::NoParent,
        "no_sprint" => Registered::NoSprint,
        _ => return Err(reply.unexpected()),
    })
}
