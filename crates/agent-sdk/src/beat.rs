//! What the next beat will say, and whether the last was answered; shared by the heartbeat and the tasks that wait for
//! it.

use std::sync::Mutex;

use lifecycle_core::wire::record::AgentState;
use tokio::sync::{Notify, watch};

use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Beat {
    said: Mutex<Said>,
    /// How many beats were answered. A change wakes the loops that look at keys from time to time.
    answered: watch::Sender<u64>,
    /// Whether the lease has certainly run out and could not be renewed. Then no work is taken until a beat is
    /// answered.
    suspended: watch::Sender<bool>,
    wanted: Notify,
}

/// The content of the next beat.
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

    /// Sends the next beat at once, with this state.
    pub(crate) fn say_state(&self, state: AgentState) {
        lock(&self.said).state = state;
        self.want();
    }

    pub(crate) fn say_progress(&self, what: String) {
        lock(&self.said).progress = Some(what);
    }

    /// Sends the next beat at once.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Records that a beat was answered, so the lease runs again.
    pub(crate) fn note_answer(&self) {
        self.suspended.send_replace(false);
        self.answered.send_modify(|beats| *beats += 1);
    }

    /// A receiver that changes with each beat that is answered.
    pub(crate) fn answers(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    /// Records that the lease has run out. `true` if it was not known before.
    pub(crate) fn suspend(&self) -> bool {
        !self.suspended.send_replace(true)
    }

    pub(crate) fn is_suspended(&self) -> bool {
        *self.suspended.borrow()
    }
}
