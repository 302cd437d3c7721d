//! What a pass costs with nobody dead, and what reaping costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lifecycle_core::settings::Settings;
use lifecycle_redis::Store;
use lifecycle_tests::Reply;
use sweeper::{How, Sweeper};

use crate::fleet::Fleet;
use crate::report::{Better, Report, median};
use crate::seed::OrphanDetector;
use crate::step;

const MS: (&str, Better) = ("ms", Better::Less);
/// What a script may block the server for, in ms.
const LONGEST_ALLOWED_MS: f64 = 5.0;
/// Commands shorter than this are not looked at when the longest is searched, in µs.
const WORTH_LOGGING: &str = "100";

/// What the document's algorithm needs, in ms.
struct Seed {
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
    report: &mut Report,
) -> Result<()> {
    let seed = measure_seed(settings, fleet, runs).await?;
    measure_pass(settings, fleet, runs, &seed, report).await?;
    measure_reaping(settings, fleet, dead, runs, &seed, report).await
}

async fn measure_seed(settings: &Settings, fleet: &mut Fleet, runs: u8) -> Result<Seed> {
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
    Ok(Seed { pass: median(passes), orphan: median(orphans), grace: millis(settings.sweep.grace) })
}

async fn measure_pass(
    settings: &Settings,
    fleet: &mut Fleet,
    runs: u8,
    seed: &Seed,
    report: &mut Report,
) -> Result<()> {
    let store = Store::connect(settings).await?;
    let sweeper = Sweeper::new(store.clone());
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
    let note = format!("the document's pass; ours is 2 scripts, and a round trip alone takes {trip:.2} ms");
    report.add(format!("pass over {agents} live agents"), MS, pass, Some(seed.pass), note);
    store.close().await;
    Ok(())
}

async fn measure_reaping(
    settings: &Settings,
    fleet: &mut Fleet,
    dead: u32,
    runs: u8,
    seed: &Seed,
    report: &mut Report,
) -> Result<()> {
    let mut longest = (0.0, String::from("none was longer than 0.1 ms"));
    fleet.client().run(&["CONFIG", "SET", "slowlog-log-slower-than", WORTH_LOGGING])?;
    fleet.client().run(&["CONFIG", "SET", "slowlog-max-len", "10000"])?;
    for (name, grace) in [("without grace", Duration::ZERO), ("with grace", settings.sweep.grace)] {
        step(&format!("reaping {dead} dead of {} agents {name}, {runs} times", fleet.len()));
        let mut settings = settings.clone();
        settings.sweep.grace = grace;
        let store = Store::connect(&settings).await?;
        let sweeper = Sweeper::new(store.clone());
        // The first reap loads the scripts.
        fleet.plant_dead(0..1)?;
        sweeper.pass(How::default()).await?;
        let mut times = Vec::new();
        for _ in 0..runs {
            fleet.plant_dead(0..dead)?;
            fleet.client().run(&["SLOWLOG", "RESET"])?;
            fleet.client().run(&["CONFIG", "RESETSTAT"])?;
            let (passed, ms) = timed(sweeper.pass(How::default())).await?;
            let cleaned = passed.result.orphans_cleaned;
            ensure!(cleaned == u64::from(dead), "the pass reaped {cleaned} of {dead} dead");
            times.push(ms);
            let (ms, command) = slowest(fleet)?;
            eprintln!(
                "{:?}",
                fleet
                    .client()
                    .text(&["INFO", "commandstats"])?
                    .unwrap()
                    .lines()
                    .map(str::to_string)
                    .collect::<Vec<_>>()
            );
            eprintln!("{:?}", fleet.client().text(&["INFO", "cpu"])?);
            if ms > longest.0 {
                longest = (ms, command);
            }
        }
        let theirs = seed.pass + f64::from(dead) * (seed.orphan - seed.grace + millis(grace));
        let note = format!("the document's pass + {dead} x {:.0} ms (extrapolated from {runs})", seed.orphan);
        report.add(
            format!("reap {dead} of {} agents, {name}", fleet.len()),
            MS,
            median(times),
            Some(theirs),
            note,
        );
        store.close().await;
    }
    let note = format!("what a script may take; the slowest command was {}", longest.1);
    report.add("longest blocking while reaping", MS, longest.0, Some(LONGEST_ALLOWED_MS), note);
    Ok(())
}

/// The slowest command since the slow log was reset: ms, and its first words.
fn slowest(fleet: &mut Fleet) -> Result<(f64, String)> {
    let reply = fleet.client().run(&["SLOWLOG", "GET", "10000"])?;
    let Reply::Array(entries) = reply else { return Ok((0.0, String::new())) };
    let mut slowest = (0.0, String::new());
    for entry in entries {
        let Reply::Array(parts) = entry else { continue };
        let (Some(Reply::Int(micros)), Some(command)) = (parts.get(2), parts.get(3)) else { continue };
        let ms = Duration::from_micros(u64::try_from(*micros)?).as_secs_f64() * 1_000.0;
        let words = command.texts();
        // EVALSHA <hash> <number of keys>: which script it was is told by how many keys it has.
        if ms > slowest.0 {
            slowest = (ms, words.iter().take(3).map(|word| shortened(word)).collect::<Vec<_>>().join(" "));
        }
    }
    Ok(slowest)
}

fn shortened(word: &str) -> String {
    word.chars().take(12).collect()
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
