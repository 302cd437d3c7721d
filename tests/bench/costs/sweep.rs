//! What a pass costs with nobody dead, and what reaping costs.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lifecycle_core::settings::Settings;
use lifecycle_redis::Store;
use lifecycle_tests::Reply;
use sweeper::{How, Sweeper};

use crate::fleet::Fleet;
use crate::original::OrphanDetector;
use crate::report::{Better, CostReport, median};
use crate::step;

const MS: (&str, Better) = ("ms", Better::Less);
/// What a script may block the server for, in ms.
const LONGEST_ALLOWED_MS: f64 = 5.0;
/// Commands shorter than this are not looked at when the longest is searched.
const WORTH_LOGGING_US: &str = "100";
/// How many of the others are kept: more than a pass issues.
const LOGGED: &str = "100000";

/// What the algorithm of the original design needs, in ms.
struct OriginalCosts {
    pass: f64,
    orphan: f64,
    grace: f64,
}

/// Measures passes and reaping, on both sides; leaves the first `dead` agents of the fleet removed.
pub(crate) async fn measure(
    settings: &Settings,
    fleet: &mut Fleet,
    dead: u32,
    runs: u8,
    report: &mut CostReport,
) -> Result<()> {
    let original = measure_original(settings, fleet, runs).await?;
    measure_pass(settings, fleet, runs, &original, report).await?;
    measure_reaping(settings, fleet, dead, runs, &original, report).await
}

async fn measure_original(settings: &Settings, fleet: &mut Fleet, runs: u8) -> Result<OriginalCosts> {
    let detector = OrphanDetector::connect(settings).await?;
    let (mut passes, mut orphans) = (Vec::new(), Vec::new());
    step(&format!("the document's pass over {} live agents, {runs} times", fleet.len()));
    for _ in 0..runs {
        let (found, ms) = timed(detector.detect()).await?;
        ensure!(found.orphans.is_empty(), "the document's algorithm found {} dead", found.orphans.len());
        ensure!(found.healthy.len() == fleet.len() as usize, "it found {} agents", found.healthy.len());
        passes.push(ms);
    }
    step(&format!("the document's cleanup of {runs} orphan(s), one after the other"));
    for number in 0..u32::from(runs) {
        fleet.plant_dead(number..number + 1)?;
        let (deleted, ms) = timed(detector.clean_up(&Fleet::id(number))).await?;
        ensure!(deleted == 5, "the document's algorithm deleted {deleted} keys of an orphan instead of 5");
        orphans.push(ms);
        fleet.plant_alive(number..number + 1)?;
    }
    Ok(OriginalCosts { pass: median(passes), orphan: median(orphans), grace: millis(settings.sweep.grace) })
}

async fn measure_pass(
    settings: &Settings,
    fleet: &mut Fleet,
    runs: u8,
    original: &OriginalCosts,
    report: &mut CostReport,
) -> Result<()> {
    let store = Store::connect(settings).await?;
    let sweeper = Sweeper::new(store.sweeper());
    // The first pass loads the scripts.
    sweeper.pass(How::default()).await?;
    let (mut passes, mut trips) = (Vec::new(), Vec::new());
    for _ in 0..u32::from(runs) * 10 {
        let (passed, ms) = timed(sweeper.pass(How::default())).await?;
        let detected = passed.result.orphans_detected;
        ensure!(detected == 0, "a pass over living agents found {detected} orphan(s)");
        passes.push(ms);
        trips.push(timed(store.server_time()).await?.1);
    }
    let (pass, trip) = (median(passes), median(trips));
    let agents = fleet.len();
    let note = format!("the document's pass; a round trip alone takes {trip:.2} ms");
    report.add(format!("pass over {agents} live agents"), MS, pass, Some(original.pass), note);
    store.close().await;
    Ok(())
}

async fn measure_reaping(
    settings: &Settings,
    fleet: &mut Fleet,
    dead: u32,
    runs: u8,
    original: &OriginalCosts,
    report: &mut CostReport,
) -> Result<()> {
    fleet.client().run(&["CONFIG", "SET", "slowlog-log-slower-than", WORTH_LOGGING_US])?;
    fleet.client().run(&["CONFIG", "SET", "slowlog-max-len", LOGGED])?;
    let (agents, mut longest) = (fleet.len(), Vec::new());
    for (name, grace) in [("without grace", Duration::ZERO), ("with grace", settings.sweep.grace)] {
        step(&format!("reaping {dead} dead of {agents} agents {name}, {runs} times"));
        let mut settings = settings.clone();
        settings.sweep.grace = grace;
        let times = reap(&settings, fleet, dead, runs, &mut longest).await?;
        let theirs = original.pass + f64::from(dead) * (original.orphan - original.grace + millis(grace));
        let each = original.orphan - original.grace + millis(grace);
        let note = format!("the document's pass + {dead} x {each:.0} ms (extrapolated from {runs})");
        report.add(format!("reap {dead} of {agents} agents, {name}"), MS, median(times), Some(theirs), note);
    }
    let worst = longest.iter().copied().fold(0.0, f64::max);
    let note = format!(
        "what one script may take; the worst of all runs was {worst:.2} ms, time in which others had the core included"
    );
    report.add("longest command while reaping", MS, median(longest), Some(LONGEST_ALLOWED_MS), note);
    Ok(())
}

/// How long each pass took, in ms; the longest command of each goes into `longest`.
async fn reap(
    settings: &Settings,
    fleet: &mut Fleet,
    dead: u32,
    runs: u8,
    longest: &mut Vec<f64>,
) -> Result<Vec<f64>> {
    let store = Store::connect(settings).await?;
    let sweeper = Sweeper::new(store.sweeper());
    // The first reap loads the scripts.
    fleet.plant_dead(0..1)?;
    sweeper.pass(How::default()).await?;
    let mut times = Vec::new();
    for _ in 0..runs {
        fleet.plant_dead(0..dead)?;
        fleet.client().run(&["SLOWLOG", "RESET"])?;
        let (passed, ms) = timed(sweeper.pass(How::default())).await?;
        let cleaned = passed.result.orphans_cleaned;
        ensure!(cleaned == u64::from(dead), "the pass reaped {cleaned} of {dead} dead");
        times.push(ms);
        longest.push(slowest(fleet)?);
    }
    store.close().await;
    Ok(times)
}

/// How long the slowest command took since the slow log was reset, in ms; none that was logged means less than what
/// is worth logging.
fn slowest(fleet: &mut Fleet) -> Result<f64> {
    let reply = fleet.client().run(&["SLOWLOG", "GET", LOGGED])?;
    let Reply::Array(entries) = reply else { bail!("SLOWLOG answered {reply:?}") };
    let micros = entries.iter().filter_map(|entry| match entry {
        Reply::Array(parts) => match parts.get(2) {
            Some(Reply::Int(micros)) => u64::try_from(*micros).ok(),
            _ => None,
        },
        _ => None,
    });
    let least = WORTH_LOGGING_US.parse()?;
    Ok(millis(Duration::from_micros(micros.max().unwrap_or(least))))
}

/// What a future returns, and how many ms it took.
async fn timed<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<(T, f64)>
where
    anyhow::Error: From<E>,
{
    let started = Instant::now();
    let value = work.await?;
    Ok((value, millis(started.elapsed())))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
