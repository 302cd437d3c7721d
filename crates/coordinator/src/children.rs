//! The processes of the agents. Each is an `agent run`, started and watched here.
//!
//! The write end of a child's standard input is its lifeline. One line is written to it, which tells how to reach the
//! store; then nothing more. The kernel closes the pipe when this process ends, however it ends, and that tells the
//! child.

use std::fs::{DirBuilder, File};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use agent_sdk::process::{Ender, ProcessId};
use lifecycle_cli::log_file;
use lifecycle_cli::secrets::is_secret;
use lifecycle_core::agent::lifeline::Handover;
use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::settings::{Redis, Settings, Shutdown};
use lifecycle_core::sprint::plan::{AgentPlan, SprintPlan};
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_core::wire::record::AgentRecord;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::time::sleep;

use crate::runs_folder::AGENT_LOGS;

/// Pause between two looks whether an adopted agent still runs.
const ADOPTED_LOOK: Duration = Duration::from_millis(100);

/// What is needed to start children.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    /// The `agent` program.
    pub(crate) program: PathBuf,
    /// The coordinator's id: the parent of the agents.
    pub(crate) parent: AgentId,
    /// The file of `--config`, which is passed on to the agents.
    pub(crate) config: Option<PathBuf>,
    /// The epic's folder below `coordinator.runs_dir`.
    pub(crate) folder: PathBuf,
    /// The settings in effect.
    pub(crate) settings: Settings,
    /// Ends the processes that a child leaves behind.
    pub(crate) ender: Ender,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) process: ProcessId,
    /// Its life, once its registration was read.
    pub(crate) incarnation: Option<Incarnation>,
    handle: Option<OwnedFd>,
    /// Absent for one that was adopted: the pipe that it had ended with the coordinator that started it.
    lifeline_end: Option<PipeWriter>,
    asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    level: StopLevel,
    since: Duration,
    ordered: bool,
    signals: u8,
    killed: bool,
}

impl Launcher {
    /// Where the output of a sprint's tasks goes.
    pub(crate) fn logs(&self, sprint: &SprintPlan) -> PathBuf {
        self.folder.join(sprint.name.as_str())
    }

    /// Where the log of an agent itself goes.
    pub(crate) fn agent_log(&self, sprint: &SprintPlan, agent: &AgentPlan) -> PathBuf {
        self.logs(sprint).join(AGENT_LOGS).join(format!("{}.log", agent.name))
    }

    /// The same path with the links on the way to `coordinator.runs_dir` resolved. Below that folder no link is
    /// followed.
    fn resolved(&self, path: &Path) -> io::Result<PathBuf> {
        let runs = &self.settings.coordinator.runs_dir;
        let real =
            DirBuilder::new().recursive(true).mode(0o700).create(runs).and_then(|()| runs.canonicalize());
        let real = real.map_err(|error| {
            io::Error::new(error.kind(), format!("coordinator.runs_dir {}: {error}", runs.display()))
        })?;
        Ok(real.join(path.strip_prefix(runs).unwrap_or(path)))
    }

    /// Starts the agent. `exited` is called once its process has ended.
    pub(crate) fn start(
        &self,
        sprint: &SprintPlan,
        agent: &AgentPlan,
        exited: impl FnOnce(io::Result<ExitStatus>) + Send + 'static,
    ) -> io::Result<Child> {
        let log = append(&self.resolved(&self.agent_log(sprint, agent))?)?;
        let mut command = Command::new(&self.program);
        command.args([
            "run",
            "--id",
            agent.id.as_str(),
            "--kind",
            &agent.kind,
            "--sprint",
            sprint.id.as_str(),
        ]);
        command
            .args(["--parent", self.parent.as_str(), "--lifeline", "--logs"])
            .arg(self.resolved(&self.logs(sprint))?);
        if let Some(limit) = agent.memory_limit {
            command.arg("--memory-limit").arg(format!("{}B", limit.as_u64()));
        }
        if let Some(limit) = agent.memory_soft_limit {
            command.arg("--memory-soft-limit").arg(format!("{}B", limit.as_u64()));
        }
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg("--").args(&agent.command).envs(&agent.env);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_secret(name)) {
            command.env_remove(name);
        }
        let (input, lifeline) = lifeline(&self.settings.redis)?;
        // Its own process group: Ctrl-C in a terminal reaches the coordinator alone, which then asks each child.
        command.process_group(0).stdin(input).stdout(log.try_clone()?).stderr(log);
        let (mut child, process) =
            self.ender.subreaper().start(|| command.spawn(), tokio::process::Child::id)?;
        let process = process.ok_or_else(|| io::Error::other("it ended at once"))?;
        let pid = process.pid;
        // The child has not been waited for, so the pid is still its own.
        let handle = handle(pid);
        tokio::spawn(async move { exited(child.wait().await) });
        Ok(Child { pid, process, incarnation: None, handle, lifeline_end: Some(lifeline), asked: None })
    }
}

