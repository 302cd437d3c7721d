//! A store with the test's own hand in it: what roles do to a store, done in one line each.
//!
//! ```text
//!   registration   who an agent says it is
//!   lives          register · beat · own · release · reap, as agents and those who look after them do
//!   plain_agents   agents on the plain protocol
//!   work           a coordinator with its sprint, a worker with its task in hand
//! ```
//!
//! The server, the plain client, the roles as processes and leases that are dated back are those of a [`Fleet`].

mod lives;
mod plain_agents;
mod registration;
mod work;

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

use lifecycle_core::settings::Settings;
use lifecycle_redis::Store;
use lifecycle_tests::process::RoleCommand;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::fleet::{Fleet, SOON};

pub(crate) use lives::{beat, reap_by_force};
pub(crate) use registration::{LEASE, child_of_the_boss, coordinator_of_the_epic, registration};
pub(crate) use work::{ATTEMPTS, BOSS, assignment, epic, known_sprint, sprint, task};

/// A fleet, and a connection of our own to its store. What is done over it is done when the method returns.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    fleet: Fleet,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// One whose settings are the defaults but for this.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let fleet = Fleet::new();
        let mut settings = Settings::default();
        settings.redis.url = fleet.server.url();
        change(&mut settings);
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(Store::connect(&settings)).unwrap();
        Self { store, runtime, fleet }
    }

    /// What came of something that must not fail.
    pub(crate) fn done<T, E: Debug>(&self, work: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(work).unwrap()
    }

    /// What came of something that has to end by itself.
    pub(crate) fn soon<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(SOON, work).await.unwrap() })
    }

    /// `sweeper ARGS`, whose last call is short.
    pub(crate) fn sweeper_command(&self, args: &[&str]) -> RoleCommand {
        self.role("sweeper").args(args.iter().copied()).env("LIFECYCLE_SWEEP__GRACE", "20ms")
    }

    /// Every key but the fleet's own records.
    pub(crate) fn keys(&mut self) -> Vec<String> {
        let fleets = ["agents:", "lifecycle:", "memory:", "sweep:"];
        let keys = self.client.keys().unwrap();
        keys.into_iter().filter(|key| !fleets.iter().any(|prefix| key.starts_with(prefix))).collect()
    }

    pub(crate) fn active(&mut self) -> Vec<String> {
        self.client.texts(&["SMEMBERS", "agents:active"]).unwrap()
    }
}

impl Deref for Site {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }
}
