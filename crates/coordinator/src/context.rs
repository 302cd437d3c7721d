//! What all parts of a coordinator share.

use std::time::Duration;

use agent_sdk::{Agent, Urgency};
use lifecycle_core::settings::{Settings, Shutdown};
use lifecycle_core::sprint::restart::RestartPolicy;
use lifecycle_redis::{CoordinatorStore, Fenced, StoreError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::child_events::ChildEvent;
use crate::children::Launcher;
use crate::taken::Epic;
use crate::ui::progress::Progress;

/// The coordinator's connections and settings.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) agent: Agent,
    pub(crate) epic: Epic,
    pub(crate) launcher: Launcher,
    pub(crate) progress: Progress,
    pub(crate) child_events: UnboundedSender<ChildEvent>,
    pub(crate) begun: Instant,
}

/// Why a step was cut short; the next one begins anew. Where two meet, the later variant counts.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The store is away or refused.
    Store(StoreError),
    /// The store lost its memory. Our heartbeat registers us again.
    Unknown,
    /// The store lost the epic: it is taken again, with what is known of its sprints.
    NoEpic,
    /// Our life is over.
    Fenced,
}

impl Trouble {
    /// The one of two that matters more.
    pub(crate) fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (_, Self::Fenced) | (Self::Store(_), Self::Unknown | Self::NoEpic) => other,
            _ => self,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The answer of a fenced write that was done.
pub(crate) fn written<T>(reply: Fenced<T>) -> Result<T, Trouble> {
    match reply {
        Fenced::Ok(value) => Ok(value),
        Fenced::Fenced => Err(Trouble::Fenced),
        Fenced::Unknown => Err(Trouble::Unknown),
    }
}

impl Context {
    /// Time since the start, on a clock that only goes forward.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The store's handle for this coordinator.
    pub(crate) fn store(&self) -> CoordinatorStore {
        self.agent.store().coordinator(&self.agent.life())
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.launcher.settings
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.settings().shutdown
    }

    pub(crate) fn restart_policy(&self) -> RestartPolicy {
        let settings = &self.settings().coordinator;
        RestartPolicy { limit: settings.restart_limit, window: settings.restart_window }
    }

    /// How urgent the stop is that was asked for; `None` without one.
    pub(crate) fn urgency(&self) -> Option<Urgency> {
        self.agent.stop_requested().map(|stop| stop.urgency)
    }
}
