//! Announce and reap, batch by batch.
//!
//! A batch is locked, announced, given the grace period once, and reaped. The lock only saves other sweepers work. A
//! cleanup is safe because the reap script compares before it removes. Agents whose end was *seen* get no last call: no
//! agent is there to answer, and its tasks are waiting.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::sweep::store_watch::Contact;
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::orphan::{OrphanOutcome, Reason};
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{Reap, ReapOutcome, StoreError};

use crate::pass::report::{Tally, named};
use crate::sweeper::Sweeper;

/// Reaps that are under way at once.
const IN_FLIGHT: usize = 64;
/// How long beyond the grace period the owner of a lock may take before it counts as dead.
const STEAL_AFTER: Duration = Duration::from_secs(10);

/// An agent to be reaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orphan<'a> {
    pub(crate) suspect: &'a Suspect,
    pub(crate) reason: Reason,
}

impl Orphan<'_> {
    fn id(&self) -> &str {
        &self.suspect.id
    }

    /// An event of this kind about the orphan.
    fn event(&self, payload: Payload, now: ServerTime) -> Event {
        Event::new(payload, now.as_ms()).about(self.id(), self.suspect.incarnation())
    }

    fn last_call(&self, now: ServerTime) -> Event {
        self.event(Payload::CleanupStarted { reason: Some(self.reason.to_string()) }, now)
    }

    fn aborted(&self, now: ServerTime) -> Event {
        self.event(Payload::CleanupAborted { reason: Some(self.reason.to_string()) }, now)
    }
}

impl Sweeper {
    /// Cleans up after these agents; those whose end is proven come first.
    pub(crate) async fn clean_up(
        &self,
        orphans: Vec<Orphan<'_>>,
        contact: Contact,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let (proven, silent): (Vec<Orphan<'_>>, Vec<Orphan<'_>>) =
            orphans.into_iter().partition(|orphan| orphan.suspect.is_proven());
        let batch = self.settings().sweep.batch.max(1) as usize;
        for part in proven.chunks(batch) {
            self.clean_up_batch(part, None, tally).await?;
        }
        for part in silent.chunks(batch) {
            self.clean_up_batch(part, Some(contact), tally).await?;
        }
        Ok(())
    }

    /// `last_call` is the contact as of the plan; with it there is a last call, during which the watch must not break.
    async fn clean_up_batch(
        &self,
        batch: &[Orphan<'_>],
        last_call: Option<Contact>,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        self.health.turned();
        let token = format!("{}:{}:{:016x}", self.id, tally.now().as_ms(), rand::random::<u64>());
        let locked = self.announce(batch, &token, tally).await?;
        if let Some(contact) = last_call
            && !self.last_call(&locked, contact).await?
        {
            tracing::info!(
                agents = locked.len(),
                "failed: the store was away during the last call, so no agent was reaped; the next pass judges anew"
            );
            for orphan in locked {
                self.unlock(&orphan, &token).await;
                self.acknowledgements.take(orphan.id());
                tally.add(orphan.suspect, orphan.reason, OrphanOutcome::Failed);
            }
            return Ok(());
        }
        let left_behind = self.store.left_behind_by(locked.iter().map(|orphan| orphan.suspect)).await?;
        let mut reaps = stream::iter(locked)
            .map(|orphan| {
                let extra = left_behind.get(orphan.id()).map(Vec::as_slice).unwrap_or_default();
                let token = token.as_str();
                async move { (orphan, self.reap(orphan, extra, token).await) }
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some((orphan, outcome)) = reaps.next().await {
            self.settle(orphan, outcome, &token, tally).await;
        }
        Ok(())
    }

    /// Locks the agents and announces their cleanup. Returns those that could be locked.
    async fn announce<'a>(
        &self,
        batch: &[Orphan<'a>],
        token: &str,
        tally: &mut Tally,
    ) -> Result<Vec<Orphan<'a>>, StoreError> {
        let ids: Vec<&str> = batch.iter().map(Orphan::id).collect();
        let got = self.store.lock(&ids, token, self.settings().sweep.grace + STEAL_AFTER).await?;
        let mut locked = Vec::with_capacity(batch.len());
        for (orphan, got) in batch.iter().zip(got) {
            if got {
                self.acknowledgements.expect(orphan.id(), orphan.suspect.incarnation());
                locked.push(*orphan);
            } else {
                tally.add(orphan.suspect, orphan.reason, OrphanOutcome::Elsewhere);
            }
        }
        let now = tally.now();
        stream::iter(&locked).for_each_concurrent(IN_FLIGHT, |orphan| self.say(orphan.last_call(now))).await;
        Ok(locked)
    }

    /// Waits for the grace period. Returns whether the store was watched all the while: otherwise an agent could not
    /// have spoken up.
    async fn last_call(&self, locked: &[Orphan<'_>], contact: Contact) -> Result<bool, StoreError> {
        if locked.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(self.settings().sweep.grace).await;
        let now = self.watch.probe(&self.store).await?;
        Ok(now.is_none_or(|now| now.since == contact.since))
    }

    async fn reap(
        &self,
        orphan: Orphan<'_>,
        left_behind: &[String],
        token: &str,
    ) -> Result<ReapOutcome, StoreError> {
        let process = self.acknowledgements.take(orphan.id());
        let reap = Reap {
            left_behind,
            token: Some(token),
            // A supervisor's end tells nothing of the processes it had started. Only a process on its host that looked knows.
            process: process.unwrap_or(ProcessFate::Unknown),
            ..Reap::of(orphan.suspect, orphan.reason, &self.id)
        };
        self.store.reap(&reap).await
    }

    async fn settle(
        &self,
        orphan: Orphan<'_>,
        outcome: Result<ReapOutcome, StoreError>,
        token: &str,
        tally: &mut Tally,
    ) {
        let suspect = orphan.suspect;
        match outcome {
            Ok(ReapOutcome::Reaped(removed)) => {
                self.pass_gauges.cleaned(orphan.reason);
                tally.add_cleaned(suspect, orphan.reason, removed);
            }
            Ok(ReapOutcome::Refuted) => {
                self.unlock(&orphan, token).await;
                self.say(orphan.aborted(tally.now())).await;
                tracing::info!(agent = ?named(&suspect.id), "refuted: the agent spoke up in time and stays");
                tally.add(suspect, orphan.reason, OrphanOutcome::Refuted);
            }
            Ok(ReapOutcome::AlreadyGone) => {
                self.unlock(&orphan, token).await;
                tally.add(suspect, orphan.reason, OrphanOutcome::Elsewhere);
            }
            Err(error) => {
                tracing::warn!(agent = ?named(&suspect.id), %error, "failed: not cleaned up, the next pass tries again");
                self.unlock(&orphan, token).await;
                tally.add(suspect, orphan.reason, OrphanOutcome::Failed);
            }
        }
    }

    /// Gives a lock back. If that fails, the lock ends by itself.
    async fn unlock(&self, orphan: &Orphan<'_>, token: &str) {
        if let Err(error) = self.store.unlock(orphan.id(), token).await {
            tracing::debug!(agent = ?named(orphan.id()), %error, "a cleanup lock was not given back");
        }
    }

    /// Publishes an event. It is only a hint, so a failure changes nothing.
    pub(crate) async fn say(&self, event: Event) {
        if let Err(error) = self.store.publish(&event).await {
            tracing::debug!(kind = event.kind().as_str(), %error, "an event was not published");
        }
    }
}
