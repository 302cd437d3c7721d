//! The course of `agent run`: register, work, release.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use agent_sdk::{Agent, AgentError, AgentSettings, Attempt, Stop, StopCause, Urgency, Work};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::program;
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::depends_on_task;
use lifecycle_core::wire::ids::{AgentId, AgentName, SprintId, TaskId};
use lifecycle_core::wire::task::Assignment;
use tokio::time::sleep;

use crate::command::{CommandLine, StartError};
use crate::helper::{self, Helper};
use crate::results::{Left, ResultFolder};
use crate::supervise::{Budget, Ended, supervise};
use crate::task_log::TaskLog;
use crate::{RunArguments, containment, host, join, lifeline};

/// Pause between two tries to read from a store that is away.
const RETRY: Duration = Duration::from_millis(200);

/// Who the agent is in one life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life<'a> {
    pub(crate) id: &'a AgentId,
    pub(crate) sprint: Option<&'a SprintId>,
    pub(crate) parent: Option<&'a AgentId>,
    pub(crate) pool: Option<&'a AgentName>,
    /// What makes it the helper of its parent.
    pub(crate) helper: Option<&'a Helper>,
}

/// What came of a life.
#[derive(Debug)]
pub(crate) enum Lived {
    /// It was lived, and ended with this exit code; for this reason, if it was told to stop.
    Ended { code: u8, stop: Option<Stop> },
    /// It did not begin: its coordinator or its sprint is not there.
    Nothing(String),
}

pub(crate) async fn run(arguments: &RunArguments, settings: Settings) -> anyhow::Result<u8> {
    if let Some(wrong) = arguments.memory().contradiction() {
        return Err(Failure::new(exit::USAGE, format!("--memory-soft-limit {wrong}")).into());
    }
    program_is_there(arguments)?;
    let at_terminal = !arguments.lifeline && std::io::stdin().is_terminal();
    let begun = containment::begin(settings.containment.mode, arguments.memory(), at_terminal).await;
    begun.map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    let ran = work(arguments, settings).await;
    containment::finish().await;
    ran
}

async fn work(arguments: &RunArguments, settings: Settings) -> anyhow::Result<u8> {
    if let (Some(epic), Some(pool)) = (&arguments.epic, &arguments.pool) {
        return join::run(arguments, &settings, (epic, pool)).await;
    }
    let helper = arguments.with_parent.then(|| Helper::new(arguments)).transpose()?;
    let life = match (&helper, &arguments.id) {
        (Some(helper), _) => {
            let parent = Some(&helper.parent.id);
            Life { id: &helper.id, sprint: None, parent, pool: None, helper: Some(helper) }
        }
        (None, Some(id)) => {
            let (sprint, parent) = (arguments.sprint.as_ref(), arguments.parent.as_ref());
            Life { id, sprint, parent, pool: None, helper: None }
        }
        (None, None) => return Err(Failure::new(exit::USAGE, "--id is missing").into()),
    };
    match live(arguments, &settings, life).await? {
        Lived::Ended { code, .. } => Ok(code),
        Lived::Nothing(why) => Err(Failure::new(exit::FAILED, why).into()),
    }
}

/// One life, from its registration to its release.
pub(crate) async fn live(
    arguments: &RunArguments,
    settings: &Settings,
    life: Life<'_>,
) -> anyhow::Result<Lived> {
    let agent = match Agent::register(wanted(arguments, settings, life)?).await {
        Ok(agent) => agent,
        Err(error @ (AgentError::NoParent(_) | AgentError::NoSprint(_))) => {
            let why = life.helper.map_or_else(|| error.to_string(), |helper| helper.no_parent(settings));
            return Ok(Lived::Nothing(why));
        }
        Err(error) => return Err(failure(&error).into()),
    };
    if let (true, Some(parent)) = (arguments.lifeline, &arguments.parent) {
        lifeline::watch(&agent, parent.clone());
    }
    containment::begin_life(&agent).await;
    tell_what_holds(&agent);
    let clearing = host::clear(agent.store(), life.id.clone());
    let mut cause = StopCause::Done;
    let worked = match (life.sprint, life.helper) {
        (Some(_), _) => work_through_tasks(&agent, arguments).await,
        (None, Some(helper)) => helper::run(&agent, arguments, helper, &mut cause).await,
        (None, None) => run_once(&agent, arguments, &mut cause).await,
    };
    clearing.first_look().await;
    let things = agent.undo_things().await;
    containment::account(&agent, &things).await;
    let stop = agent.stop_requested();
    let released = agent.shutdown(cause).await;
    containment::end_life().await;
    agent.store().close().await;
    Ok(Lived::Ended { code: finish(worked, released.map(drop))?, stop })
}

/// One line, so that whoever starts an agent knows what it can rely on.
fn tell_what_holds(agent: &Agent) {
    let layers = containment::layers();
    let text = match (layers.namespace || layers.cgroup, layers.guard) {
        (true, _) => format!("held by {layers}"),
        (false, true) => format!(
            "held by {layers} alone: a process that outlives guard, supervisor and coordinator killed in one instant is ended by \
             the next start on this host, or `lifecyclectl processes --end`"
        ),
        (false, false) => "held by nothing beside this supervisor (containment.mode none)".into(),
    };
    // Its stderr is the command's, so it is said to those who want the log.
    tracing::info!(agent = %agent.id(), "{text}");
}

