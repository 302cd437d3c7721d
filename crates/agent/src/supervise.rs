//! Runs one command, until it and everything it started has ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use agent_sdk::process::OutOfMemory;
use agent_sdk::{Agent, Assignment, Stop, StopCause, Urgency};
use lifecycle_cli::output;
use lifecycle_core::agent::memory_budget::{Excess, Limit, MemoryBudget};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::child::Child;
use crate::command::{CommandLine, StartError};
use crate::task_log::TaskLog;
use crate::{containment, memory_limits};

/// What one run of the command may use at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Wall time; no limit if absent.
    pub(crate) timeout: Option<Duration>,
    /// Memory of the tree.
    pub(crate) memory: MemoryBudget,
}

/// How the command ended. No process of its tree is left by then.
#[derive(Debug)]
pub(crate) enum Ended {
    Exited(ExitStatus),
    TimedOut(Duration),
    OverMemory(Excess),
    Stopped,
    TakenBack,
    /// The kernel ended it, because memory was short.
    OutOfMemory,
    /// Somebody has ended the guard that held it.
    Unheld,
}

impl Ended {
    pub(crate) fn is_exit(&self) -> bool {
        matches!(self, Self::Exited(_))
    }

    /// The exit code for it, as in shells.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => u8::try_from(code).unwrap_or(1),
                (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(1),
                (None, None) => 1,
            },
            Self::TimedOut(_) => 124,
            Self::OverMemory(_) | Self::OutOfMemory | Self::Unheld => 137,
            Self::Stopped | Self::TakenBack => 143,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => match status.signal() {
                Some(signal) => write!(f, "signal {signal}"),
                None => write!(f, "exit {}", status.code().unwrap_or(1)),
            },
            Self::TimedOut(limit) => write!(f, "timed out after {}", humantime::format_duration(*limit)),
            Self::OverMemory(Excess { used, allowed, .. }) => {
                write!(f, "memory limit exceeded: {} of {}", output::size(*used), output::size(*allowed))
            }
            Self::Stopped => f.write_str("was stopped"),
            Self::OutOfMemory => f.write_str("was ended by the kernel, because memory was short"),
            Self::Unheld => f.write_str("was ended, because its guard (`agent hold`) was"),
            Self::TakenBack => f.write_str("was ended, its task is not this agent's any more"),
        }
    }
}

/// Runs the command until it ends by itself, is stopped, or exceeds its budget.
pub(crate) async fn supervise(
    agent: &Agent,
    line: &CommandLine,
    (task, log): (Option<&Assignment>, Option<&TaskLog>),
    budget: Budget,
) -> Result<Ended, StartError> {
    let before = containment::out_of_memory();
    let mut child = line.start(log).await?;
    let (timeout, memory, ending) =
        (timed_out(budget.timeout), memory_limits::exceeded(agent, budget.memory), must_end(agent));
    let taken_back = taken_back(agent, task);
    let noting = containment::keep_noting();
    tokio::pin!(timeout, memory, ending, taken_back, noting);
    let mut passed_on = false;
    let ended = loop {
        tokio::select! {
            status = child.wait() => match status {
                Ok(status) => break exited(status, budget.memory, before),
                Err(_) => break Ended::Unheld,
            },
            limit = &mut timeout => break Ended::TimedOut(limit),
            excess = &mut memory => break Ended::OverMemory(excess),
            () = &mut ending => break Ended::Stopped,
            () = &mut taken_back => break Ended::TakenBack,
            () = &mut noting => {}
            stop = agent.shutdown_requested(), if !passed_on => {
                passed_on = true;
                pass_signal_on(&stop, &child, line.shares_group()).await;
            }
        }
    };
    if let Ended::OverMemory(excess) = ended {
        let (_, _) = tokio::join!(end(agent, &mut child, &ended), memory_limits::tell(agent, excess));
    } else {
        end(agent, &mut child, &ended).await;
    }
    Ok(ended)
}

/// The command has ended by itself, or the kernel has ended it for want of memory: its own, beyond its limit, or the host's.
fn exited(status: ExitStatus, budget: MemoryBudget, before: OutOfMemory) -> Ended {
    let now = containment::out_of_memory();
    match budget.hard {
        // It may have lost a child to it, and coped.
        _ if status.success() => Ended::Exited(status),
        Some(allowed) if now.at_limit > before.at_limit => {
            Ended::OverMemory(Excess { limit: Limit::Hard, used: allowed, allowed })
        }
        _ if now.killed > before.killed => Ended::OutOfMemory,
        _ => Ended::Exited(status),
    }
}

/// Ends what is left of the tree. The command itself is our child and has to be waited for, or it would stay a zombie.
async fn end(agent: &Agent, child: &mut Child, ended: &Ended) {
    let store = agent.store();
    let settings = &store.settings().shutdown;
    let urgency = agent.stop_requested().map_or(Urgency::Terminate, |stop| stop.urgency);
    let kill_after = urgency.kill_after(settings.kill_timeout);
    if ended.is_exit() {
        containment::end_all(agent, child, kill_after).await;
        return;
    }
    let (_, ()) = tokio::join!(child.wait(), containment::end_tree_of(agent, kill_after));
    containment::end_all(agent, child, Duration::ZERO).await;
}

/// Resolves when the work in hand must end: at once, or after the drain time.
async fn must_end(agent: &Agent) {
    let drain_timeout = agent.store().settings().shutdown.drain_timeout;
    agent.shutdown_requested().await;
    let begun = Instant::now();
    tokio::select! {
        _ = agent.stop_at_least(Urgency::Terminate) => {}
        () = sleep_until(begun + drain_timeout) => {}
    }
}

/// Passes a signal that asks us to stop on to the command, which may want to end cleanly.
async fn pass_signal_on(stop: &Stop, child: &Child, shares_group: bool) {
    let signal = match stop.cause {
        StopCause::Terminate => Signal::TERM,
        StopCause::Hangup => Signal::HUP,
        // Ctrl-C went to the whole process group already.
        StopCause::Interrupt if !shares_group => Signal::INT,
        _ => return,
    };
    if stop.urgency == Urgency::Drain {
        tracing::info!(signal = %stop.cause, "passing the signal on to the command");
        child.signal(signal).await;
    }
}

/// Resolves once nobody wants the result any more.
async fn taken_back(agent: &Agent, task: Option<&Assignment>) {
    match task {
        Some(task) => agent.task_taken_back(task).await,
        None => std::future::pending().await,
    }
}

async fn timed_out(timeout: Option<Duration>) -> Duration {
    match timeout {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}
