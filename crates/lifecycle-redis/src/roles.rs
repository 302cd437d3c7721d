//! A handle for each role: what it may do to the store, and nothing else.
//!
//! [`Store`] itself only connects, listens and reads. Whoever wants to write says as what:
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

/// Whoever is about to be an agent.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) registration: &'a Registration,
}

/// One life of an agent.
#[derive(Debug, Clone)]
pub struct AgentStore {
    pub(crate) store: Store,
    pub(crate) life: Life,
}

/// A life that coordinates.
#[derive(Debug, Clone)]
pub struct CoordinatorStore {
    pub(crate) store: Store,
    pub(crate) life: Life,
}

/// Whoever sees processes on this host.
#[derive(Debug, Clone, Copy)]
pub struct HostStore<'a> {
    pub(crate) store: &'a Store,
    pub(crate) by: &'a str,
}

/// A sweeper.
#[derive(Debug, Clone)]
pub struct SweeperStore {
    pub(crate) store: Store,
}

/// An operator.
#[derive(Debug, Clone)]
pub struct OperatorStore {
    pub(crate) store: Store,
}

/// Whoever has a handle has the connection too.
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
    /// To begin a life.
    #[must_use]
    pub fn newcomer<'a>(&'a self, registration: &'a Registration) -> Newcomer<'a> {
        Newcomer { store: self, registration }
    }

    /// What this life may do.
    #[must_use]
    pub fn agent(&self, life: &Life) -> AgentStore {
        AgentStore { store: self.clone(), life: life.clone() }
    }

    /// What this life may do as a coordinator.
    #[must_use]
    pub fn coordinator(&self, life: &Life) -> CoordinatorStore {
        CoordinatorStore { store: self.clone(), life: life.clone() }
    }

    /// What can be said of processes here; `by` is who says it, for the audit log.
    #[must_use]
    pub fn host<'a>(&'a self, by: &'a str) -> HostStore<'a> {
        HostStore { store: self, by }
    }

    /// What a sweeper may do.
    #[must_use]
    pub fn sweeper(&self) -> SweeperStore {
        SweeperStore { store: self.clone() }
    }

    /// What an operator may do.
    #[must_use]
    pub fn operator(&self) -> OperatorStore {
        OperatorStore { store: self.clone() }
    }
}