fn wanted(arguments: &RunArguments, settings: &Settings, life: Life<'_>) -> anyhow::Result<AgentSettings> {
    let mut wanted =
        AgentSettings::new(life.id.as_str())?.settings(settings.clone()).takeover(arguments.takeover);
    let kind_of_helper = life.helper.map(|helper| helper.kind.as_str());
    if let Some(kind) = arguments.kind.as_deref().or(life.pool.map(AgentName::as_str)).or(kind_of_helper) {
        wanted = wanted.kind(kind);
    }
    if let Some(parent) = life.parent {
        wanted = wanted.parent(parent.clone());
    }
    if let Some(sprint) = life.sprint {
        wanted = wanted.sprint(sprint.clone());
    }
    if let Some(pool) = life.pool {
        wanted = wanted.pool(pool.clone());
    }
    Ok(wanted.containment(containment::layers()).memory_limit(arguments.memory().last()))
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
    run_to_end(agent, arguments, &line, cause).await
}

/// Runs a command that has no task, and returns its exit code.
pub(crate) async fn run_to_end(
    agent: &Agent,
    arguments: &RunArguments,
    line: &CommandLine,
    cause: &mut StopCause,
) -> anyhow::Result<u8> {
    let budget = Budget { timeout: None, memory: arguments.memory() };
    let ended = supervise(agent, line, (None, None), budget).await.map_err(|error| start_failure(&error))?;
    if let Ended::OverMemory(_) = ended {
        *cause = StopCause::MemoryLimit;
    }
    let is_by_design = agent.stop_requested().is_some_and(|stop| stop.cause == StopCause::Idle);
    if !ended.is_exit() && !is_by_design {
        tracing::warn!(agent = %agent.id(), "the command {ended}");
    }
    Ok(ended.code())
}

async fn work_through_tasks(agent: &Agent, arguments: &RunArguments) -> anyhow::Result<u8> {
    let folder = ResultFolder::default();
    while let Some(task) = agent.next_task().await {
        let name = task.task.clone();
        match agent.run_task(task, async |task| attempt(agent, arguments, (task, &folder)).await).await {
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
    let needs_a_fresh_one = [StopCause::SoftMemoryLimit, StopCause::GuardLost, StopCause::OutOfMemory];
    let is_spent = agent.stop_requested().is_some_and(|stop| needs_a_fresh_one.contains(&stop.cause));
    Ok(if is_spent { exit::SPENT } else { exit::OK })
}

async fn attempt(
    agent: &Agent,
    arguments: &RunArguments,
    (task, folder): (&Assignment, &ResultFolder),
) -> Work {
    agent.progress(format!("task {} run {}", task.task, task.run));
    let results = tokio::select! {
        results = results_for(agent, task) => results,
        // The store may not answer.
        _ = agent.stop_at_least(Urgency::Terminate) => return Work::Abandoned,
    };
    let results = match results {
        Ok(results) => results,
        Err(error) => return Work::Failed(format!("the results that it needs cannot be read: {error}")),
    };
    let files = folder.prepare(task, &results);
    let line = CommandLine::for_task(&arguments.command, agent, task, &results, files.as_ref());
    let ended = run_task(agent, arguments, task, &line).await;
    match (ended, files) {
        (Work::Completed(detail), Some(files)) => match files.read() {
            Left::Nothing => Work::Completed(detail),
            Left::Text(result, None) => Work::CompletedWith { detail, result },
            Left::Text(result, Some(told)) => {
                Work::CompletedWith { detail: format!("{detail}, {told}"), result }
            }
        },
        (ended, _) => ended,
    }
}

/// The results that the task needs. A store that is away is waited for, as the task cannot be done without them.
async fn results_for(agent: &Agent, task: &Assignment) -> Result<BTreeMap<TaskId, String>, AgentError> {
    loop {
        match agent.results_for(task).await {
            Err(AgentError::Store(error)) if error.is_transient() => {
                tracing::debug!(task = %task.task, %error, "no results yet");
            }
            Err(error) => return Err(error),
            Ok(mut results) => {
                // One that left nothing has an empty result.
                for need in &task.needs {
                    results.entry(need.clone()).or_default();
                }
                return Ok(results);
            }
        }
        sleep(RETRY).await;
    }
}

async fn run_task(agent: &Agent, arguments: &RunArguments, task: &Assignment, line: &CommandLine) -> Work {
    let budget = Budget { timeout: task.timeout, memory: arguments.memory() };
    let Some(folder) = &arguments.logs else {
        return outcome(agent, supervise(agent, line, (Some(task), None), budget).await);
    };
    let limit = agent.store().settings().coordinator.log_limit;
    let log = tokio::select! {
        log = TaskLog::open(folder, agent.id(), task, limit) => log,
        // The file system may not answer.
        _ = agent.shutdown_requested() => return Work::Abandoned,
    };
    match log {
        Ok(log) => {
            let running = supervise(agent, line, (Some(task), Some(&log)), budget);
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
        Ok(ended @ (Ended::Unheld | Ended::OutOfMemory)) => {
            let is_held = matches!(ended, Ended::OutOfMemory);
            tracing::error!(agent = %agent.id(), "the command {ended}; leaving, so that a fresh agent takes over");
            let cause = if is_held { StopCause::OutOfMemory } else { StopCause::GuardLost };
            agent.request_stop(Urgency::Drain, cause);
            Work::Abandoned
        }
        Ok(ended) => Work::Failed(ended.to_string()),
        Err(error) => Work::Failed(error.to_string()),
    }
}

fn start_failure(error: &StartError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

pub(crate) fn failure(error: &AgentError) -> Failure {
    let code = match error {
        AgentError::Name(_) => exit::USAGE,
        AgentError::Held { .. } => exit::HELD,
        AgentError::Store(error) => exit::of_store(error),
        AgentError::Fenced => exit::FENCED,
        _ => exit::FAILED,
    };
    Failure::new(code, error.to_string())
}
