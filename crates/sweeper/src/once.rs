//! `sweeper sweep`: one pass, for cron, for people and for tests.

use std::time::Duration;

use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::Output;
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::orphan::OrphanCleanupResult;
use lifecycle_redis::{Bus, Hint, Store, StoreError};

use crate::events::{self, Wake};
use crate::memory::sampler::MemorySampler;
use crate::pass::How;
use crate::pass::table::print;
use crate::sweeper::Sweeper;

/// How long to wait for the subscription that hears answers to the last call. A pass also works without it.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How to sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Look and plan only; nothing is written.
    pub dry_run: bool,
    /// Look for registered agents that the indexes lost. Reads the name of every key; not in a dry run.
    pub reconcile: bool,
}

/// Makes one pass and prints what it did. Returns 74 if it found orphans and held every one of them, else 0.
///
/// # Errors
/// With exit code 69 when the store could not be reached, 2 when its URL cannot be used, else 1.
pub async fn sweep(settings: &Settings, how: Sweep, output: Output) -> anyhow::Result<u8> {
    let store = Store::connect(settings).await.map_err(|error| unusable(&error))?.sweeper();
    store.check_deployment().await.map_err(|error| unusable(&error))?;
    crate::daemon::warn_of_eviction(&store).await;
    let sweeper = Sweeper::new(store.clone());
    let Sweep { dry_run, reconcile } = how;
    let how = How { dry_run, compare: true };
    let passed = if dry_run {
        sweeper.pass(how).await
    } else {
        if reconcile {
            sweeper.reconcile().await.map_err(|error| unusable(&error))?;
        }
        let bus = subscribed(&store).await.map_err(|error| unusable(&error))?;
        let (wake, sampler) = (Wake::default(), MemorySampler::default());
        let probing = sweeper.watch.run(&store);
        let listening = events::listen(bus, &wake, &sweeper.acknowledgements, &sampler);
        tokio::select! {
            passed = sweeper.pass(how) => passed,
            never = probing => match never {},
            never = listening => match never {},
        }
    };
    let passed = passed.map_err(|error| unusable(&error))?;
    print(output, &passed.result)?;
    store.close().await;
    let OrphanCleanupResult { orphans_detected, held, .. } = passed.result;
    let held_all = !dry_run && held > 0 && held == orphans_detected;
    Ok(if held_all { exit::ALL_HELD } else { exit::OK })
}

async fn subscribed(store: &Store) -> Result<Bus, StoreError> {
    let mut bus = store.subscribe()?;
    let heard = async { while !matches!(bus.next().await, Hint::Resync(_)) {} };
    if tokio::time::timeout(SUBSCRIBE_TIMEOUT, heard).await.is_err() {
        tracing::debug!("no subscription yet; answers to the last call will not be in the audit log");
    }
    Ok(bus)
}

fn unusable(error: &StoreError) -> anyhow::Error {
    Failure::new(exit::of_store(error), error.to_string()).into()
}
