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
//! The plan is made once, over everybody whose lease is over, because the brake must see all who fell silent
//! together; only announcing and reaping go batch by batch.

pub(crate) mod acknowledgements;
pub(crate) mod cleanup;
pub(crate) mod indexes;
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

/// Leases asked for in one command: a page costs the store well under 1 ms.
const PAGE: usize = 1_000;
/// Most orphans one pass looks at; the next one comes at once.
const MOST: usize = 50_000;
/// Renewals that are on their way at once.
const RENEWALS: usize = 64;
/// Most leases that are looked at for having missed a beat.
const OVERDUE: i64 = 5_000;
/// How many living agents are asked for as witnesses of the store having been up, from either end of the leases.
const WITNESSES: i64 = 64;
/// Most leases that are looked at in one pass for ending too late.
const TOO_LATE: i64 = 5_000;

/// What kind of pass to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct How {
    /// Look and plan only; nothing is written.
    pub dry_run: bool,
    /// Compare the indexes with each other even if their counts agree.
    pub compare: bool,
}

/// A pass that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// What it did.
    pub result: OrphanCleanupResult,
    /// Why some were held, if any were.
    pub hold: Option<Holding>,
    /// When more of them may go at the limited rate; `None` while there is none.
    pub more_may_go_in: Option<Duration>,
    /// When the last look was.
    pub now: ServerTime,
    /// End of the next lease.
    pub next_expiry: Option<ServerTime>,
    /// Whether there was more than one pass looks at.
    pub more: bool,
}

/// What observing found.
struct Observed {
    triage: Triage,
    contact: Contact,
    /// End of the next lease.
    next_expiry: Option<ServerTime>,
    /// Keys removed of plain agents that left by themselves.
    forgotten: u64,
}

impl Sweeper {
    /// Makes one pass.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not be read, or not be told. Agents that were reaped until then are
    /// reaped; the next pass finds the others.
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
        let more = seen.expired as usize > MOST;
        let result = self.report(tally, plan.hold, started.elapsed()).await?;
        Ok(Passed { result, hold: plan.hold, more_may_go_in, now: seen.now, next_expiry, more })
    }

    /// Where a hold has lasted long enough, moves as many of the held among those to be reaped as the store grants.
    /// Returns when it will grant more.
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

    /// Puts the indexes right, reads everything that a plan needs, and draws the conclusions.
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

    /// Shortens leases that the store's clock left in the future. Nobody's lease ends later than the longest one there is,
    /// so usually nothing has to be looked at; when the indexes are compared, everybody beyond the usual length is.
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

    /// Every lease that is over, of ids that can be cleaned up, each once; and how many there are of ids that cannot.
    async fn due(&self, index: &IndexReading) -> Result<(Vec<(String, ServerTime)>, u64), StoreError> {
        let mut due = index.due.clone();
        while (due.len() as u64) < index.expired && due.len() < MOST {
            let page = self.store.expired(index.now, due.len(), PAGE).await?;
            if page.is_empty() {
                break;
            }
            due.extend(page);
        }
        // Leases that were renewed meanwhile shift the pages, so one may be seen twice.
        let mut known = HashSet::new();
        due.retain(|(id, _)| known.insert(id.clone()));
        due.iter().for_each(|(id, _)| self.report_strange(id));
        let found = due.len();
        due.retain(|(id, _)| is_usable(id));
        let unusable = (found - due.len()) as u64;
        Ok((due, unusable))
    }

    /// Renews the leases of plain agents that have beaten since.
    async fn renew(&self, living: &[Suspect], due: &[(String, ServerTime)]) -> Result<(), StoreError> {
        let judged: HashMap<&str, ServerTime> = due.iter().map(|(id, end)| (id.as_str(), *end)).collect();
        let renewed = living.iter().filter_map(|suspect| Some((suspect, *judged.get(suspect.id.as_str())?)));
        stream::iter(renewed)
            .map(|(suspect, judged_end)| self.store.renew_plain(suspect, judged_end))
            .buffer_unordered(RENEWALS)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Who else has missed a beat, where silence is to be judged: the others of a mass that is only beginning to show.
    async fn overdue(&self, triage: &Triage) -> Result<u64, StoreError> {
        let (default, now) = (millis(self.settings().sweep.orphan_threshold), triage.now());
        match triage.longest_silent_lease(default) {
            Some(longest) => self.store.overdue(now, longest, OVERDUE).await,
            None => Ok(0),
        }
    }

    /// Beats of living agents, where the plan may need them: after a break in watching.
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
