//! Announce and reap, batch by batch.
//!
//! A batch is locked, called out, given the grace period once, and reaped. The lock only saves other sweepers
//! work; what makes a cleanup right is the reap script, which compares before it removes. Agents whose end was
//! *seen* get no last call: nobody is there to answer, and somebody waits for their tasks.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use lifecycle_core::contact::Contact;
use lifecycle_core::event::{Event, EventKind};
use lifecycle_core::fate::ProcessFate;
use lifecycle_core::sweep::{OrphanOutcome, Reason};
use lifecycle_redis::{ReapOutcome, StoreError, Suspect, Target};

use crate::report::{Tally, named};
use crate::sweeper::Sweeper;

/// Reaps that are on their way at once.
const IN_FLIGHT: usize = 64;
/// How long beyond the grace period a lock's owner may take before it is taken for dead.
const STEAL_AFTER: Duration = Duration::from_secs(10);

/// An agent to be reaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doomed<'a> {
    pub(crate) suspect: &'a Suspect,
    pub(crate) reason: Reason,
}

impl Doomed<'_> {
    fn id(&self) -> &str {
        &self.suspect.candidate.id
    }

    fn is_plain(&self) -> bool {
        self.suspect.candidate.record.is_none()
    }

    /// The event of this kind about it.
    fn event(&self, kind: EventKind, now: u64) -> Event {
        let mut event = Event::new(kind, now);
        event.agent_id = Some(self.id().to_string());
        event.incarnation = self.suspect.candidate.incarnation();
        event.reason = Some(self.reason.to_string());
        event
    }
}

impl Sweeper {
    /// Cleans up after these agents: first those whose end is proven.
    pub(crate) async fn clean_up(
        &self,
        doomed: Vec<Doomed<'_>>,
        contact: Contact,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let (proven, silent): (Vec<Doomed<'_>>, Vec<Doomed<'_>>) =
            doomed.into_iter().partition(|doomed| doomed.suspect.candidate.is_proven());
        let batch = self.settings().sweep.batch.max(1) as usize;
        for part in proven.chunks(batch) {
            self.clean_up_batch(part, None, tally).await?;
        }
        for part in silent.chunks(batch) {
            self.clean_up_batch(part, Some(contact), tally).await?;
        }
        Ok(())
    }

