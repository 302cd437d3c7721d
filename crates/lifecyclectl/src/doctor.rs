//! `doctor`: whether the store is fit for its work, and whether a sweeper is at work.

use std::collections::HashMap;
use std::time::Instant;

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, Table, age, count, size};
use lifecycle_core::sweep::observation::IndexReading;
use lifecycle_redis::{OperatorStore, StoreError};
use serde::Serialize;

use crate::{verify, wording};

/// Percentage of maxmemory from which on the store counts as nearly full.
const NEARLY_FULL: u64 = 90;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl doctor
  lifecyclectl doctor --output json | jq '.checks[] | select(.ok | not)'")]
pub(crate) struct Arguments {}

#[derive(Debug, Serialize)]
struct DoctorReport {
    ok: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

pub(crate) async fn run(_: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let seen = store.observe(1).await?;
    let memory_info = store.server_info("memory").await?;
    let checks = vec![
        server(store).await?,
        encryption(store),
        eviction(&memory_info),
        memory(&memory_info),
        latency(store).await?,
        generation(store, &seen).await?,
        sweeper(store, &seen),
        hold(&seen),
        epics(store, &seen).await?,
        residue(store).await?,
        processes(store).await?,
    ];
    let report = DoctorReport { ok: checks.iter().all(|check| check.ok), checks };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(if report.ok { exit::OK } else { exit::FAILED })
}

async fn server(store: &OperatorStore) -> Result<Check, StoreError> {
    let info = store.server_info("server").await?;
    let version = match (info.get("valkey_version"), info.get("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "a server that does not say its version".into(),
    };
    Ok(Check { name: "store", ok: true, detail: format!("{version} at {}", store.url()) })
}

/// This check does not judge, because it cannot be known here who can listen to the network.
fn encryption(store: &OperatorStore) -> Check {
    let detail = if store.is_encrypted() {
        match &store.settings().redis.tls.ca {
            Some(ca) => format!("TLS; the store's certificate is signed by {}", ca.display()),
            None => "TLS; the store's certificate is signed by an authority that this machine trusts".into(),
        }
    } else if store.is_local_socket() {
        "none, and none needed: a socket of this machine".into()
    } else {
        "none: whoever can listen to the network reads the password and all that is said".into()
    };
    Check { name: "encryption", ok: true, detail }
}

fn eviction(info: &HashMap<String, String>) -> Check {
    let policy = info.get("maxmemory_policy").map_or("unknown", String::as_str);
    let ok = policy == "noeviction";
    let detail = if ok {
        policy.to_string()
    } else {
        format!(
            "{policy}: the store may throw heartbeats away when it is full; set maxmemory-policy noeviction"
        )
    };
    Check { name: "eviction", ok, detail }
}

fn memory(info: &HashMap<String, String>) -> Check {
    let bytes = |name: &str| info.get(name).and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
    let (used, limit) = (bytes("used_memory"), bytes("maxmemory"));
    if limit == 0 {
        return Check { name: "memory", ok: true, detail: format!("{} used, no maxmemory", size(used)) };
    }
    let of = format!("{} of {} used", size(used), size(limit));
    let percent = used.saturating_mul(100) / limit;
    if percent < NEARLY_FULL {
        return Check { name: "memory", ok: true, detail: of };
    }
    let full = if percent < 100 {
        "the store is nearly full, and once it is full it refuses"
    } else {
        "the store is full and refuses"
    };
    let detail = format!(
        "{of}: {full} registrations and new tasks; raise maxmemory, or remove keys of other programs"
    );
    Check { name: "memory", ok: false, detail }
}

async fn latency(store: &OperatorStore) -> Result<Check, StoreError> {
    let asked = Instant::now();
    store.server_time().await?;
    let took = asked.elapsed();
    // A lease must leave room for many beats and retries.
    let ok = took < store.settings().heartbeat.interval / 10;
    let slow = if ok { "" } else { ": too slow for this heartbeat.interval" };
    let millis = took.as_secs_f64() * 1_000.0;
    Ok(Check { name: "round trip", ok, detail: format!("{millis:.1}ms{slow}") })
}

async fn generation(store: &OperatorStore, seen: &IndexReading) -> Result<Check, StoreError> {
    let (ok, detail) = match &seen.generation {
        Some(marker) => (true, marker.clone()),
        None if store.fleet().await?.iter().any(|view| view.record.is_some()) => (
            false,
            "gone, though agents are registered: they will take the store for one that lost its memory"
                .into(),
        ),
        None => (true, "none yet: no agent has registered".into()),
    };
    Ok(Check { name: "generation", ok, detail })
}

fn sweeper(store: &OperatorStore, seen: &IndexReading) -> Check {
    let absent = wording::absence(seen, store.settings());
    let ok = absent.is_none();
    let last = seen
        .watermark
        .as_ref()
        .map(|mark| format!("last pass {} ago, by {}", age(seen.now.ms_since(mark.at)), mark.by));
    Check { name: "sweeper", ok, detail: absent.or(last).unwrap_or_default() }
}

fn hold(seen: &IndexReading) -> Check {
    match wording::held(seen) {
        Some(hold) => Check { name: "hold", ok: false, detail: format!("reaping is held: {}", hold.reason) },
        None => Check { name: "hold", ok: true, detail: "reaping is not held".into() },
    }
}

/// An epic that waits is nobody's fault, and worth knowing.
async fn epics(store: &OperatorStore, seen: &IndexReading) -> Result<Check, StoreError> {
    let waiting = crate::epics::waiting(store, seen.now).await?;
    let detail = if waiting.is_empty() { "none waits for a coordinator".into() } else { waiting.join("; ") };
    Ok(Check { name: "epics", ok: true, detail })
}

async fn residue(store: &OperatorStore) -> Result<Check, StoreError> {
    let findings = verify::search(store).await?;
    let ok = findings.residue.is_empty();
    let hint = if ok { "" } else { "; `lifecyclectl verify` names them" };
    Ok(Check { name: "residue", ok, detail: format!("{}{hint}", findings.summary()) })
}

/// Of this host alone: each has to be asked by itself.
async fn processes(store: &OperatorStore) -> Result<Check, StoreError> {
    let left = crate::processes::left(store).await?;
    let ok = left.is_none();
    let detail = left.unwrap_or_else(|| "none of a life that is over is left on this host".into());
    Ok(Check { name: "processes", ok, detail })
}

impl DoctorReport {
    fn text(&self) -> String {
        let mut table = Table::new(["CHECK", "RESULT", "DETAIL"]);
        for check in &self.checks {
            table.row([check.name, if check.ok { "ok" } else { "WRONG" }, &check.detail]);
        }
        let wrong = self.checks.iter().filter(|check| !check.ok).count() as u64;
        match wrong {
            0 => format!("{table}all is well\n"),
            wrong => format!("{table}{} wrong\n", count(wrong, "thing")),
        }
    }
}
