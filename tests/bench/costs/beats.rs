//! Heartbeats per second: many agents at once over few connections, beside the same script with the same keys and
//! arguments under `redis-benchmark`, which does nothing else.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::memory_records::MemoryUsage;
use lifecycle_core::wire::record::{AgentState, Heartbeat, Registration, Role};
use lifecycle_core::wire::time::HostTime;
use lifecycle_redis::{Fenced, Life, Registered, Store};
use lifecycle_tests::program::on_path;
use lifecycle_tests::{PlainClient, Reply, Server};

use crate::report::{Better, CostReport, median};
use crate::step;

const PER_SECOND: (&str, Better) = ("beats/s", Better::More);
const LEASE: Duration = Duration::from_secs(3_600);
/// How many agents beat at the same time, and how many calls `redis-benchmark` has under way.
const LIVES: u32 = 256;

/// Measures beats over one connection and over four.
pub(crate) async fn measure(
    settings: &Settings,
    server: &Server,
    beats: u32,
    runs: u8,
    report: &mut CostReport,
) -> Result<()> {
    let program = ["redis-benchmark", "valkey-benchmark"].into_iter().find_map(on_path);
    let lives = register(settings).await?;
    let call = Call::record(settings, server, lives.first().context("no life was registered")?).await?;
    for connections in [1, 4] {
        step(&format!("{beats} beats of {LIVES} agents over {connections} connection(s), {runs} times"));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(beat(settings, &lives, connections, beats).await?);
            if let Some(program) = &program {
                theirs.push(call.under_benchmark(program, server.port(), connections, beats)?);
            }
        }
        let baseline = (!theirs.is_empty()).then(|| median(theirs));
        let note = match baseline {
            Some(_) => {
                format!("the same script under redis-benchmark -c {connections} -P {}", LIVES / connections)
            }
            None => "redis-benchmark is not on PATH, so there is no baseline".to_owned(),
        };
        report.add(
            format!("heartbeats over {connections} connection(s)"),
            PER_SECOND,
            median(ours),
            baseline,
            note,
        );
    }
    Ok(())
}

async fn register(settings: &Settings) -> Result<Vec<Life>> {
    let store = Store::connect(settings).await?;
    let mut lives = Vec::new();
    for number in 0..LIVES {
        let registration = Registration {
            pool: None,
            id: AgentId::new(format!("beating-{number}"))?,
            role: Role::Worker,
            kind: "coder".into(),
            parent: None,
            sprint: None,
            epic: None,
            host: "host-1".into(),
            pid: std::process::id(),
            pid_start: None,
            place: None,
            containment: None,
            lease: LEASE,
        };
        match store.newcomer(&registration).register(AgentState::Running, None).await? {
            Registered::Ok(life) => lives.push(life),
            other => bail!("{} could not be registered: {other:?}", registration.id),
        }
    }
    store.close().await;
    Ok(lives)
}

/// Every agent beats again as soon as its last beat was answered; beats per second of all of them.
async fn beat(settings: &Settings, lives: &[Life], connections: u32, beats: u32) -> Result<f64> {
    let mut stores = Vec::new();
    for _ in 0..connections {
        stores.push(Store::connect(settings).await?);
    }
    let each = beats / LIVES;
    let started = Instant::now();
    let mut agents = tokio::task::JoinSet::new();
    for (life, store) in lives.iter().zip(stores.iter().cycle()) {
        agents.spawn(beat_often(store.clone(), life.clone(), each));
    }
    while let Some(agent) = agents.join_next().await {
        agent??;
    }
    let seconds = started.elapsed().as_secs_f64();
    for store in stores {
        store.close().await;
    }
    Ok(f64::from(each * LIVES) / seconds)
}

async fn beat_often(store: Store, life: Life, times: u32) -> Result<()> {
    for _ in 0..times {
        beat_once(&store, &life).await?;
    }
    Ok(())
}