    /// With a contact there is a last call, and the watch must not have broken during it.
    async fn clean_up_batch(
        &self,
        batch: &[Doomed<'_>],
        last_call: Option<Contact>,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        self.health.turned();
        let token = format!("{}:{}:{:016x}", self.id, tally.now(), rand::random::<u64>());
        let locked = self.announce(batch, &token, tally).await?;
        if let Some(contact) = last_call
            && !self.last_call(&locked, contact).await?
        {
            tracing::info!(
                agents = locked.len(),
                "the store was away during the last call: nobody was reaped, the next pass judges anew"
            );
            for doomed in locked {
                self.unlock(&doomed, &token).await;
                self.acknowledgements.take(doomed.id());
                tally.add(&doomed.suspect.candidate, doomed.reason, OrphanOutcome::Failed);
            }
            return Ok(());
        }
        let left_behind = self.left_behind(&locked).await?;
        let mut reaps = stream::iter(locked)
            .map(|doomed| {
                let extra = left_behind.get(doomed.id()).map(Vec::as_slice).unwrap_or_default();
                let token = token.as_str();
                async move { (doomed, self.reap(doomed, extra, token).await) }
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some((doomed, outcome)) = reaps.next().await {
            self.settle(doomed, outcome, &token, tally).await;
        }
        Ok(())
    }

    /// Locks and calls out; returns those whose lock was got.
    async fn announce<'a>(
        &self,
        batch: &[Doomed<'a>],
        token: &str,
        tally: &mut Tally,
    ) -> Result<Vec<Doomed<'a>>, StoreError> {
        let ids: Vec<&str> = batch.iter().map(Doomed::id).collect();
        let got = self.store.lock(&ids, token, self.settings().sweep.grace + STEAL_AFTER).await?;
        let mut locked = Vec::with_capacity(batch.len());
        for (doomed, got) in batch.iter().zip(got) {
            if got {
                self.acknowledgements.expect(doomed.id(), doomed.suspect.candidate.incarnation());
                locked.push(*doomed);
            } else {
                tally.add(&doomed.suspect.candidate, doomed.reason, OrphanOutcome::Elsewhere);
            }
        }
        let now = tally.now();
        stream::iter(&locked)
            .for_each_concurrent(IN_FLIGHT, |doomed| self.say(doomed.event(EventKind::CleanupStarted, now)))
            .await;
        Ok(locked)
    }

    /// Waits for the grace period. Returns whether the store was watched all the while: an agent could only have
    /// spoken up if it was.
    async fn last_call(&self, locked: &[Doomed<'_>], contact: Contact) -> Result<bool, StoreError> {
        if locked.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(self.settings().sweep.grace).await;
        let now = self.watch.probe(&self.store).await?;
        Ok(now.is_none_or(|now| now.since == contact.since))
    }

    async fn left_behind(&self, locked: &[Doomed<'_>]) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let plain: Vec<&str> = locked.iter().filter(|doomed| doomed.is_plain()).map(Doomed::id).collect();
        if plain.is_empty() {
            return Ok(HashMap::new());
        }
        self.store.left_behind(&plain).await
    }

    async fn reap(
        &self,
        doomed: Doomed<'_>,
        left_behind: &[String],
        token: &str,
    ) -> Result<ReapOutcome, StoreError> {
        let process = self.acknowledgements.take(doomed.id());
        let target = Target {
            id: doomed.id(),
            record: doomed.suspect.candidate.record.as_ref(),
            judged: doomed.suspect.judged(),
            left_behind,
            reason: doomed.reason,
            force: false,
            token: Some(token),
            by: &self.id,
            // That a supervisor was seen to end says nothing of what it had started: only who looked knows.
            process: process.unwrap_or(ProcessFate::Unknown),
        };
        self.store.reap(&target).await
    }

    async fn settle(
        &self,
        doomed: Doomed<'_>,
        outcome: Result<ReapOutcome, StoreError>,
        token: &str,
        tally: &mut Tally,
    ) {
        let candidate = &doomed.suspect.candidate;
        match outcome {
            Ok(ReapOutcome::Reaped(removed)) => {
                self.board.cleaned(doomed.reason);
                tally.add_cleaned(candidate, doomed.reason, removed);
            }
            Ok(ReapOutcome::Refuted) => {
                self.unlock(&doomed, token).await;
                self.say(doomed.event(EventKind::CleanupAborted, tally.now())).await;
                tracing::info!(agent = ?named(&candidate.id), "the agent spoke up in time and stays");
                tally.add(candidate, doomed.reason, OrphanOutcome::Refuted);
            }
            Ok(ReapOutcome::AlreadyGone) => {
                self.unlock(&doomed, token).await;
                tally.add(candidate, doomed.reason, OrphanOutcome::Elsewhere);
            }
            Err(error) => {
                tracing::warn!(agent = ?named(&candidate.id), %error, "not cleaned up; the next pass tries again");
                self.unlock(&doomed, token).await;
                tally.add(candidate, doomed.reason, OrphanOutcome::Failed);
            }
        }
    }

    /// A lock that cannot be given back ends by itself.
    async fn unlock(&self, doomed: &Doomed<'_>, token: &str) {
        if let Err(error) = self.store.unlock(doomed.id(), token).await {
            tracing::debug!(agent = ?named(doomed.id()), %error, "a cleanup lock was not given back");
        }
    }

    /// An event is a hint: one that cannot be published changes nothing.
    pub(crate) async fn say(&self, event: Event) {
        if let Err(error) = self.store.publish(&event).await {
            tracing::debug!(kind = event.kind.as_str(), %error, "an event was not published");
        }
    }
}
