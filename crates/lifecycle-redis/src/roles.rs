//! A handle for each role, with only what that role may do to the store. Every handle leads to [`Store`], and from there to
//! the others: code that acts in another role has to say so, where a reader sees it.
//!
//! [`Store`] itself only connects, listens and reads, which harms nobody. A writer asks for the handle of its role:
//!
//! ```text
//!   store.newcomer(&me)       register, after removing what is left of an earlier life of it
//!   store.agent(&life)        beat, own, do tasks, release: fenced by that life
//!   store.coordinator(&life)  run sprints: fenced by that life; removes only what is proven over
//!   store.host(by)            say what was seen of processes on this host
//!   store.sweeper()           find the dead and remove them
//!   store.operator()          read everything, and act on a person's word
//! ```

use std::ops::Deref;

use lifecycle_core::wire::record::Registration;

use crate::fenced::Life;
use crate::store::Store;

/// A process that is about to be an agent.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) registration: &'a Registration,
}

/// One life of an agent; every write is fenced by it.
#[derive(Debug, Clone)]
pub struct AgentStore {
    pub(crate) store: Store,
    pub(crate) life: Life,
}

/// One life of a coordinator; writes of a sprint are fenced by it.
#[derive(Debug, Clone)]
pub struct CoordinatorStore {
    pub(crate) store: Store,
    pub(crate) life: Life,
}

/// A process that watches other processes of this host.
#[derive(Debug, Clone, Copy)]
pub struct HostStore<'a> {
    pub(crate) store: &'a Store,
    pub(crate) by: &'a str,
}

/// A sweeper, which judges and reaps.
#[derive(Debug, Clone)]
pub struct SweeperStore {
    pub(crate) store: Store,
}

/// An operator, who reads all and acts on a person's word.
#[derive(Debug, Clone)]
pub struct OperatorStore {
    pub(crate) store: Store,
}

/// Every handle gives access to the connection.
macro_rules! connected {
    ($($handle:ident)*) => { $(
        impl Deref for $handle {
            type Target = Store;

            fn deref(&self) -> &Store {
                &self.store
            }
        }
    )* };
}

connected! { AgentStore CoordinatorStore SweeperStore OperatorStore }

impl Store {
    /// The handle to begin a life with.
    #[must_use]
    pub fn newcomer<'a>(&'a self, registration: &'a Registration) -> Newcomer<'a> {
        Newcomer { store: self, registration }
    }

    /// The handle of this life.
    #[must_use]
    pub fn agent(&self, life: &Life) -> AgentStore {
        AgentStore { store: self.clone(), life: life.clone() }
    }

    /// The handle of this life as a coordinator.
    #[must_use]
    pub fn coordinator(&self, life: &Life) -> CoordinatorStore {
        CoordinatorStore { store: self.clone(), life: life.clone() }
    }

    /// The handle to report on processes of this host. `by` names the reporter in the audit log.
    #[must_use]
    pub fn host<'a>(&'a self, by: &'a str) -> HostStore<'a> {
        HostStore { store: self, by }
    }

    /// The handle of a sweeper.
    #[must_use]
    pub fn sweeper(&self) -> SweeperStore {
        SweeperStore { store: self.clone() }
    }

    /// The handle of an operator.
    #[must_use]
    pub fn operator(&self) -> OperatorStore {
        OperatorStore { store: self.clone() }
    }
}
