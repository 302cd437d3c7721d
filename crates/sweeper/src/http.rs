//! `/metrics`, `/healthz` and `/readyz`.
//!
//! Sweeping does not depend on them. Where the address is taken, they are served as soon as it is free.

pub(crate) mod counters;
pub(crate) mod event_counters;
pub(crate) mod exposition;
pub(crate) mod health;
pub(crate) mod pass_gauges;
pub mod ready;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lifecycle_core::agent::liveness::sweeper_patience;
use lifecycle_core::wire::metric;
use lifecycle_redis::Listening;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::http::exposition::Exposition;
use crate::memory::sampler::MemorySampler;
use crate::sweeper::Sweeper;

/// A loop that stood still for this long (plus the grace period) counts as dead.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Pause between two tries while the address is taken.
const RETRY: Duration = Duration::from_secs(2);

/// The sources of the pages.
#[derive(Clone)]
pub(crate) struct Pages {
    recorder: PrometheusHandle,
    sweeper: Arc<Sweeper>,
    listening: Listening,
    sampler: Arc<MemorySampler>,
}

/// Serves for ever, from the moment the address is free.
pub(crate) async fn serve(address: SocketAddr, pages: Pages) -> Infallible {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(health_page))
        .route("/readyz", get(ready_page))
        .with_state(pages);
    loop {
        let listener = listen(address).await;
        if let Err(error) = axum::serve(listener, router.clone()).await {
            tracing::error!(%error, "/metrics, /healthz and /readyz were interrupted; sweeping goes on");
        }
        sleep(RETRY).await;
    }
}

/// Tries until it succeeds. Logs one line, however many tries it takes.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let http = listener.local_addr().unwrap_or(address);
                tracing::info!(%http, "/metrics, /healthz and /readyz are served");
                return listener;
            }
            Err(error) if !std::mem::replace(&mut told, true) => tracing::error!(
                "http.listen {address} cannot be used: {error}; /metrics, /healthz and /readyz are not there, sweeping \
                 goes on; trying again every {} s: free the address, or set http.listen to another one",
                RETRY.as_secs()
            ),
            Err(error) => tracing::debug!(%error, %address, "still not to be had"),
        }
        sleep(RETRY).await;
    }
}

impl Pages {
    pub(crate) fn new(
        recorder: PrometheusHandle,
        sweeper: Arc<Sweeper>,
        listening: Listening,
        sampler: Arc<MemorySampler>,
    ) -> Self {
        Self { recorder, sweeper, listening, sampler }
    }

    /// The page of metrics: counters, and gauges as of this moment.
    fn metrics(&self) -> String {
        let (sweeper, mut page) = (&self.sweeper, Exposition::default());
        // A sweeper that is cut off from the store would show an old fleet beside the sweepers that see the present
        // one.
        let sees = sweeper.watch.is_answering();
        sweeper.pass_gauges.render(&mut page, sees);
        if sees {
            self.sampler.render(&mut page, &sweeper.settings().memory);
        }
        page.single(metric::SWEEP_LAST_GOOD_AGE, Some(sweeper.health.since_good().as_secs_f64()));
        page.single(metric::STORE_UP, Some(u8::from(sees)));
        page.single(metric::BUS_LAG, self.listening.lag().map(|lag| lag.as_secs_f64()));
        page.single(metric::RESIDUE, sweeper.residue());
        self.recorder.render() + &page.text()
    }

    /// Why the process should be replaced; `None` if it is well.
    fn sickness(&self) -> Option<String> {
        let standing = self.sweeper.health.standing();
        let limit = STANDSTILL + self.sweeper.settings().sweep.grace;
        (standing > limit).then(|| format!("the sweep loop has stood still for {} s", standing.as_secs()))
    }

    /// Why orphans are not found now; `None` if they are.
    fn obstacle(&self) -> Option<String> {
        if let Some(sickness) = self.sickness() {
            return Some(sickness);
        }
        if !self.sweeper.watch.is_answering() {
            return Some(format!("the store at {} does not answer", self.sweeper.store.url()));
        }
        let limit = sweeper_patience(self.sweeper.settings().sweep.interval);
        match self.sweeper.health.since_pass() {
            None => return Some("no pass was made yet".into()),
            Some(ago) if ago > limit => {
                return Some(format!("the last pass that came to its end was {} s ago", ago.as_secs()));
            }
            Some(_) => {}
        }
        (!self.listening.is_proven()).then(|| "the event subscription does not work yet".into())
    }
}

async fn metrics_page(State(pages): State<Pages>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], pages.metrics())
}

async fn health_page(State(pages): State<Pages>) -> impl IntoResponse {
    answer(pages.sickness())
}

async fn ready_page(State(pages): State<Pages>) -> impl IntoResponse {
    answer(pages.obstacle())
}

fn answer(problem: Option<String>) -> (StatusCode, String) {
    match problem {
        None => (StatusCode::OK, "ok\n".into()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem + "\n"),
    }
}
