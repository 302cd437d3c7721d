//! A fleet at work, and every kind of fault the dashboard has a panel for.
//!
//! ```text
//!    0 s  a sprint of six agents, whose tasks use more and more memory; seven agents on the plain protocol; one alone
//!    8 s  an agent of the sprint is killed, and another every few seconds
//!   10 s  the one alone is frozen until its lease is over and it was cleaned up, then continued: it is fenced
//!   16 s  a plain agent falls silent: an orphan
//!   26 s  five more fall silent together: reaping is held, and lets go after its time-out
//! ```
//!
//! The settings make times short. Processes, signals, the store and the two sweepers are real.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::http;
use lifecycle_tests::plain::PlainClient;
use lifecycle_tests::process::{Role, RoleCommand};
use lifecycle_tests::server::{Server, ServerOptions};
use lifecycle_trials::kill_supervisor;
use rustix::process::Signal;

const START_DEADLINE: Duration = Duration::from_secs(20);
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// The first of them falls silent alone, five others together, and the last goes on.
const PLAIN_AGENTS: usize = 7;
const PLAIN_BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// More than can be done in the time of the trial.
const TASKS: u32 = 400;
/// More than any agent is killed.
const CRASHES: u32 = 10;

/// The settings of all roles: shorter times than the defaults.
const SETTINGS: &[(&str, &str)] = &[
    ("LIFECYCLE_HEARTBEAT__INTERVAL", "1s"),
    ("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", "8s"),
    ("LIFECYCLE_SWEEP__INTERVAL", "5s"),
    ("LIFECYCLE_SWEEP__HOLD_TIMEOUT", "6s"),
    ("LIFECYCLE_SWEEP__RECONCILE_INTERVAL", "5s"),
    ("LIFECYCLE_MEMORY__LEAK_WINDOW", "10s"),
    ("LIFECYCLE_MEMORY__LEAK_THRESHOLD", "20MB"),
];

/// The faults, each with its second.
const FAULTS: &[(u64, Fault)] = &[
    (8, Fault::Kill("check.agent-2")),
    (10, Fault::Freeze),
    (12, Fault::Kill("check.agent-5")),
    (16, Fault::Silence(1)),
    (17, Fault::Kill("check.agent-1")),
    (21, Fault::Thaw),
    (23, Fault::Kill("check.agent-6")),
    (26, Fault::Silence(6)),
    (31, Fault::Kill("check.agent-4")),
];

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// SIGKILL to an agent's supervisor.
    Kill(&'static str),
    /// SIGSTOP to the agent named `alone`.
    Freeze,
    /// SIGCONT to it.
    Thaw,
    /// That many plain agents beat no more.
    Silence(usize),
}

/// The running fleet. Everything ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Scenario {
    // The roles first: they are dropped before their store.
    coordinator: Role,
    alone: Role,
    sweepers: Vec<Role>,
    /// Where the sweepers answer.
    pub(crate) addresses: Vec<String>,
    store: PlainClient,
    begun: Instant,
    injected: usize,
    silent: usize,
    next_beat: Instant,
    _server: Server,
}

