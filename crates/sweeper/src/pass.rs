//! One pass: observe → plan → announce → reap → report.
//!
//! ```text
//!   observe   the indexes, agents without a lease, every lease that is over
//!   plan      whom to reap and why, or whom to hold and why (lifecycle-core)
//!   announce  locks and a last call, per batch         ┐ cleanup.rs
//!   reap      compare-and-reap, many at once           ┘
//!   report    counts, log, events, watermark             report.rs
//! ```
//!
//! The plan is made once, for all agents whose lease is over, because the brake must see all that fell silent together.
//! Announcing and reaping go batch by batch.

pub(crate) mod acknowledgements;
pub(crate) mod cleanup;
pub(crate) mod epics;
mod indexes;
pub(crate) mod report;
pub(crate) mod residue;
pub(crate) mod table;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lifecycle_core::sweep::brake::{Holding, Witness};
use lifecycle_core::sweep::observation::{IndexReading, Observation, Suspect};
use lifecycle_core::sweep::plan::{self, SweepPlan};
use lifecycle_core::sweep::store_watch::Contact;
use lifecycle_core::sweep::triage::{Differing, Readings, Triage, triage};
use lifecycle_core::wire::orphan::{OrphanCleanupResult, OrphanOutcome};
use lifecycle_core::wire::time::{ServerTime, millis};
use lifecycle_redis::{Differences, StoreError, is_usable};

use crate::pass::cleanup::Orphan;
use crate::pass::report::Tally;
use crate::sweeper::Sweeper;

/// Leases that one command asks for: such a page costs the store well under 1 ms.
const PAGE: usize = 1_000;
/// Most orphans that one pass looks at. After such a pass the next one follows at once.
const MOST: usize = 50_000;
/// Renewals that are sent at once.
const RENEWALS: usize = 64;
/// Most running leases that are checked for a missed beat.
const OVERDUE: i64 = 5_000;
/// How many living agents are asked for as witnesses of the store having been up, from each end of the leases.
const WITNESSES: i64 = 64;
/// Most leases that one pass checks for ending too late.
const TOO_LATE: i64 = 5_000;

/// What kind of pass to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct How {
    /// Look and plan only; nothing is written.
    pub dry_run: bool,
    /// Compare the indexes with each other even if their counts agree.
    pub compare: bool,
}

/// A pass that ended without an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// What it did.
    pub result: OrphanCleanupResult,
    /// Why agents were held; `None` if none was.
    pub hold: Option<Holding>,
    /// When more of the held may be reaped at the limited rate; `None` where no rate applies.
    pub more_may_go_in: Option<Duration>,
    /// When the pass last looked.
    pub now: ServerTime,
    /// End of the next lease.
    pub next_expiry: Option<ServerTime>,
    /// Whether there were more orphans than one pass looks at.
    pub more: bool,
}

/// The result of observing.
struct Observed {
    triage: Triage,
    contact: Contact,
    /// End of the next lease.
    next_expiry: Option<ServerTime>,
    /// How many keys were removed of plain agents that had left.
    forgotten: u64,
}

impl Sweeper {
    /// Makes one pass.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or refuses. Agents that were reaped by then stay reaped, and the
    /// next pass finds the others.
    pub async fn pass(&self, how: How) -> Result<Passed, StoreError> {
        let started = Instant::now();
        let Observed { triage, contact, next_expiry, forgotten } = self.observe(how).await?;
        let suspects = &triage.dead;
        let seen = triage.observation(self.overdue(&triage).await?);
        let witnesses = self.witnesses(&seen, suspects, contact).await?;
        let mut plan = plan::plan(&seen, suspects, contact, &witnesses, &self.brake());
        let more_may_go_in = self.let_some_go(&mut plan, suspects, how).await?;

        let mut tally = Tally::new(seen.now, triage.healthy, forgotten, how.dry_run);
        for &index in &plan.held {
            tally.add(&suspects[index], suspects[index].reason(), OrphanOutcome::Held);
        }
        let orphans =
            plan.reap.iter().map(|&(index, reason)| Orphan { suspect: &suspects[index], reason }).collect();
        if how.dry_run {
            self.only_name(orphans, &mut tally);
        } else {
            self.clean_up(orphans, contact, &mut tally).await?;
        }
        if !how.dry_run {
            self.expire_epics(seen.now).await?;
        }
        let more = seen.expired as usize > MOST;
        let result = self.report(tally, plan.hold, started.elapsed()).await?;
        Ok(Passed { result, hold: plan.hold, more_may_go_in, now: seen.now, next_expiry, more })
    }

    /// Where a hold has lasted long enough, moves as many of the held to the reaped as the store grants. Returns when
    /// the store will grant more.
    async fn let_some_go(
        &self,
        plan: &mut SweepPlan,
        suspects: &[Suspect],
        how: How,
    ) -> Result<Option<Duration>, StoreError> {
        let Some(a_minute) = plan.hold.and_then(|hold| hold.a_minute) else { return Ok(None) };
        let grant = self.store.grant(plan.held.len() as u64, a_minute, how.dry_run).await?;
        plan.grant(usize::try_from(grant.agents).unwrap_or(usize::MAX), suspects);
        Ok(Some(grant.more_in))
    }

