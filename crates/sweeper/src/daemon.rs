//! `sweeper run`: everything that runs side by side, from start to stop.

use std::collections::HashSet;
use std::convert::Infallible;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_redis::{Store, Troubles};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::events::{self, Wake};
use crate::http::{self, Pages, counters};
use crate::memory::sampler::MemorySampler;
use crate::run_loop::RunLoop;
use crate::sweeper::Sweeper;

/// Sweeps until SIGTERM or SIGINT. The store may come later, go and come back.
///
/// # Errors
/// When nothing was started: exit code 2 for a URL that cannot be used.
pub async fn run(settings: &Settings) -> anyhow::Result<u8> {
    let recorder = counters::install()?;
    let store = Store::open(settings)
        .map_err(|error| Failure::new(exit::of_store(&error), error.to_string()))?
        .sweeper();
    let stop = stop_on_signal()?;
    let bus = store.subscribe()?;
    let sweeper = Arc::new(Sweeper::new(store.clone()));
    let wake = Arc::new(Wake::default());
    let sampler = Arc::new(MemorySampler::default());
    tracing::info!(
        store = store.url(),
        threshold = ?settings.sweep.orphan_threshold,
        "{} sweeps",
        sweeper.id()
    );

    let pages = Pages::new(recorder.clone(), Arc::clone(&sweeper), bus.listening(), Arc::clone(&sampler));
    let address = settings.http.listen;
    let looping = RunLoop::new(Arc::clone(&sweeper), Arc::clone(&wake), stop);
    // These tasks end with this function. Work that may take long has a task of its own, so that the watch is never
    // late.
    let mut background = JoinSet::new();
    background.spawn(async move { http::serve(address, pages).await });
    background.spawn({
        let (sweeper, store, sampler) = (Arc::clone(&sweeper), store.clone(), Arc::clone(&sampler));
        async move { sampler.keep(&store, &sweeper.watch).await }
    });
    background.spawn({
        let (sweeper, store, wake) = (Arc::clone(&sweeper), store.clone(), Arc::clone(&wake));
        async move {
            let (_, _, never, ..) = tokio::join!(
                warn_of_eviction(&store),
                counters::keep_small(&recorder),
                sweeper.watch.run(&store),
                events::listen(bus, &wake, &sweeper.acknowledgements, &sampler),
                tell_of_refusals(store.troubles(), &store),
            );
            never
        }
    });
    tokio::select! {
        () = looping.run() => {}
        never = sweeper.keep_reconciled(&wake) => match never {},
    }
    background.shutdown().await;
    if store.is_connected() {
        if let Err(error) = store.leave_sweep(sweeper.id()).await {
            tracing::debug!(%error, "not written down that this sweeper has left; it is missed after a while");
        }
        store.close().await;
    }
    tracing::info!("{} has stopped", sweeper.id());
    Ok(exit::OK)
}

/// The first signal asks the sweeper to stop after the pass under way. The second one ends the process at once.
fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if sender.send_replace(true) {
                tracing::warn!("stopped at once, on the second signal");
                process::exit(128 + number.as_raw_value());
            }
            tracing::info!("stopping: the pass under way is finished first");
        }
    });
    Ok(stop)
}

/// A connection that the store refuses is tried for ever, but only a person can put it right. Each reason is logged
/// once.
async fn tell_of_refusals(mut troubles: Troubles, store: &Store) -> Infallible {
    let mut told = HashSet::new();
    loop {
        let trouble = troubles.next().await;
        if !trouble.is_transient() && told.insert(trouble.to_string()) {
            tracing::error!(
                store = store.url(),
                "{trouble}: nobody is reaped until redis.url and redis.password are right; trying again"
            );
        }
    }
}

/// A store that evicts keys evicts heartbeats first, because they expire. Other keys go for good.
pub(crate) async fn warn_of_eviction(store: &Store) {
    loop {
        match store.server_info("memory").await {
            Ok(memory) => {
                let policy = memory.get("maxmemory_policy").map_or("noeviction", String::as_str);
                if policy != "noeviction" {
                    tracing::warn!(
                        policy,
                        "THE STORE MAY EVICT KEYS when its memory is full, heartbeats and registrations among them: \
                         set maxmemory-policy to noeviction"
                    );
                }
                return;
            }
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(error) => {
                tracing::debug!(%error, "the store does not say whether it evicts keys");
                return;
            }
        }
    }
}