impl Scenario {
    /// Starts all of it and waits until both sweepers are ready.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) fn start() -> Result<Self> {
        // The panel about the store's memory shows its limit.
        let limit = ["--maxmemory", "256mb"].map(str::to_owned).to_vec();
        let server = Server::start_with(ServerOptions { args: limit, ..ServerOptions::default() })?;
        let sweepers: Vec<Role> = (0..2).map(|_| sweeper(&server)).collect::<Result<_>>()?;
        let address = |sweeper: &Role| http::address(sweeper, START_DEADLINE);
        let addresses: Vec<String> = sweepers.iter().map(address).collect::<Result<_>>()?;
        for address in &addresses {
            eventually(START_DEADLINE, "a sweeper to be ready", || {
                Ok(http::get(address, "/readyz", HTTP_TIMEOUT)
                    .is_ok_and(|(status, _)| status == 200)
                    .then_some(()))
            })?;
        }
        let folder = server.folder().join("scenario");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("plan.toml"), plan())?;
        let run =
            role("coordinator", &server)?.in_folder(folder).args(["run", "plan.toml", "--output", "json"]);
        let alone = role("agent", &server)?.args(["run", "--id", "alone", "--", "sleep", "600"]);
        Ok(Self {
            coordinator: run.spawn()?,
            alone: alone.spawn()?,
            sweepers,
            addresses,
            store: server.client()?,
            begun: Instant::now(),
            injected: 0,
            silent: 0,
            next_beat: Instant::now(),
            _server: server,
        })
    }

    /// Injects the fault whose time has come, and beats for the plain agents. To be called all the time.
    ///
    /// # Errors
    /// When the fleet is not as it must be: the coordinator has ended, the store is away.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        if !self.coordinator.is_running()? {
            let said = self.coordinator.stderr();
            bail!("the coordinator ended before its time: {}", said.lines().last().unwrap_or_default());
        }
        if Instant::now() >= self.next_beat {
            self.beat()?;
            self.next_beat = Instant::now() + PLAIN_BEAT_INTERVAL;
        }
        if let Some((at, fault)) = FAULTS.get(self.injected)
            && self.begun.elapsed() >= Duration::from_secs(*at)
        {
            self.injected += 1;
            self.inject(*fault)?;
        }
        Ok(())
    }

    /// Whether all faults were injected.
    pub(crate) fn is_over(&self) -> bool {
        self.injected == FAULTS.len()
    }

    /// Ends the sweepers, and nothing else.
    ///
    /// # Errors
    /// When one does not stop.
    pub(crate) fn stop_sweepers(&mut self) -> Result<()> {
        for sweeper in &mut self.sweepers {
            sweeper.stop(START_DEADLINE)?;
        }
        Ok(())
    }

    fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(agent) => {
                // An agent between two lives is not killed. Enough others are.
                kill_supervisor(&mut self.store, agent)?;
            }
            Fault::Freeze => self.alone.signal(Signal::STOP)?,
            Fault::Thaw => self.alone.signal(Signal::CONT)?,
            Fault::Silence(agents) => self.silent = agents,
        }
        Ok(())
    }

    /// Beats for the plain agents as an agent in another language does: a member of the set, and a heartbeat in JSON.
    fn beat(&mut self) -> Result<()> {
        let keys = KeySchema::default();
        let now = self.store.now_ms()?;
        for number in self.silent..PLAIN_AGENTS {
            let id = format!("plain-{number}");
            let rss = 12_000_000 + 1_500_000 * number;
            let beat = format!(
                "{{\"agentId\":\"{id}\",\"timestamp\":{now},\"memoryUsage\":{{\"rss\":{rss},\"heapUsed\":{},\
                 \"heapTotal\":{rss},\"external\":0}}}}",
                rss / 2
            );
            self.store.run(&["SADD", &keys.active(), &id])?;
            self.store.run(&["SETEX", &keys.heartbeat(&id), "180", &beat])?;
        }
        Ok(())
    }
}

fn role(name: &str, server: &Server) -> Result<RoleCommand> {
    let settings = SETTINGS.iter().copied();
    Ok(settings
        .fold(lifecycle_trials::role(name, server)?, |command, (name, value)| command.env(name, value)))
}

fn sweeper(server: &Server) -> Result<Role> {
    role("sweeper", server)?.arg("run").env("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0").spawn()
}

/// Tasks that hold some megabytes for a second and a half and leave a process behind. Each holds more than the one before.
fn plan() -> String {
    let mut plan = "[epic]\nid = \"check\"\n\n[[sprint]]\nid = \"work\"\n\n[[sprint.agent]]\nid = \"agent\"\ncount = 6\n\
        command = [\"sh\", \"-c\", '''\nsetsid sleep 600 &\n\
        dd if=/dev/zero bs=\"$1\"M count=1 status=none | sleep 1.5\ntrue\n''', \"{task}\", \"{input}\"]\n"
        .to_owned();
    for task in 1..=TASKS {
        let _ = write!(
            plan,
            "\n[[sprint.task]]\nid = \"task-{task}\"\ninput = \"{}\"\nmax_crashes = {CRASHES}\n",
            4 + task / 8
        );
    }
    plan
}
