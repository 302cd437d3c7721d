//! The course of `agent run`: register, work, release.

use agent_sdk::{Agent, AgentError, AgentSettings, Attempt, StopCause, Work};
use anyhow::Context as _;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::program;
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::depends_on_task;
use lifecycle_core::wire::task::Assignment;

use crate::command::{CommandLine, StartError};
use crate::supervise::{Budget, Ended, supervise};
use crate::task_log::TaskLog;
use crate::{RunArguments, containment, lifeline};

pub(crate) async fn run(arguments: RunArguments, settings: Settings) -> anyhow::Result<u8> {
    if let Some(wrong) = arguments.memory().contradiction() {
        return Err(Failure::new(exit::USAGE, format!("--memory-soft-limit {wrong}")).into());
    }
    program_is_there(&arguments)?;
    containment::begin().context("cannot watch over the command's processes; nothing was started")?;
    let mut wanted =
        AgentSettings::new(arguments.id.as_str())?.settings(settings).takeover(arguments.takeover);
    if let Some(kind) = &arguments.kind {
        wanted = wanted.kind(kind);
    }
    if let Some(parent) = &arguments.parent {
        wanted = wanted.parent(parent.clone());
    }
    if let Some(sprint) = &arguments.sprint {
        wanted = wanted.sprint(sprint.clone());
    }
    let agent = Agent::register(wanted.memory_limit(arguments.memory().last()))
        .await
        .map_err(|error| failure(&error))?;
    if let (true, Some(parent)) = (arguments.lifeline, &arguments.parent) {
        lifeline::watch(&agent, parent.clone());
    }
    let mut cause = StopCause::Done;
    let worked = match arguments.sprint {
        Some(_) => work_through_tasks(&agent, &arguments).await,
        None => run_once(&agent, &arguments, &mut cause).await,
    };
    containment::account(&agent).await;
    let released = agent.shutdown(cause).await;
    agent.store().close().await;
    finish(worked, released.map(drop))
}

/// Refuses a missing command before registering. A command that depends on the task is known only with a task.
fn program_is_there(arguments: &RunArguments) -> Result<(), Failure> {
    let Some(program) = arguments.command.first() else { return Ok(()) };
    if arguments.sprint.is_some() && depends_on_task(program) {
        return Ok(());
    }
    let found = program::find(program, std::env::var_os("PATH").as_deref());
    found.map(drop).map_err(|error| start_failure(&StartError::new(program, error)))
}

/// Exit code 0 needs a clean release: a fenced life, or keys that could not be removed, are no success.
fn finish(worked: anyhow::Result<u8>, released: Result<(), AgentError>) -> anyhow::Result<u8> {
    if matches!(released, Err(AgentError::Fenced)) {
        return Err(Failure::new(exit::FENCED, AgentError::Fenced.to_string()).into());
    }
    let code = worked?;
    match released {
        Err(error) if code == exit::OK => {
            let message = format!(
                "the command ended well, but the agent could not be released: {error}; a sweeper cleans up once its lease is over"
            );
            Err(Failure::new(exit::UNAVAILABLE, message).into())
        }
        Err(error) => {
            tracing::warn!(%error, "the agent could not be released; a sweeper cleans up once its lease is over");
            Ok(code)
        }
        Ok(()) => Ok(code),
    }
}

/// Without a sprint: runs the command once, and returns its exit code.
async fn run_once(agent: &Agent, arguments: &RunArguments, cause: &mut StopCause) -> anyhow::Result<u8> {
    let line = CommandLine::once(&arguments.command, agent, arguments.lifeline);
    let budget = Budget { timeout: None, memory: arguments.memory() };
    let ended = supervise(agent, &line, None, budget).await.map_err(|error| start_failure(&error))?;
    if let Ended::OverMemory(_) = ended {
        *cause = StopCause::MemoryLimit;
    }
    if !ended.is_exit() {
        tracing::warn!(agent = %agent.id(), "the command {ended}");
    }
    Ok(ended.code())
}

async fn work_through_tasks(agent: &Agent, arguments: &RunArguments) -> anyhow::Result<u8> {
    while let Some(task) = agent.next_task().await {
        let name = task.task.clone();
        match agent.run_task(task, async |task| attempt(agent, arguments, task).await).await {
            Ok(Attempt::Recorded(outcome)) => tracing::info!(task = %name, %outcome, "attempt recorded"),
            Ok(Attempt::TakenBack) => {
                tracing::warn!(task = %name, "taken back: the task is not this agent's any more, its result does not count");
            }
            Ok(Attempt::Abandoned) => {
                tracing::info!(task = %name, "abandoned: the task is handed back when the agent is released")
            }
            Err(AgentError::Fenced) => break,
            Err(error) => return Err(failure(&error).into()),
        }
    }
    let is_spent = agent.stop_requested().is_some_and(|stop| stop.cause == StopCause::SoftMemoryLimit);
    Ok(if is_spent { exit::SPENT } else { exit::OK })
}

async fn attempt(agent: &Agent, arguments: &RunArguments, task: &Assignment) -> Work {
    agent.progress(format!("task {} run {}", task.task, task.run));
    let line = CommandLine::for_task(&arguments.command, agent, task);
    let budget = Budget { timeout: task.timeout, memory: arguments.memory() };
    let Some(folder) = &arguments.logs else {
        return outcome(agent, supervise(agent, &line, None, budget).await);
    };
    let limit = agent.store().settings().coordinator.log_limit;
    let log = tokio::select! {
        log = TaskLog::open(folder, agent.id(), task, limit) => log,
        // The file system may not answer.
        _ = agent.shutdown_requested() => return Work::Abandoned,
    };
    match log {
        Ok(log) => {
            let running = supervise(agent, &line, Some(&log), budget);
            outcome(agent, log.hold_while(running).await)
        }
        Err(error) => Work::Failed(format!("no log: {error}")),
    }
}

fn outcome(agent: &Agent, ended: Result<Ended, StartError>) -> Work {
    match ended {
        Ok(Ended::Exited(status)) if status.success() => Work::Completed("exit 0".into()),
        // It ended because we passed a signal on, or were told to stop. So it did not fail.
        Ok(Ended::Exited(_)) if agent.stop_requested().is_some_and(|stop| stop.cause.is_signal()) => {
            Work::Abandoned
        }
        Ok(Ended::Stopped) => Work::Abandoned,
        Ok(ended) => Work::Failed(ended.to_string()),
        Err(error) => Work::Failed(error.to_string()),
    }
}

fn start_failure(error: &StartError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

fn failure(error: &AgentError) -> Failure {
    let code = match error {
        AgentError::Name(_) => exit::USAGE,
        AgentError::Held { .. } => exit::HELD,
        AgentError::Store(error) => exit::of_store(error),
        AgentError::Fenced => exit::FENCED,
        _ => exit::FAILED,
    };
    Failure::new(code, error.to_string())
}