impl Child {
    /// A living agent that an earlier coordinator started. `ended` runs once its process has ended.
    pub(crate) fn adopted(
        process: ProcessId,
        life: Incarnation,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no pid"))?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        // The handle is of whichever process has the pid now: it has to be that one still.
        if !process.is_alive() {
            return Err(io::Error::other("it has just ended"));
        }
        tokio::spawn(async move {
            // Of processes that are not our children nobody is told; a look costs a few µs.
            while process.is_alive() {
                sleep(ADOPTED_LOOK).await;
            }
            ended.await;
        });
        let (pid, incarnation) = (process.pid, Some(life));
        Ok(Self { pid, process, incarnation, handle: Some(handle), lifeline_end: None, asked: None })
    }

    /// Asks the child to end, unless it was asked at least as urgently before.
    pub(crate) fn ask(&mut self, level: StopLevel, now: Duration) {
        match &mut self.asked {
            Some(asked) if asked.level >= level => {}
            Some(asked) => {
                (asked.level, asked.since, asked.ordered) = (level, now, false);
            }
            None => {
                self.asked = Some(Asked { level, since: now, ordered: false, signals: 0, killed: false });
            }
        }
    }

    /// Sends the signals that are due.
    pub(crate) fn press(&mut self, now: Duration, shutdown: &Shutdown) {
        let Some(mut asked) = self.asked else { return };
        let due = asked.level.due(now.saturating_sub(asked.since), shutdown);
        for sent in asked.signals..due.signals {
            // The second signal is another one, because two of a kind may arrive as one.
            self.signal(if sent == 0 { Signal::TERM } else { Signal::INT });
            // A stopped process sees no signal before it runs again.
            self.signal(Signal::CONT);
        }
        if due.kill && !asked.killed {
            self.signal(Signal::KILL);
        }
        asked.signals = asked.signals.max(due.signals);
        asked.killed |= due.kill;
        self.asked = Some(asked);
    }

    /// The level for which an order is still to be given through the store.
    pub(crate) fn order_due(&self) -> Option<StopLevel> {
        self.asked.filter(|asked| !asked.ordered && asked.level.order().is_some()).map(|asked| asked.level)
    }

    /// Notes that the order was given.
    pub(crate) fn note_ordered(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.ordered = true;
        }
    }

    /// Whether a registration is of this process. Pid and start time tell; a host's name may change.
    pub(crate) fn is_of(&self, record: &AgentRecord) -> bool {
        record.pid == Some(self.pid)
            && match record.pid_start {
                Some(start) => start == self.process.start,
                None => record.host == agent_sdk::host(),
            }
    }

    /// Whether an earlier coordinator started it.
    pub(crate) fn is_adopted(&self) -> bool {
        self.lifeline_end.is_none()
    }

    /// Whether it was made to end because its life was over.
    pub(crate) fn was_forced(&self) -> bool {
        self.asked.is_some_and(|asked| asked.killed || asked.level == StopLevel::Fenced)
    }

    /// Signals through the handle that was taken at the start, so a process that got the same pid later is never hit.
    fn signal(&self, signal: Signal) {
        if let Some(handle) = &self.handle {
            // It may have ended by now.
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

/// A pipe that already holds its one line. The line is short enough for the pipe's buffer, so writing it never blocks.
fn lifeline(redis: &Redis) -> io::Result<(PipeReader, PipeWriter)> {
    let (input, mut lifeline) = io::pipe()?;
    lifeline.write_all(Handover::of(redis).line().map_err(io::Error::other)?.as_bytes())?;
    Ok((input, lifeline))
}

fn handle(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty())
        .inspect_err(|error| tracing::warn!(%error, "no handle on a child"))
        .ok()
}

/// Opens the file on another thread, because a file system may not answer.
fn append(path: &Path) -> io::Result<File> {
    Ok(tokio::task::block_in_place(|| log_file::open(path))?.end)
}

/// An exit status as the records have it: `exit 1`, `signal 9`.
pub(crate) fn exit_text(status: &io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("unknown: {error}"),
    }
}
