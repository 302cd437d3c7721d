//! Our roles as processes, and what is left of them.
//!
//! Every [`Role`] carries an environment variable of its own, inherited by whatever it starts. That finds what
//! escaped by double forks and new sessions, and is how tests prove that nothing did.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binaries::role_binary;
use crate::eventually::eventually;
use crate::output::{Output, Stream};
use crate::spawner;

/// The variable that marks a role and everything it starts. None of the `LIFECYCLE_…` ones, which `agent run` keeps from
/// its command.
pub const MARKER_VARIABLE: &str = "TEST_ROLE";
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
const CLEANUP_DEADLINE: Duration = Duration::from_secs(5);

/// A role to be started.
#[derive(Debug, Clone)]
pub struct RoleCommand {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
}

impl RoleCommand {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable. Our own variables (`LIFECYCLE_…`) are never inherited from the test's environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((key.into(), value.into()));
        self
    }

    /// Runs it in `folder` instead of a temporary folder of its own.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn spawn(self) -> Result<Role> {
        let own_folder = tempfile::Builder::new().prefix("lifecycle-role-").tempdir()?;
        let marker = unique_marker();
        let mut command = spawner::mortal(&self.program);
        let foreign = std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("LIFECYCLE_"));
        for (key, _) in foreign {
            command.env_remove(key);
        }
        command
            .args(&self.args)
            .envs(self.envs)
            .env(MARKER_VARIABLE, &marker)
            .current_dir(self.folder.as_deref().unwrap_or(own_folder.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            spawner::spawn(command).with_context(|| format!("`{}` could not be started", self.name))?;
        let output = Output::default();
        let streams = (child.stdout.take(), child.stderr.take());
        let folder = self.folder.unwrap_or_else(|| own_folder.path().to_owned());
        let role =
            Role { name: self.name, child, output, marker, status: None, folder, _own_folder: own_folder };
        if let (Some(stdout), Some(stderr)) = streams {
            role.output.collect(Stream::Stdout, stdout)?;
            role.output.collect(Stream::Stderr, stderr)?;
        }
        Ok(role)
    }
}

/// A process of one of our roles. Dropping it kills it and everything it started.
#[derive(Debug)]
pub struct Role {
    name: String,
    child: Child,
    output: Output,
    marker: String,
    status: Option<ExitStatus>,
    folder: PathBuf,
    _own_folder: TempDir,
}

impl Role {
    /// The role `name` (`agent`, `coordinator`, `sweeper`, `lifecyclectl`), to be given arguments.
    ///
    /// # Errors
    /// When the binary is not built.
    pub fn command(name: &str) -> Result<RoleCommand> {
        Ok(Self::program(name, &role_binary(name)?))
    }

    /// Any program, watched and cleaned up like a role.
    #[must_use]
    pub fn program(name: &str, program: &Path) -> RoleCommand {
        RoleCommand {
            name: name.to_owned(),
            program: program.to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            folder: None,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The value of [`MARKER_VARIABLE`] in it and in everything it started.
    #[must_use]
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// The folder it runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Its standard output so far, as one text.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.output.lines(Stream::Stdout).join("\n")
    }

    /// Its standard error so far, as one text.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.output.lines(Stream::Stderr).join("\n")
    }

    /// The first line it writes, or has written, to either stream that `wanted` accepts.
    ///
    /// # Errors
    /// When its output ends or `timeout` passes without one; with all it wrote.
    pub fn wait_for_line(&self, wanted: impl Fn(&str) -> bool, timeout: Duration) -> Result<String> {
        self.output.wait_for(wanted, timeout).with_context(|| {
            format!(
                "`{}` did not write the expected line in {timeout:?}; it wrote:\n{}",
                self.name,
                self.said()
            )
        })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.status {
            bail!("`{}` has ended ({status})", self.name);
        }
        // Not reaped yet, so the number is still its own, even if it has ended.
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        self.status = self.child.try_wait()?;
        Ok(self.status.is_none())
    }

    /// Waits for its end, and then briefly for the rest of its output.
    ///
    /// # Errors
    /// When it still runs after `timeout`; with all it wrote.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let ended =
            eventually(timeout, &format!("the end of `{}`", self.name), || Ok(self.child.try_wait()?));
        let status = ended.with_context(|| format!("it wrote:\n{}", self.said()))?;
        self.status = Some(status);
        // What it started may hold the pipes open for longer: that is not ours to wait for.
        let _ = self.output.wait_for_end(OUTPUT_GRACE);
        Ok(status)
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if self.is_running()? {
            self.signal(Signal::TERM)?;
        }
        self.wait(timeout)
    }

    /// Kills it alone (SIGKILL), as a crash does, and reaps it; what it started is left to itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    fn said(&self) -> String {
        self.output.all().join("\n")
    }

    /// First the process, so that it starts nothing new; then what it had started, until nothing is left.
    fn kill_tree(&mut self) -> Result<()> {
        let started = if self.status.is_none() { descendants(self.pid()) } else { Vec::new() };
        self.kill()?;
        kill_all(&started);
        eventually(CLEANUP_DEADLINE, "the end of what a role had started", || {
            let marked = processes_with_env(MARKER_VARIABLE, &self.marker);
            kill_all(&marked);
            Ok(marked.is_empty().then_some(()))
        })
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // A failure here has nobody to go to, and must not hide the test's own.
        let _ = self.kill_tree();
    }
}

/// The processes whose environment at their start had `key` set to `value`. Zombies have none, and
/// neither has a process that is just ending, though its sockets may still be open for a moment.
/// Empty on systems without /proc.
#[must_use]
pub fn processes_with_env(key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Vec<u32> {
    let mut wanted = key.as_ref().as_encoded_bytes().to_vec();
    wanted.push(b'=');
    wanted.extend_from_slice(value.as_ref().as_encoded_bytes());
    let carries = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry == wanted)
    };
    all_processes().into_iter().filter(carries).collect()
}

/// The children of `pid`, their children, and so on; zombies included. Empty on systems without /proc.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in all_processes() {
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([pid]);
    let mut open = vec![pid];
    while let Some(next) = open.pop() {
        for child in children.remove(&next).unwrap_or_default() {
            if seen.insert(child) {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

fn all_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The fourth field of /proc/PID/stat; the second is a name in parentheses that may contain anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn kill_all(pids: &[u32]) {
    for pid in pids {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            // Most likely it has ended in between, which is what we want.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn unique_marker() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{number}", std::process::id(), now.as_nanos())
}