    fn only_name(&self, orphan: Vec<Orphan<'_>>, tally: &mut Tally) {
        for Orphan { suspect, reason } in orphan {
            tally.add(suspect, reason, OrphanOutcome::Detected);
        }
    }

    /// Repairs the indexes, reads everything that a plan needs, and draws the conclusions.
    async fn observe(&self, how: How) -> Result<Observed, StoreError> {
        let (mut index, mut contact) = self.observe_indexes().await?;
        if !how.dry_run && self.shorten_leases(index.now, how).await? > 0 {
            (index, contact) = self.observe_indexes().await?;
        }
        let Differences { unleased, left, .. } = self.differences(&index, how.compare).await?;
        let (mut differing, mut forgotten) = (Differing::default(), 0);
        if how.dry_run {
            differing = Differing { unleased, left: left.len() as u64 };
        } else if !(unleased.is_empty() && left.is_empty()) {
            self.watch_again(&unleased).await?;
            forgotten += self.forget(&left).await?;
            (index, contact) = self.observe_indexes().await?;
            self.accept(&index);
        }
        let next_expiry = index.next_expiry;
        let (due, unusable) = self.due(&index).await?;
        let suspects = self.store.suspects(&due, index.now).await?;
        let triage = triage(Readings { index, due: suspects, unusable, differing });
        if !how.dry_run {
            self.renew(&triage.living, &due).await?;
            forgotten += self.forget(&triage.left).await?;
        }
        Ok(Observed { triage, contact, next_expiry, forgotten })
    }

    async fn observe_indexes(&self) -> Result<(IndexReading, Contact), StoreError> {
        let seen = self.store.observe(self.settings().sweep.batch).await?;
        self.health.turned();
        let contact = self.watch.observed(&seen);
        Ok((seen, contact))
    }

    /// Shortens leases that the store's clock left in the future. No lease ends later than the longest length from now,
    /// so usually no lease has to be read. When the indexes are compared, every lease beyond the usual length is.
    async fn shorten_leases(&self, now: ServerTime, how: How) -> Result<u64, StoreError> {
        let usual = millis(self.settings().sweep.orphan_threshold);
        let longest = if how.compare { usual } else { self.longest_lease.load(Ordering::Relaxed).max(usual) };
        let done = self.store.shorten_leases(now, longest, TOO_LATE).await?;
        self.longest_lease.store(done.longest_ms.max(longest), Ordering::Relaxed);
        if done.leases > 0 {
            tracing::warn!(
                leases = done.leases,
                "leases ended later than their length allows, as when the store's clock is set back: they end in time now"
            );
        }
        Ok(done.leases)
    }

    /// Every lease that is over, once, of ids that can be cleaned up; and how many are of ids that cannot.
    async fn due(&self, index: &IndexReading) -> Result<(Vec<(String, ServerTime)>, u64), StoreError> {
        let mut due = index.due.clone();
        while (due.len() as u64) < index.expired && due.len() < MOST {
            let page = self.store.expired(index.now, due.len(), PAGE).await?;
            if page.is_empty() {
                break;
            }
            due.extend(page);
        }
        // Leases that are renewed meanwhile shift the pages, so a lease may come twice.
        let mut known = HashSet::new();
        due.retain(|(id, _)| known.insert(id.clone()));
        due.iter().for_each(|(id, _)| self.report_strange(id));
        let found = due.len();
        due.retain(|(id, _)| is_usable(id));
        let unusable = (found - due.len()) as u64;
        Ok((due, unusable))
    }

    /// Renews the leases of plain agents that have beaten since their lease was written.
    async fn renew(&self, living: &[Suspect], due: &[(String, ServerTime)]) -> Result<(), StoreError> {
        let judged: HashMap<&str, ServerTime> = due.iter().map(|(id, end)| (id.as_str(), *end)).collect();
        let renewed = living.iter().filter_map(|suspect| Some((suspect, *judged.get(suspect.id.as_str())?)));
        stream::iter(renewed)
            .map(|(suspect, judged_end)| self.store.renew_plain(suspect, judged_end))
            .buffer_unordered(RENEWALS)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// How many living agents have missed a beat, if silence has to be judged: they may be part of a mass that only
    /// begins to show.
    async fn overdue(&self, triage: &Triage) -> Result<u64, StoreError> {
        let usual = millis(self.settings().sweep.orphan_threshold);
        let (longest, now) = (self.longest_lease.load(Ordering::Relaxed).max(usual), triage.now());
        match triage.longest_silent_lease(longest) {
            Some(longest) => self.store.overdue(now, longest, OVERDUE).await,
            None => Ok(0),
        }
    }

    /// Beats of living agents, if the plan may need them: after a break in watching.
    async fn witnesses(
        &self,
        seen: &Observation,
        suspects: &[Suspect],
        contact: Contact,
    ) -> Result<Vec<Witness>, StoreError> {
        if contact.gap().is_zero() || suspects.iter().all(Suspect::is_proven) {
            return Ok(Vec::new());
        }
        self.store.witnesses(seen.now, WITNESSES).await
    }
}
