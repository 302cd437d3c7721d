//! What registered agents do, and what is done to them.

use std::time::Duration;

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::{AgentState, Heartbeat, Registration};
use lifecycle_core::wire::time::HostTime;
use lifecycle_redis::{BeatReply, Fenced, Life, Reap, ReapOutcome, Registered, Removed, Store, StoreError};

use super::{LEASE, Site, registration};

impl Site {
    pub(crate) fn register(&self, id: &str) -> Life {
        self.register_as(&registration(id))
    }

    pub(crate) fn register_as(&self, registration: &Registration) -> Life {
        match self.answer_to(registration, None).unwrap() {
            Registered::Ok(life) => life,
            other => panic!("{}: {other:?}", registration.id),
        }
    }

    /// What a registration, or one that takes the life `again` up, is answered.
    pub(crate) fn answer_to(
        &self,
        registration: &Registration,
        again: Option<&Life>,
    ) -> Result<Registered, StoreError> {
        self.runtime.block_on(self.store.newcomer(registration).register(AgentState::Running, again))
    }

    pub(crate) fn beat(&self, life: &Life) -> Fenced<BeatReply> {
        self.done(beat(&self.store, life, LEASE))
    }

    /// Whether a beat of this life still counts.
    pub(crate) fn beats(&self, life: &Life) -> bool {
        matches!(self.beat(life), Fenced::Ok(_))
    }

    /// A beat of an agent at work, which counts and tells this of its memory.
    pub(crate) fn beat_using(&self, life: &Life, usage: MemoryUsage) {
        let told = self.done(send(&self.store, life, LEASE, AgentState::Busy, usage));
        assert!(matches!(told, Fenced::Ok(_)), "{life:?}: {told:?}");
    }

    pub(crate) fn own(&self, life: &Life, names: impl IntoIterator<Item = impl Into<String>>) {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        assert_eq!(self.done(self.store.agent(life).own_keys(&names)), Fenced::Ok(()));
    }

    pub(crate) fn depend_on(&self, life: &Life, name: &str) {
        assert_eq!(self.done(self.store.agent(life).depend_on(&[name.into()])), Fenced::Ok(()));
    }

    /// A clean end, of which nothing is proven; `None` if somebody else has removed it or is at it.
    pub(crate) fn release(&self, life: &Life, cause: StopCause) -> Option<Removed> {
        self.done(self.store.agent(life).release(cause, ProcessFate::Unknown))
    }

    /// Somebody on its host saw its process crash.
    pub(crate) fn prove_exit(&self, life: &Life) {
        let host = self.store.host("test");
        assert!(self.done(host.process_exited(life.id.as_str(), life.incarnation, "signal 9")));
    }

    pub(crate) fn reap_by_force(&self, life: &Life) {
        let outcome = self.runtime.block_on(reap_by_force(&self.store, life.id.as_str()));
        assert!(matches!(outcome, ReapOutcome::Reaped(_)), "{life:?}: {outcome:?}");
    }
}

/// One beat, with a lease of this length from now on.
pub(crate) async fn beat(
    store: &Store,
    life: &Life,
    lease: Duration,
) -> Result<Fenced<BeatReply>, StoreError> {
    let usage = MemoryUsage { rss: 7_000_000, ..MemoryUsage::default() };
    send(store, life, lease, AgentState::Running, usage).await
}

async fn send(
    store: &Store,
    life: &Life,
    lease: Duration,
    state: AgentState,
    usage: MemoryUsage,
) -> Result<Fenced<BeatReply>, StoreError> {
    let beat = Heartbeat {
        agent_id: life.id.to_string(),
        incarnation: Some(life.incarnation),
        timestamp: Some(HostTime::from_host_ms(1)),
        memory_usage: Some(usage),
        ..Heartbeat::default()
    };
    store.agent(life).beat(u64::try_from(lease.as_millis()).unwrap(), &beat, state).await
}

/// Reaps whoever has this id, as an operator does who does not care whether its lease runs.
pub(crate) async fn reap_by_force(store: &Store, id: &str) -> ReapOutcome {
    let now = store.server_time().await.unwrap();
    let suspect = store.sweeper().suspects(&[(id.into(), now)], now).await.unwrap().remove(0);
    let target = Reap { force: true, ..Reap::of(&suspect, Reason::Operator, "test") };
    store.sweeper().reap(&target).await.unwrap()
}