async fn beat_once(store: &Store, life: &Life) -> Result<()> {
    let beat = Heartbeat {
        agent_id: life.id.to_string(),
        incarnation: Some(life.incarnation),
        timestamp: Some(HostTime::from_host_ms(1_764_000_000_000)),
        pid: Some(std::process::id().into()),
        memory_usage: Some(MemoryUsage { rss: 52_428_800, ..MemoryUsage::default() }),
        state: Some(AgentState::Running.to_string()),
        progress: None,
    };
    let lease_ms = u64::try_from(LEASE.as_millis())?;
    match store.agent(life).beat(lease_ms, &beat, AgentState::Running).await? {
        Fenced::Ok(_) => Ok(()),
        refused => bail!("a beat was answered {refused:?}"),
    }
}

/// The command that a beat is on the wire.
struct Call {
    parts: Vec<String>,
}

impl Call {
    /// Lets the server show one beat, so that exactly what the product sends is measured. The slow log would not do: it keeps
    /// 32 arguments, and a beat has more.
    async fn record(settings: &Settings, server: &Server, life: &Life) -> Result<Self> {
        let store = Store::connect(settings).await?;
        beat_once(&store, life).await?;
        let mut monitor = server.client()?;
        monitor.run(&["MONITOR"])?;
        beat_once(&store, life).await?;
        store.close().await;
        let call = monitored_script(&mut monitor)?.context("the server showed no script call")?;
        let call = Self { parts: call.iter().map(|part| without_binary(part)).collect() };
        call.check(&mut server.client()?)?;
        Ok(call)
    }

    /// `redis-benchmark` counts refusals too, so the call is tried once before.
    fn check(&self, client: &mut PlainClient) -> Result<()> {
        let parts: Vec<&str> = self.parts.iter().map(String::as_str).collect();
        let answer = client.run(&parts)?.texts();
        ensure!(answer.first().is_some_and(|word| word == "ok"), "the recorded beat was answered {answer:?}");
        Ok(())
    }

    fn under_benchmark(&self, program: &PathBuf, port: u16, connections: u32, beats: u32) -> Result<f64> {
        let mut command = Command::new(program);
        command.args(["-q", "-p", &port.to_string(), "-n", &beats.to_string()]);
        command.args(["-c", &connections.to_string(), "-P", &(LIVES / connections).to_string()]);
        let output = command.args(&self.parts).output().context("redis-benchmark could not be run")?;
        let text = String::from_utf8_lossy(&output.stdout);
        // Its progress comes first, on the same line.
        let (before, _) = text.rsplit_once("requests per second").context("redis-benchmark named no rate")?;
        let rate = before.split_whitespace().next_back().context("redis-benchmark named no rate")?;
        rate.parse().with_context(|| format!("redis-benchmark named the rate {rate:?}"))
    }
}

/// The first script call among what the server has shown.
fn monitored_script(monitor: &mut PlainClient) -> Result<Option<Vec<Vec<u8>>>> {
    for _ in 0..100 {
        // What was shown earlier comes before the answer.
        let Reply::Simple(line) = monitor.run(&["PING"])? else { continue };
        if let Some((_, words)) = line.split_once("] ").filter(|(_, words)| words.starts_with("\"EVALSHA\""))
        {
            return Ok(Some(unquoted(words)));
        }
    }
    Ok(None)
}

/// The words of a line of MONITOR: in double quotes, with bytes that are not printable as `\xff`, `\n` and the like.
fn unquoted(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = None;
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, &mut word) {
            (b'"', None) => word = Some(Vec::new()),
            (b'"', Some(_)) => words.extend(word.take()),
            (b'\\', Some(word)) => match bytes.next() {
                Some(b'x') => {
                    let digits = [bytes.next(), bytes.next()].map(|digit| char::from(digit.unwrap_or(b'0')));
                    word.push(u8::from_str_radix(&String::from_iter(digits), 16).unwrap_or_default());
                }
                Some(other) => word.push(other),
                None => {}
            },
            (byte, Some(word)) => word.push(byte),
            _ => {}
        }
    }
    words
}

/// The heartbeat is opaque to the script, and MessagePack cannot be passed as a program's argument. Letters of the same
/// length stand in for it.
fn without_binary(part: &[u8]) -> String {
    if part.iter().all(u8::is_ascii_graphic) {
        return String::from_utf8_lossy(part).into_owned();
    }
    "x".repeat(part.len())
}
