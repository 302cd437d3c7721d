//! What the loops of an agent share: its identity, its beat, its tasks in hand, and how far its end has come.

use std::sync::Mutex;

use lifecycle_core::agent::shutdown::{StopCause, Urgency};
use lifecycle_core::wire::record::{AgentState, Order, Registration};
use lifecycle_redis::{AgentStore, Life, Store};

use crate::beat::Beat;
use crate::lock::lock;
use crate::loss_signal::LossSignal;
use crate::stop_state::StopState;
use crate::tasks_in_hand::TasksInHand;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) registration: Registration,
    /// A store that lost its memory gives the life another generation.
    life: Mutex<Life>,
    pub(crate) beat: Beat,
    pub(crate) tasks: TasksInHand,
    pub(crate) stop_state: StopState,
    pub(crate) loss: LossSignal,
    /// Held while the life is registered again, and while it is released: a registration that is under way must not follow
    /// the release.
    pub(crate) registration_guard: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(crate) fn new(store: Store, registration: Registration, life: Life) -> Self {
        Self {
            store,
            registration,
            life: Mutex::new(life),
            beat: Beat::new(),
            tasks: TasksInHand::default(),
            stop_state: StopState::new(),
            loss: LossSignal::default(),
            registration_guard: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn life(&self) -> Life {
        lock(&self.life).clone()
    }

    pub(crate) fn live_on_as(&self, life: Life) {
        *lock(&self.life) = life;
    }

    /// The store's handle for this life.
    pub(crate) fn agent_store(&self) -> AgentStore {
        self.store.agent(&lock(&self.life))
    }

    /// Makes the stop at least this urgent. A less urgent one changes nothing.
    pub(crate) fn raise(&self, urgency: Urgency, cause: StopCause) {
        if self.stop_state.raise(urgency, cause) {
            // From now on no coordinator should give it tasks, because they would not be done.
            self.beat.say_state(AgentState::Draining);
            self.tasks.look();
            tracing::info!(agent = %self.registration.id, %cause, ?urgency, "stopping");
        }
    }

    pub(crate) fn obey(&self, order: Order, why: &str) {
        // An order may come with a reason that this build does not know.
        let cause = why.parse().unwrap_or(StopCause::Operator);
        if cause == StopCause::CoordinatorLost && self.registration.parent.is_some() {
            return self.loss.tell();
        }
        self.raise(Urgency::of(order), cause);
    }
}
