//! Describes all metrics, and makes counters begin at zero. Events are counted where they happen.

use std::time::Duration;

use lifecycle_core::agent::memory_budget::Limit;
use lifecycle_core::wire::event::EventKind;
use lifecycle_core::wire::metric::{self, IndexGap, Kind, PassOutcome};
use lifecycle_core::wire::orphan::OrphanOutcome;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::sweep_records::HoldKind;
use lifecycle_redis::Missed;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

/// Histograms keep every observation until they are drained, so that is done this often.
const UPKEEP: Duration = Duration::from_secs(5);
/// Durations of passes in seconds: an idle one takes less than the first, a large cleanup some seconds.
const PASSES: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Answers of the store in seconds: on the same machine, in the same network, in trouble.
const PROBES: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Makes this process's metrics readable. Once per process.
pub(crate) fn install() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(metric::SWEEP_DURATION.into()), &PASSES)?
        .set_buckets_for_metric(Matcher::Full(metric::STORE_ROUND_TRIP.into()), &PROBES)?
        .install_recorder()?;
    for (name, kind, help) in metric::ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
            // Rendered from state, not kept as a metric handle.
            Kind::Untyped => {}
        }
    }
    begin_at_zero();
    Ok(recorder)
}

/// Drains histograms for ever.
pub(crate) async fn keep_small(recorder: &PrometheusHandle) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        recorder.run_upkeep();
    }
}

/// A counter that appears with its first event hides that event from `rate()`. So all of them begin at zero.
fn begin_at_zero() {
    let zero = |name: &'static str, label: &'static str, values: &[&'static str]| {
        for value in values {
            metrics::counter!(name, label => *value).absolute(0);
        }
    };
    zero(metric::REAP_OUTCOMES, "outcome", &label_values(&OrphanOutcome::DECIDED, OrphanOutcome::as_str));
    zero(metric::SWEEP_PASSES, "outcome", &label_values(PassOutcome::ALL, PassOutcome::as_str));
    zero(metric::SWEEP_HOLDS, "reason", &label_values(HoldKind::ALL, HoldKind::as_str));
    zero(metric::PROCESS_PROOFS, "outcome", &label_values(ProcessFate::ALL, ProcessFate::as_str));
    zero(metric::MEMORY_LIMITS, "limit", &label_values(Limit::ALL, Limit::as_str));
    zero(metric::RECONCILED, "finding", &label_values(IndexGap::ALL, IndexGap::as_str));
    zero(metric::BUS_RESYNCS, "reason", &label_values(Missed::ALL, Missed::as_str));
    zero(metric::BUS_EVENTS, "event", &[EventKind::Unknown.as_str()]);
    for kind in EventKind::written() {
        zero(metric::BUS_EVENTS, "event", &[kind.as_str()]);
    }
    for name in [metric::KEYS_DELETED, metric::TASKS_REQUEUED, metric::BEATS, metric::FENCED_WRITES] {
        metrics::counter!(name).absolute(0);
    }
}

/// The values that a label can have.
fn label_values<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| word(*value)).collect()
}
