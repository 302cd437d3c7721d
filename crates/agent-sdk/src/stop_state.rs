//! How far this life has come in its end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use lifecycle_core::agent::shutdown::{Stop, StopCause, Urgency};
use lifecycle_core::wire::process_fate::ProcessFate;
use tokio::sync::watch;

use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct StopState {
    stop: watch::Sender<Option<Stop>>,
    /// What was proven of the processes that this life started.
    proven: Mutex<ProcessFate>,
    /// This life has made its ledger itself, for what it owns.
    made_ledger: AtomicBool,
    /// We are releasing the life ourselves, so the store's answers about it are no news any more.
    releasing: AtomicBool,
    /// The life is released, so the beat ends.
    released: watch::Sender<bool>,
}

impl StopState {
    pub(crate) fn new() -> Self {
        Self {
            stop: watch::Sender::new(None),
            proven: Mutex::new(ProcessFate::Unknown),
            made_ledger: AtomicBool::new(false),
            releasing: AtomicBool::new(false),
            released: watch::Sender::new(false),
        }
    }

    pub(crate) fn stop(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    pub(crate) fn stops(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    /// Makes the stop at least this urgent. Returns `false`, and changes nothing, if it was already.
    pub(crate) fn raise(&self, urgency: Urgency, cause: StopCause) -> bool {
        self.stop.send_if_modified(|stop| {
            let higher = stop.as_ref().is_none_or(|stop| stop.urgency < urgency);
            if higher {
                *stop = Some(Stop { urgency, cause });
            }
            higher
        })
    }

    pub(crate) fn prove(&self, process: ProcessFate) {
        *lock(&self.proven) = process;
    }

    pub(crate) fn proven(&self) -> ProcessFate {
        *lock(&self.proven)
    }

    pub(crate) fn made_ledger(&self) {
        self.made_ledger.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_made_ledger(&self) -> bool {
        self.made_ledger.load(Ordering::SeqCst)
    }

    /// From now on the end is our own doing. `false` if it was already.
    pub(crate) fn begin_release(&self) -> bool {
        !self.releasing.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn is_releasing(&self) -> bool {
        self.releasing.load(Ordering::SeqCst)
    }

    pub(crate) fn end_release(&self) {
        self.released.send_replace(true);
    }

    pub(crate) async fn released(&self) {
        // The sender is ours, so an answer comes in the end.
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }
}
