//! One pass of a sweeper through the store's own operations: observe → plan → announce → reap → report.

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream::{self, TryStreamExt as _};
use lifecycle_core::brake::Brake;
use lifecycle_core::contact::Contact;
use lifecycle_core::event::{Event, EventKind};
use lifecycle_core::liveness::millis;
use lifecycle_core::sweep::{Candidate, Reason, plan};
use lifecycle_redis::{ReapOutcome, Store, Suspect, Target};

const TOKEN: &str = "bench";
const IN_FLIGHT: usize = 256;

/// Rounds of a batch each until nobody is left whose lease is over; how many were reaped.
pub(crate) async fn run(store: &Store) -> Result<u64> {
    let mut cleaned = 0;
    loop {
        let batch = store.settings().sweep.batch;
        let seen = store.observe(batch).await?;
        if seen.batch.is_empty() {
            store.end_pass(TOKEN, None).await?;
            return Ok(cleaned);
        }
        let suspects = store.suspects(&seen.batch, seen.now).await?;
        let witnesses = store.witnesses(seen.now, 64).await?;
        let candidates: Vec<Candidate> = suspects.iter().map(|suspect| suspect.candidate.clone()).collect();
        let contact = Contact::begin(seen.now, seen.watermark.as_ref().map(|watermark| watermark.at));
        let decided = plan(&seen, &candidates, contact, &witnesses, &brake(store));
        let doomed: Vec<(&Suspect, Reason)> =
            decided.reap.iter().filter_map(|(index, reason)| Some((suspects.get(*index)?, *reason))).collect();
        anyhow::ensure!(!doomed.is_empty(), "the pass holds its orphans: {:?}", decided.hold);
        cleaned += round(store, seen.now, &doomed).await?;
    }
}

/// Locks, announces, waits, reaps.
async fn round(store: &Store, now: u64, doomed: &[(&Suspect, Reason)]) -> Result<u64> {
    let sweep = &store.settings().sweep;
    let ids: Vec<&str> = doomed.iter().map(|(suspect, _)| suspect.candidate.id.as_str()).collect();
    let locked = store.lock(&ids, TOKEN, sweep.lock_ttl).await?;
    let ours: Vec<_> = doomed.iter().zip(locked).filter(|(_, locked)| *locked).map(|(doomed, _)| *doomed).collect();
    stream::iter(&ours)
        .map(|(suspect, reason)| async move {
            let mut event = Event::new(EventKind::CleanupStarted, now);
            event.agent_id = Some(suspect.candidate.id.clone());
            event.reason = Some(reason.to_string());
            store.publish(&event).await
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    if !sweep.grace.is_zero() {
        tokio::time::sleep(sweep.grace).await;
    }
    let outcomes: Vec<ReapOutcome> = stream::iter(&ours)
        .map(|(suspect, reason)| async move { store.reap(&target(suspect, *reason)).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(outcomes.iter().filter(|outcome| matches!(outcome, ReapOutcome::Reaped(_))).count() as u64)
}

fn target(suspect: &Suspect, reason: Reason) -> Target<'_> {
    Target {
        id: &suspect.candidate.id,
        record: suspect.candidate.record.as_ref(),
        judged: suspect.judged(),
        left_behind: &[],
        reason,
        force: false,
        token: Some(TOKEN),
        by: TOKEN,
        process: "unknown",
    }
}

fn brake(store: &Store) -> Brake {
    let sweep = &store.settings().sweep;
    Brake {
        fraction: sweep.hold_fraction,
        minimum: sweep.hold_minimum.into(),
        timeout_ms: millis(sweep.hold_timeout),
        default_lease_ms: millis(sweep.orphan_threshold),
    }
}
