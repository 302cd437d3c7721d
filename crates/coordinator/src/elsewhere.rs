//! Agents that this coordinator has not started, and of which only their lease tells: those that joined a pool of a sprint,
//! and those of an earlier coordinator on another host.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lifecycle_core::sprint::decide::{Exit, Process};
use lifecycle_core::sprint::plan::AgentPlan;
use lifecycle_core::wire::ids::{AgentId, AgentName, Incarnation};
use lifecycle_core::wire::record::AgentRecord;

use crate::context::{Context, Trouble};
use crate::sprint::{Slot, Sprint};

impl Sprint {
    /// Takes in agents that have joined, and forgets those that have left.
    pub(crate) async fn take_in_joined(&mut self, context: &Context) -> Result<(), Trouble> {
        self.forget_departed();
        let known: HashSet<&str> = self.plan.agents.iter().map(|agent| agent.id.as_str()).collect();
        let registered = context.store().sprint_agents(&self.plan.id).await?;
        let unknown = registered.iter().filter(|id| !known.contains(id.as_str()));
        let unknown: Vec<AgentId> = unknown.filter_map(|id| AgentId::new(id.as_str()).ok()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let records = context.store().records(&unknown.iter().collect::<Vec<_>>()).await?;
        for (id, record) in unknown.into_iter().zip(records) {
            let Some(record) = record.filter(|record| record.ended.is_none()) else { continue };
            if let Some(agent) = self.joined(context, &id, &record) {
                self.say(context, &format!("{id} has joined, on {}", record.host));
                self.plan.agents.push(agent);
                self.slots.push(Slot::joined(context.now()));
            }
        }
        Ok(())
    }

    /// What an agent that has joined a pool of this sprint is to do; `None` for any other one.
    fn joined(&self, context: &Context, id: &AgentId, record: &AgentRecord) -> Option<AgentPlan> {
        let is_ours = record.parent.as_deref() == Some(context.agent.id().as_str());
        let pool = record.pool.as_ref().filter(|_| is_ours)?;
        let task_timeout = self.pool_timeout(pool)?;
        let (_, own_name) = id.as_str().split_once('.')?;
        Some(AgentPlan {
            id: id.clone(),
            name: AgentName::new(own_name).unwrap_or_else(|_| pool.clone()),
            kind: pool.to_string(),
            command: Vec::new(),
            env: BTreeMap::new(),
            task_timeout,
            memory_limit: None,
            memory_soft_limit: None,
        })
    }

    /// How long a task may take in this pool; `None` if the sprint has no such pool. Agents that the plan starts can have
    /// further hands under their own name.
    fn pool_timeout(&self, pool: &AgentName) -> Option<Option<Duration>> {
        let of_pool = self.plan.pools.iter().find(|own| own.name == *pool).map(|own| own.task_timeout);
        let started = self.plan.agents.iter().find(|agent| agent.kind == pool.as_str());
        of_pool.or_else(|| started.map(|agent| agent.task_timeout))
    }

    /// Removes the slots of agents that joined and are gone. They stand behind those of the plan, to which events refer by
    /// their position.
    fn forget_departed(&mut self) {
        let is_gone = |slot: &Slot| slot.has_joined && slot.record.is_none() && slot.elsewhere.is_none();
        let gone: Vec<usize> =
            self.slots.iter().enumerate().filter(|(_, slot)| is_gone(slot)).map(|(at, _)| at).collect();
        for at in gone.into_iter().rev() {
            self.slots.remove(at);
            self.plan.agents.remove(at);
        }
    }
}

impl Slot {
    fn joined(since: Duration) -> Self {
        Self { process: Process::NotStarted { since }, has_joined: true, ..Self::new() }
    }

    /// Notes that this life is known by its lease alone.
    pub(crate) fn is_elsewhere(&mut self, life: Incarnation) {
        (self.process, self.elsewhere) = (Process::Elsewhere, Some(life));
        (self.missing_since, self.reaped, self.told_held) = (None, None, None);
    }

    /// Looks whether an agent that runs elsewhere is still there. A store that does not know it may have lost its memory, so
    /// its lease is waited for, unless its end was told.
    pub(crate) fn notice_elsewhere(&mut self, now: Duration, lease: Duration) {
        let Some(life) = self.elsewhere else { return };
        let is_replaced = match &self.record {
            Some(record) if record.incarnation == life => {
                self.missing_since = None;
                return;
            }
            Some(_) => true,
            None => false,
        };
        let since = *self.missing_since.get_or_insert(now);
        let was_told = self.reaped == Some(life);
        if is_replaced || was_told || now.saturating_sub(since) >= lease {
            (self.elsewhere, self.missing_since, self.reaped) = (None, None, None);
            self.process = Process::Vacant { since: now, how: Exit::Left };
        }
    }
}
