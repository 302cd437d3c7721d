//! A private server: on a free port of 127.0.0.1, in its own folder, gone when dropped.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::plain::PlainClient;
use crate::program::{ServerProgram, server_program};
use crate::spawner;

/// How long a server may take to answer after its start, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(20);
const PORT_ATTEMPTS: u32 = 20;

/// How to start a [`Server`]; the default is what a fleet should have, in memory only.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Further arguments, after and therefore above our own: `["--appendonly", "yes"]`.
    pub args: Vec<String>,
    /// The program to run instead of the one [`server_program`] finds.
    pub program: Option<ServerProgram>,
}

/// A running, paused or killed server that nobody else uses.
#[derive(Debug)]
pub struct Server {
    program: ServerProgram,
    args: Vec<String>,
    port: u16,
    child: Option<Child>,
    folder: TempDir,
}

impl Server {
    /// Starts a server with nothing persistent and no eviction, and waits until it answers.
    ///
    /// # Errors
    /// When there is no server program, or it does not answer within 20 s; with the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_with(ServerOptions::default())
    }

    /// Starts a server with `options`, and waits until it answers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: ServerOptions) -> Result<Self> {
        let program = options.program.map_or_else(server_program, Ok)?;
        let folder = tempfile::Builder::new().prefix("lifecycle-server-").tempdir()?;
        let mut server = Self { program, args: options.args, port: 0, child: None, folder };
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port()?;
            if server.launch()? {
                return Ok(server);
            }
            // Somebody may have taken the port since we looked; anything else would only happen again.
            if !server.last_words().contains("Address already in use") {
                break;
            }
        }
        bail!("{} does not start: {}", server.program, server.last_words())
    }

    /// Its address as the setting `redis.url` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1; the same for its whole life, restarts included.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, `None` while it is killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The program it runs.
    #[must_use]
    pub fn program(&self) -> &ServerProgram {
        &self.program
    }

    /// The folder with its data files and its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new plain connection to it.
    ///
    /// # Errors
    /// When it is killed.
    pub fn client(&self) -> Result<PlainClient> {
        PlainClient::connect(self.port)
    }

    /// Freezes it: connections stay and are accepted, nothing is answered. What a black hole looks like.
    ///
    /// # Errors
    /// When it is killed.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Continues a paused server.
    ///
    /// # Errors
    /// When it is killed.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it with SIGKILL and waits for its end; no effect on a killed one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Kills it if it runs, then starts it again on the same port and folder. What it kept only in
    /// memory is lost.
    ///
    /// # Errors
    /// When it does not answer again; with the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        if self.launch()? {
            return Ok(());
        }
        bail!("the server does not come back on port {}: {}", self.port, self.last_words())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the server is killed")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Starts the process; false when it ended before it answered.
    fn launch(&mut self) -> Result<bool> {
        let log = File::create(self.log_path())?;
        let mut command = spawner::mortal(&self.program.path);
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.folder.path())
            .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .args(&self.args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let child = spawner::spawn(command).with_context(|| format!("{} could not be run", self.program))?;
        let pid = child.id();
        self.child = Some(child);
        let started = eventually(START_DEADLINE, "the server's first answer", || {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            Ok(if ended { Some(false) } else { answers(self.port, pid).then_some(true) })
        })
        .with_context(|| self.last_words())?;
        if !started {
            self.child = None;
        }
        Ok(started)
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.path().join("server.log")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next line of defence is the parent-death signal.
        let _ = self.kill();
    }
}

/// Whether the server at `port` answers, has loaded its data, and is the process `pid`: another
/// server may have taken the port in between.
fn answers(port: u16, pid: u32) -> bool {
    let ask = || -> Result<bool> {
        let mut client = PlainClient::connect_within(port, Duration::from_secs(2))?;
        client.run(&["PING"])?;
        let info = client.text(&["INFO", "server"])?.unwrap_or_default();
        Ok(info.lines().any(|line| line == format!("process_id:{pid}")))
    };
    ask().unwrap_or(false)
}

/// A port nobody listens on, below the range that systems give to outgoing connections: one of
/// those could otherwise sit on the port while the server restarts.
fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u64> = 10_000..32_000;
    for attempt in 0..200_u32 {
        let random = RandomState::new().hash_one(attempt);
        let port = u16::try_from(PORTS.start + random % (PORTS.end - PORTS.start))?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port was found on 127.0.0.1 in {PORTS:?}")
}
