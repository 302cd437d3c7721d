//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lifecycle_core::metric::{self, Kind};
use lifecycle_core::sweep::Reason;
use lifecycle_redis::Listening;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::time::interval;

use crate::figures::Figures;
use crate::sweeper::Sweeper;

/// Histograms keep every observation until somebody drains them.
const UPKEEP: Duration = Duration::from_secs(5);
/// A loop that stands still for this long (and the grace period) is dead.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Durations of passes in seconds: an idle one takes less than the first, a large cleanup some seconds.
const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// What the pages are made of.
#[derive(Clone)]
pub(crate) struct Pages {
    recorder: PrometheusHandle,
    sweeper: Arc<Sweeper>,
    listening: Listening,
    figures: Arc<Figures>,
}

/// Makes this process's metrics readable. Once per process.
pub(crate) fn install_recorder() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(metric::SWEEP_DURATION.into()), &BUCKETS)?
        .install_recorder()?;
    for (name, kind, help) in metric::ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
    begin_at_zero();
    Ok(recorder)
}

/// A counter that appears with its first event hides that event from `rate()`.
fn begin_at_zero() {
    for reason in Reason::ALL {
        metrics::counter!(metric::ORPHAN_CLEANUP, "reason" => reason.as_str()).absolute(0);
    }
    for outcome in ["cleaned", "refuted", "elsewhere", "failed"] {
        metrics::counter!(metric::REAP_OUTCOMES, "outcome" => outcome).absolute(0);
    }
    for outcome in ["ok", "held", "failed"] {
        metrics::counter!(metric::SWEEP_PASSES, "outcome" => outcome).absolute(0);
    }
    metrics::counter!(metric::KEYS_DELETED).absolute(0);
    metrics::counter!(metric::TASKS_REQUEUED).absolute(0);
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, pages: Pages) -> std::io::Result<()> {
    let recorder = pages.recorder.clone();
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(health_page))
        .route("/readyz", get(ready_page))
        .with_state(pages);
    let upkeep = async {
        let mut ticks = interval(UPKEEP);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    };
    tokio::select! {
        served = axum::serve(listener, router) => served,
        () = upkeep => Ok(()),
    }
}

impl Pages {
    pub(crate) fn new(
        recorder: PrometheusHandle,
        sweeper: Arc<Sweeper>,
        listening: Listening,
        figures: Arc<Figures>,
    ) -> Self {
        Self { recorder, sweeper, listening, figures }
    }

    /// Why the process should be replaced, if it should.
    fn sickness(&self) -> Option<String> {
        let standing = self.sweeper.health.standing();
        let limit = STANDSTILL + self.sweeper.settings().sweep.grace;
        (standing > limit).then(|| format!("the sweep loop has stood still for {} s", standing.as_secs()))
    }

    /// Why orphans are not found at this moment, if they are not.
    fn obstacle(&self) -> Option<String> {
        if let Some(sickness) = self.sickness() {
            return Some(sickness);
        }
        if !self.sweeper.watch.is_answering() {
            return Some(format!("the store at {} does not answer", self.sweeper.store.url()));
        }
        let limit = self.sweeper.settings().sweep.interval * 2 + Duration::from_secs(10);
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
    let text = pages.recorder.render() + &pages.figures.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
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
