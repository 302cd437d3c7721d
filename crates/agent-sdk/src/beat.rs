//! What the next beat says, and what came of the last: shared by the heartbeat and by whoever waits for it.

use std::sync::Mutex;

use lifecycle_core::wire::record::AgentState;
use tokio::sync::{Notify, watch};

use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Beat {
    said: Mutex<Said>,
    /// Counts beats that were answered; changes wake whoever looks at keys from time to time.
    answered: watch::Sender<u64>,
    /// The lease has certainly run out and could not be renewed: take no work until a beat is answered.
    suspended: watch::Sender<bool>,
    wanted: Notify,
}

/// What the next beat says.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) state: AgentState,
    pub(crate) progress: Option<String>,
}

impl Beat {
    pub(crate) fn new() -> Self {
        Self {
            said: Mutex::new(Said { state: AgentState::Starting, progress: None }),
            answered: watch::Sender::new(0),
            suspended: watch::Sender::new(false),
            wanted: Notify::new(),
        }
    }

    pub(crate) fn said(&self) -> Said {
        lock(&self.said).clone()
    }

    /// The next beat goes out at once and says so.
    pub(crate) fn say_state(&self, state: AgentState) {
        lock(&self.said).state = state;
        self.want();
    }

    pub(crate) fn say_progress(&self, what: String) {
        lock(&self.said).progress = Some(what);
    }

    /// Beat now.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The lease runs again.
    pub(crate) fn was_answered(&self) {
        self.suspended.send_replace(false);
        self.answered.send_modify(|beats| *beats += 1);
    }

    /// Changes with each beat that is answered.
    pub(crate) fn answers(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    /// The lease has run out. `true` if that is news.
    pub(crate) fn suspend(&self) -> bool {
        !self.suspended.send_replace(true)
    }

    pub(crate) fn is_suspended(&self) -> bool {
        *self.suspended.borrow()
    }
}
