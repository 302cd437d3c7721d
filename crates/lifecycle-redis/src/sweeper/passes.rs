//! What passes leave for others: that they were made, and whether anybody is held.

use std::time::Duration;

use fred::types::Value;
use lifecycle_core::sweep::brake::Holding;
use lifecycle_core::wire::time::millis;

use crate::agent::life::text;
use crate::error::StoreError;
use crate::reply::number;
use crate::store::Store;

/// What the store granted of the limited rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// How many agents may be reaped.
    pub agents: u64,
    /// When there will be more; zero if nothing was refused, or the hold is over.
    pub more_in: Duration,
}

/// What the end of a pass changed about the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldChange {
    /// Nothing.
    Unchanged,
    /// Reaping is held from now on.
    Held,
    /// It is not held any more.
    Released,
}

impl Store {
    /// Asks for a part of the limited rate at which reaping goes on after a hold; with `only_ask` none is taken.
    ///
    /// # Errors
    /// As the store says.
    pub async fn grant(&self, wanted: u64, a_minute: u64, only_ask: bool) -> Result<Grant, StoreError> {
        let args = vec![text(wanted), text(a_minute), if only_ask { "1" } else { "" }.into()];
        let reply = self.run(&self.scripts.grant, vec![self.keys().hold()], args).await?.into_array();
        let part = |at: usize| reply.get(at).and_then(number).unwrap_or(0);
        Ok(Grant { agents: part(0), more_in: Duration::from_millis(part(1)) })
    }

    /// Records the end of a pass, and whether anybody was held. `looked_at` is when the pass looked, in ms of
    /// server time: whatever ended since, it has not judged.
    ///
    /// # Errors
    /// As the store says.
    pub async fn end_pass(
        &self,
        by: &str,
        looked_at: u64,
        hold: Option<(&Holding, u64)>,
    ) -> Result<HoldChange, StoreError> {
        let names = vec![self.keys().watermark(), self.keys().hold(), self.keys().generation()];
        let (why, held, name) = match hold {
            Some((holding, held)) => (holding.to_string(), held, holding.reason.kind().as_str()),
            None => (String::new(), 0, ""),
        };
        let forgotten = millis(self.settings().sweep.interval).saturating_mul(10);
        let fleet = hold.map_or(0, |(holding, _)| holding.fleet);
        let args = vec![
            by.into(),
            why.into(),
            text(held),
            name.into(),
            self.wire.as_str().into(),
            text(looked_at),
            text(forgotten),
            text(fleet),
        ];
        let reply = self.run(&self.scripts.watermark, names, args).await?.into_array();
        Ok(match reply.get(1).and_then(Value::as_string).as_deref() {
            Some("held") => HoldChange::Held,
            Some("released") => HoldChange::Released,
            _ => HoldChange::Unchanged,
        })
    }

    /// Takes back that this sweeper is at work.
    ///
    /// # Errors
    /// As the store says. It is missed after a while all the same.
    pub async fn leave_sweep(&self, by: &str) -> Result<(), StoreError> {
        self.run(&self.scripts.leave, vec![self.keys().watermark()], vec![by.into()]).await.map(drop)
    }

    /// An operator's word to go on reaping for `period`. Returns why it was held, `None` if it was not.
    ///
    /// # Errors
    /// As the store says.
    pub async fn release_hold(&self, period: Duration) -> Result<Option<String>, StoreError> {
        let args = vec![text(millis(period)), self.wire.as_str().into()];
        let reply = self.run(&self.scripts.hold_release, vec![self.keys().hold()], args).await?.into_array();
        Ok(reply.get(1).and_then(Value::as_string))
    }
}
