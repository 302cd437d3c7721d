//! The processes of the agents: each one `agent run`, started and watched here.
//!
//! The write end of a child's standard input is its lifeline. It is never written to; the kernel closes it when this
//! process ends, however it ends, and that tells the child.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use agent_sdk::process::{Ender, ProcessId};
use lifecycle_core::ids::{AgentId, Incarnation, SprintId};
use lifecycle_core::plan::AgentPlan;
use lifecycle_core::settings::{Settings, Shutdown};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::{ChildStdin, Command};

use crate::pressure::Manner;

/// How children are started.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    /// The `agent` program.
    pub(crate) program: PathBuf,
    /// The coordinator: their parent.
    pub(crate) parent: AgentId,
    /// `--config`, passed on.
    pub(crate) config: Option<PathBuf>,
    /// The epic's folder below `coordinator.runs_dir`.
    pub(crate) folder: PathBuf,
    /// The settings in effect.
    pub(crate) settings: Settings,
    /// Ends what a child leaves behind.
    pub(crate) ender: Ender,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) process: ProcessId,
    /// Its life, once the store has shown it.
    pub(crate) incarnation: Option<Incarnation>,
    handle: Option<OwnedFd>,
    _lifeline: Option<ChildStdin>,
    asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    manner: Manner,
    since: Duration,
    ordered: bool,
    signals: u8,
    killed: bool,
}

impl Launcher {
    /// Where the output of a sprint's tasks goes.
    pub(crate) fn logs(&self, sprint: &SprintId) -> PathBuf {
        self.folder.join(sprint.as_str())
    }

    /// Where what an agent itself says goes.
    pub(crate) fn agent_log(&self, sprint: &SprintId, agent: &AgentId) -> PathBuf {
        self.logs(sprint).join("agents").join(format!("{agent}.log"))
    }

    /// Starts the agent; `exited` is called once it has ended.
    pub(crate) fn start(
        &self,
        sprint: &SprintId,
        agent: &AgentPlan,
        exited: impl FnOnce(io::Result<ExitStatus>) + Send + 'static,
    ) -> io::Result<Child> {
        let log = append(&self.agent_log(sprint, &agent.id))?;
        let mut command = Command::new(&self.program);
        command.args(["run", "--id", agent.id.as_str(), "--kind", &agent.kind, "--sprint", sprint.as_str()]);
        command.args(["--parent", self.parent.as_str(), "--lifeline", "--logs"]).arg(self.logs(sprint));
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
        command.env("LIFECYCLE_REDIS__URL", &self.settings.redis.url);
        if let Some(password) = &self.settings.redis.password {
            command.env("LIFECYCLE_REDIS__PASSWORD", password);
        }
        // A group of its own: Ctrl-C in a terminal reaches the coordinator alone, which then asks each child.
        command.process_group(0).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let (mut child, process) =
            self.ender.subreaper().start(|| command.spawn(), tokio::process::Child::id)?;
        let process = process.ok_or_else(|| io::Error::other("it ended at once"))?;
        let pid = process.pid;
        // While nobody has waited for it the pid is its own.
        let handle = handle(pid);
        // Taken out, because waiting for the child would close it.
        let lifeline = child.stdin.take();
        tokio::spawn(async move { exited(child.wait().await) });
        Ok(Child { pid, process, incarnation: None, handle, _lifeline: lifeline, asked: None })
    }
}

impl Child {
    /// Asks it to end, unless it was asked at least as urgently before.
    pub(crate) fn ask(&mut self, manner: Manner, now: Duration) {
        match &mut self.asked {
            Some(asked) if asked.manner >= manner => {}
            Some(asked) => {
                (asked.manner, asked.since, asked.ordered) = (manner, now, false);
            }
            None => {
                self.asked = Some(Asked { manner, since: now, ordered: false, signals: 0, killed: false });
            }
        }
    }

    /// Sends it whatever signals are due.
    pub(crate) fn press(&mut self, now: Duration, shutdown: &Shutdown) {
        let Some(mut asked) = self.asked else { return };
        let due = asked.manner.due(now.saturating_sub(asked.since), shutdown);
        for sent in asked.signals..due.signals {
            // The second is another one: two of a kind may arrive as one.
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

    /// The manner in which an order is still to be given through the store.
    pub(crate) fn order_due(&self) -> Option<Manner> {
        self.asked.filter(|asked| !asked.ordered && asked.manner.order().is_some()).map(|asked| asked.manner)
    }

    /// The order was given.
    pub(crate) fn ordered(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.ordered = true;
        }
    }

    /// Whether it was made to end because its life was over.
    pub(crate) fn was_forced(&self) -> bool {
        self.asked.is_some_and(|asked| asked.killed || asked.manner == Manner::Fenced)
    }

    /// Through the handle taken at its start, so that a process with a pid that was used again is never hit.
    fn signal(&self, signal: Signal) {
        if let Some(handle) = &self.handle {
            // It may have ended by now.
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

fn handle(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty())
        .inspect_err(|error| tracing::warn!(%error, "no handle on a child"))
        .ok()
}

fn append(path: &Path) -> io::Result<File> {
    let opened = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(path));
    opened.map_err(|error| {
        io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display()))
    })
}

/// An exit status as the records have it: `exit 1`, `signal 9`.
pub(crate) fn words(status: &io::Result<ExitStatus>) -> String {
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
