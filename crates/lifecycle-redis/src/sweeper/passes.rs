//! What passes record for others: that they were made, and whether agents are held.

use std::time::Duration;

use fred::types::Value;
use lifecycle_core::sweep::brake::Holding;
use lifecycle_core::wire::time::{ServerTime, millis};

use crate::error::StoreError;
use crate::reply::{argument, number};
use crate::roles::{OperatorStore, SweeperStore};
use crate::scripts::{GrantRate, HoldRelease, Leave, MarkPass};

/// The part of the limited rate that the store granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// How many agents may be reaped.
    pub agents: u64,
    /// When more will be granted; zero if all was granted, or the hold is over.
    pub more_in: Duration,
}

/// How the end of a pass changed the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldChange {
    /// The hold did not change.
    Unchanged,
    /// Reaping is held from now on.
    Held,
    /// Reaping is not held any more.
    Released,
}

impl SweeperStore {
    /// Asks for a part of the limited rate at which reaping goes on after a hold. With `only_ask` nothing is taken.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. A part may have been taken; unused, it is lost.
    pub async fn grant(&self, wanted: u64, a_minute: u64, only_ask: bool) -> Result<Grant, StoreError> {
        let args = vec![argument(wanted), argument(a_minute), if only_ask { "1" } else { "" }.into()];
        let reply = self.store.run(GrantRate { hold: self.store.keys().hold() }, args).await?.into_array();
        let part = |at: usize| reply.get(at).and_then(number).unwrap_or(0);
        Ok(Grant { agents: part(0), more_in: Duration::from_millis(part(1)) })
    }

    /// Records the end of a pass, and whether agents are held. `looked_at` is when the pass read the indexes:
    /// it has not judged leases that ended later.
    pub async fn end_pass(
        &self,
        by: &str,
        looked_at: ServerTime,
        hold: Option<(&Holding, u64)>,
    ) -> Result<HoldChange, StoreError> {
        let keys = self.store.keys();
        let names =
            MarkPass { watermark: keys.watermark(), hold: keys.hold(), generation: keys.generation() };
        let (why, held, name) = match hold {
            Some((holding, held)) => (holding.to_string(), held, holding.reason.kind().as_str()),
            None => (String::new(), 0, ""),
        };
        let forgotten = millis(self.store.settings().sweep.interval).saturating_mul(10);
        let fleet = hold.map_or(0, |(holding, _)| holding.fleet);
        let args = vec![
            by.into(),
            why.into(),
            argument(held),
            name.into(),
            self.store.wire.as_str().into(),
            argument(looked_at.as_ms()),
            argument(forgotten),
            argument(fleet),
        ];
        let reply = self.store.run(names, args).await?.into_array();
        Ok(match reply.get(1).and_then(Value::as_string).as_deref() {
            Some("held") => HoldChange::Held,
            Some("released") => HoldChange::Released,
            _ => HoldChange::Unchanged,
        })
    }

    /// Records that this sweeper has stopped.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Then the sweeper is missed after a while, as if it had
    /// died.
    pub async fn leave_sweep(&self, by: &str) -> Result<(), StoreError> {
        self.store.run(Leave { watermark: self.store.keys().watermark() }, vec![by.into()]).await.map(drop)
    }
}

impl OperatorStore {
    /// Allows reaping to go on for `period` although it is held. Returns why it was held; `None` if it was not.
    pub async fn release_hold(&self, period: Duration) -> Result<Option<String>, StoreError> {
        let args = vec![argument(millis(period)), self.store.wire.as_str().into()];
        let reply = self.store.run(HoldRelease { hold: self.keys().hold() }, args).await?.into_array();
        Ok(reply.get(1).and_then(Value::as_string))
    }
}
