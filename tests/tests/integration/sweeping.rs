//! What a sweeper finds, cleans up and leaves alone, on a real store.

mod clocks;
mod daemon;
mod figures;
mod growth;
mod large;
mod leaks;
mod limited;
mod neighbours;
mod original_design;
mod races;
mod replicas;
mod rollback;
mod rubbish;

use std::time::Duration;

use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::memory::MemoryUsage;
use lifecycle_core::wire::record::{AgentState, Heartbeat, Registration, Role as AgentRole};
use lifecycle_core::wire::time::HostTime;
use lifecycle_redis::{BeatReply, Fenced, Life, Registered, Store};
use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{PlainClient, Role, Server, eventually};
use serde_json::Value;
use tokio::runtime::Runtime;

const SOON: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(600);
/// Longer than any threshold in these tests.
const LONG_AGO_MS: i64 = 700_000;

/// A store, and what is done to it by hand.
struct Site {
    server: Server,
    runtime: Runtime,
    store: Store,
    client: PlainClient,
}

impl Site {
    fn start() -> Self {
        let server = Server::start().unwrap();
        let mut settings = Settings::default();
        settings.redis.url = server.url();
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(Store::connect(&settings)).unwrap();
        let client = server.client().unwrap();
        Self { server, runtime, store, client }
    }

    fn role(&self, args: &[&str]) -> RoleCommand {
        let command = Role::command("sweeper").unwrap().args(args.iter().copied());
        command
            .env("LIFECYCLE_REDIS__URL", self.server.url())
            .env("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0")
            .env("LIFECYCLE_SWEEP__GRACE", "20ms")
    }

    fn sweep_command(&self) -> RoleCommand {
        self.role(&["sweep", "--output", "json"])
    }

    /// One pass by `sweeper sweep`.
    fn sweep(&self) -> Value {
        result(&mut self.sweep_command().spawn().unwrap())
    }

    fn daemon(&self) -> Daemon {
        Daemon::from(self.role(&["run"]))
    }

    /// One with these variables, when it is ready.
    fn daemon_with(&self, settings: &[(&str, &str)]) -> Daemon {
        let daemon = Daemon::from(
            settings.iter().fold(self.role(&["run"]), |role, (name, value)| role.env(*name, *value)),
        );
        daemon.wait_until_ready();
        daemon
    }

    // An agent on the plain protocol.

    /// One that beat so long ago, by its own clock and by the server's. Of a beat as old as its lifetime only the
    /// timestamp tells.
    fn plain(&mut self, id: &str, beat_ago_ms: i64) {
        self.plain_with_clock(id, beat_ago_ms, 0);
    }

    /// One whose clock is off by this much.
    fn plain_with_clock(&mut self, id: &str, beat_ago_ms: i64, clock_off_ms: i64) {
        let written = self.client.now_ms().unwrap() - beat_ago_ms;
        let timestamp = written + clock_off_ms;
        let beat = format!(r#"{{"agentId":"{id}","timestamp":{timestamp},"pid":1,"state":"busy"}}"#);
        let (key, expires_at) = (format!("agent:heartbeat:{id}"), (written + 180_000).to_string());
        let lifetime: &[&str] = if beat_ago_ms < 180_000 { &["PXAT", &expires_at] } else { &[] };
        self.client.run(&[&["SET", &key, &beat], lifetime].concat()).unwrap();
        self.client.run(&["SADD", "agents:active", id]).unwrap();
    }

    // A registered agent.

    fn register(&self, id: &str) -> Life {
        self.register_as(&registration(id))
    }

    fn register_as(&self, registration: &Registration) -> Life {
        match self
            .runtime
            .block_on(self.store.newcomer(registration).register(AgentState::Running, None))
            .unwrap()
        {
            Registered::Ok(life) => life,
            other => panic!("{other:?}"),
        }
    }

    fn beat(&self, life: &Life) -> Fenced<BeatReply> {
        self.runtime.block_on(beat(&self.store, life, LEASE)).unwrap()
    }

    /// A beat that tells this of the agent's memory.
    fn beat_using(&self, life: &Life, usage: MemoryUsage) {
        let beat = Heartbeat { memory_usage: Some(usage), ..Heartbeat::default() };
        let lease = u64::try_from(LEASE.as_millis()).unwrap();
        let agent_store = self.store.agent(life);
        let beat = agent_store.beat(lease, &beat, AgentState::Busy);
        assert!(matches!(self.runtime.block_on(beat).unwrap(), Fenced::Ok(_)));
    }

    fn own(&self, life: &Life, names: &[String]) {
        assert_eq!(self.runtime.block_on(self.store.agent(life).own_keys(names)).unwrap(), Fenced::Ok(()));
    }

    /// Makes a lease have ended some time ago.
    fn expire(&mut self, id: &str) {
        let end = (self.client.now_ms().unwrap() - LONG_AGO_MS).to_string();
        self.client.run(&["ZADD", "agents:leases", "XX", &end, id]).unwrap();
    }

    /// Every key but the fleet's own records.
    fn keys(&mut self) -> Vec<String> {
        let fleets = ["agents:", "lifecycle:", "memory:", "sweep:"];
        let keys = self.client.keys().unwrap();
        keys.into_iter().filter(|key| !fleets.iter().any(|prefix| key.starts_with(prefix))).collect()
    }

    fn active(&mut self) -> Vec<String> {
        self.client.texts(&["SMEMBERS", "agents:active"]).unwrap()
    }

    /// The audit entries, newest first.
    fn log(&self) -> Vec<std::collections::HashMap<String, String>> {
        let entries = self.runtime.block_on(self.store.operator().log(10_000)).unwrap();
        entries.into_iter().map(|entry| entry.fields).collect()
    }

    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut PlainClient) -> bool) {
        let client = &mut self.client;
        eventually(SOON, what, || Ok(holds(client).then_some(()))).unwrap();
    }
}

