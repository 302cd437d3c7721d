//! One sweeper: its name, its connection, and what it remembers from pass to pass.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lifecycle_core::settings::Settings;
use lifecycle_core::sweep::brake::Brake;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::time::millis;
use lifecycle_redis::{SweeperStore, is_usable};

use crate::http::health::Health;
use crate::http::pass_gauges::PassGauges;
use crate::pass::acknowledgements::Acknowledgements;
use crate::store_watch::StoreWatch;

/// Most strange ids that are remembered, so that a flood of them does not fill the memory.
const REMEMBERED: usize = 1_000;

/// A sweeper. It remembers little, and nothing that another sweeper would have to know.
#[derive(Debug)]
pub struct Sweeper {
    pub(crate) store: SweeperStore,
    pub(crate) id: String,
    pub(crate) watch: Arc<StoreWatch>,
    pub(crate) acknowledgements: Arc<Acknowledgements>,
    pub(crate) health: Arc<Health>,
    pub(crate) pass_gauges: Arc<PassGauges>,
    /// By how much the sizes of the two indexes differed after the last comparison.
    pub(crate) accepted: AtomicI64,
    /// The longest lease seen so far, in ms.
    pub(crate) longest_lease: AtomicU64,
    /// Whether the last pass held any agent.
    pub(crate) holding: AtomicBool,
    /// Whether the last pass reaped some of the held at the limited rate.
    pub(crate) limiting: AtomicBool,
    /// Keys without a living owner, as of the last look; -1 before the first.
    residue: AtomicI64,
    strange: Mutex<HashSet<String>>,
}

impl Sweeper {
    /// A sweeper on this connection, named after host and process.
    #[must_use]
    pub fn new(store: SweeperStore) -> Self {
        let watch = Arc::new(StoreWatch::new(store.settings().sweep.orphan_threshold));
        Self {
            store,
            id: format!("sweeper-{}-{}", host(), std::process::id()),
            watch,
            acknowledgements: Arc::default(),
            health: Arc::default(),
            pass_gauges: Arc::default(),
            accepted: AtomicI64::new(0),
            longest_lease: AtomicU64::new(0),
            holding: AtomicBool::new(false),
            limiting: AtomicBool::new(false),
            residue: AtomicI64::new(-1),
            strange: Mutex::default(),
        }
    }

    /// Its name, as in the audit log and in locks.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.store.settings()
    }

    pub(crate) fn brake(&self) -> Brake {
        let sweep = &self.settings().sweep;
        Brake {
            fraction: sweep.hold_fraction,
            minimum: sweep.hold_minimum.into(),
            timeout_ms: millis(sweep.hold_timeout),
            default_lease_ms: millis(sweep.orphan_threshold),
        }
    }

    /// How many keys had no living owner at the last look; `None` before the first one.
    pub(crate) fn residue(&self) -> Option<u64> {
        u64::try_from(self.residue.load(Ordering::Relaxed)).ok()
    }

    pub(crate) fn found_residue(&self, keys: u64) {
        self.residue.store(i64::try_from(keys).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Logs an id from the store that no agent of ours can have, once. Whether it can be cleaned up is another question
    /// ([`is_usable`]).
    pub(crate) fn report_strange(&self, id: &str) {
        let Err(problem) = AgentId::new(id) else { return };
        let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        if strange.len() < REMEMBERED && strange.insert(id.to_string()) {
            let effect = if is_usable(id) {
                "only its exact keys are touched"
            } else {
                "it is left alone; `lifecyclectl reap --force` takes it off the indexes"
            };
            tracing::warn!(%problem, "an id in the store was not written by us: {effect}");
        }
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