fn registration(id: &str) -> Registration {
    Registration {
        id: AgentId::new(id).unwrap(),
        role: AgentRole::Worker,
        kind: "coder".into(),
        parent: None,
        sprint: None,
        epic: None,
        host: "builder".into(),
        pid: 4242,
        pid_start: None,
        place: None,
        lease: LEASE,
    }
}

async fn beat(
    store: &Store,
    life: &Life,
    lease: Duration,
) -> Result<Fenced<BeatReply>, lifecycle_redis::StoreError> {
    let beat = Heartbeat {
        agent_id: life.id.to_string(),
        incarnation: Some(life.incarnation),
        timestamp: Some(HostTime::from_host_ms(1)),
        memory_usage: Some(MemoryUsage { rss: 7_000_000, ..MemoryUsage::default() }),
        ..Heartbeat::default()
    };
    store.agent(life).beat(u64::try_from(lease.as_millis()).unwrap(), &beat, AgentState::Busy).await
}

/// What `sweeper sweep --output json` printed. Its exit code says whether it held everybody.
fn result(sweep: &mut Role) -> Value {
    let status = sweep.wait(SOON).unwrap();
    let result: Value =
        serde_json::from_str(&sweep.stdout()).unwrap_or_else(|error| panic!("{error}: {}", sweep.stderr()));
    let held_all = count(&result, "held") > 0 && count(&result, "held") == count(&result, "orphansDetected");
    assert_eq!(status.code(), Some(if held_all { 74 } else { 0 }), "{result} {}", sweep.stderr());
    result
}

fn count(result: &Value, name: &str) -> u64 {
    result[name].as_u64().unwrap_or_else(|| panic!("{name} in {result}"))
}

/// A `sweeper run` and its pages.
struct Daemon {
    role: Role,
    address: String,
}

impl Daemon {
    fn from(command: RoleCommand) -> Self {
        Self::of(command.spawn().unwrap())
    }

    /// Waits until its pages are served.
    fn of(role: Role) -> Self {
        let line = role.wait_for_line(|line| line.contains("http="), SOON).unwrap();
        let address = line.split("http=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        Self { role, address }
    }

    /// Status and text of a page.
    fn page(&self, path: &str) -> (u16, String) {
        lifecycle_tests::http::get(&self.address, path, SOON).unwrap()
    }

    fn wait_until_ready(&self) {
        eventually(SOON, "the sweeper to be ready", || Ok((self.page("/readyz").0 == 200).then_some(())))
            .unwrap();
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics");
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    fn wait_for_metric(&self, series: &str, expected: f64) {
        let mut last = None;
        eventually(SOON, &format!("{series} to be {expected}"), || {
            last = self.metric(series);
            Ok((last == Some(expected)).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}; it is {last:?}"));
    }
}
