//! `agent run --with-parent -- CMD`: a helper of an agent, such as an MCP server.
//!
//! Agents start helpers, speak to them over a pipe, and forget them when they crash. A helper is an agent of its own, a child
//! of the agent in whose command it was started: whose token it finds in its environment. It lives as long as somebody can
//! speak to it.
//!
//! ```text
//!   client ──stdin──▶ input ──▶ command ──▶ stdout ──▶ client      stdout passes through `output` only with --idle
//!                       │                     │
//!                       └─────▶ traffic ◀─────┘
//!
//!   input ended ── a moment for the command to end by itself ──▶ TERM … KILL
//!   no traffic for --idle, parent's life over ─────────────────▶ TERM … KILL
//!   a signal, as of a parent that ends its tree ── passed on ──▶ KILL, before the parent does it to us
//! ```
//!
//! Nothing of ours is ever written to stdout: it is the client's.

mod input;
mod output;
mod parent;
mod traffic;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;

use agent_sdk::process::LifeName;
use agent_sdk::{Agent, Stop, StopCause, Urgency};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::AgentId;
use tokio::time::sleep;

use crate::RunArguments;
use crate::command::{CommandLine, Ends};
use crate::lifeline::bear_witness;
use crate::run::run_to_end;
use input::Input;
use output::Output;
use parent::Parent;
use traffic::Traffic;

/// What makes a helper of a life.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) id: AgentId,
    pub(crate) parent: LifeName,
    pub(crate) kind: String,
    idle: Option<Duration>,
}

impl Helper {
    /// The helper of the agent whose token is in the environment.
    ///
    /// # Errors
    /// When there is no token. Nothing was started then.
    pub(crate) fn new(arguments: &RunArguments) -> Result<Self, Failure> {
        let parent = parent::of_environment()?;
        let id = match &arguments.id {
            Some(id) => id.clone(),
            None => parent.id.helper(made_up()).map_err(|invalid| {
                let what = format!(
                    "--with-parent: no id can be made up from {}: {invalid}; give one with --id",
                    parent.id
                );
                Failure::new(exit::USAGE, what)
            })?,
        };
        Ok(Self { id, kind: kind(&arguments.command), parent, idle: arguments.idle })
    }

    /// What is to be said when the parent is not registered in the store that was found.
    pub(crate) fn no_parent(&self, settings: &Settings) -> String {
        format!(
            "agent {}, whose token is in the environment, is not registered in the store at {}: its life is over, or another store is \
             meant (--redis-url, or lifecycle.toml in this folder); nothing was started",
            self.parent.id,
            settings.redis.address()
        )
    }
}

/// A number that no other helper of the agent has.
fn made_up() -> u32 {
    let random = RandomState::new().hash_one(std::process::id());
    u32::try_from(random >> 32).unwrap_or_default()
}

/// Helpers that run one program are alike.
fn kind(command: &[String]) -> String {
    let program = command.first().map_or("", String::as_str);
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| program.into())
}

/// Runs the command between the helper's client and its end.
pub(crate) async fn run(
    agent: &Agent,
    arguments: &RunArguments,
    helper: &Helper,
    cause: &mut StopCause,
) -> anyhow::Result<u8> {
    let Some(parent) = Parent::find(agent, &helper.parent).await else {
        *cause = StopCause::CoordinatorLost;
        return Err(Failure::new(exit::FAILED, helper.no_parent(agent.store().settings())).into());
    };
    let refused = |error: io::Error| Failure::new(exit::FAILED, format!("no pipe to the command: {error}"));
    let traffic = Traffic::default();
    let (input, reader) = Input::begin(traffic.clone()).map_err(refused)?;
    let (output, writer) = match helper.idle {
        Some(_) => Output::begin(traffic.clone()).map(|(output, writer)| (Some(output), Some(writer))),
        None => Ok((None, None)),
    }
    .map_err(refused)?;
    let line = CommandLine::between(&arguments.command, agent, Ends { input: reader, output: writer });
    let code = tokio::select! {
        code = run_to_end(agent, arguments, &line, cause) => code,
        never = see_to_the_end(agent, &parent, input, traffic.idle(helper.idle)) => match never {},
    };
    if parent.is_gone() {
        bear_witness(agent, &helper.parent.id).await;
    }
    if let Some(output) = output {
        pass_the_rest_on(agent, output).await;
    }
    code
}

/// Asks the agent to stop once there is a reason to, and sees that it does.
async fn see_to_the_end(
    agent: &Agent,
    parent: &Parent,
    input: Input,
    idle: impl Future<Output = ()>,
) -> std::convert::Infallible {
    let kill_timeout = agent.store().settings().shutdown.kill_timeout;
    let ended = async {
        input.ended().await;
        // Its own input has ended too, and it may want to end by itself.
        sleep(kill_timeout).await;
    };
    let cause = tokio::select! {
        () = ended => StopCause::InputEnded,
        () = idle => StopCause::Idle,
        () = parent.lost(agent) => StopCause::CoordinatorLost,
        stop = agent.shutdown_requested() => follow(stop, kill_timeout).await,
    };
    let urgency = if cause.is_signal() { Urgency::Hurry } else { Urgency::Terminate };
    agent.request_stop(urgency, cause);
    std::future::pending().await
}

/// A stop that was asked for by others. Resolves once it should be more urgent than they said.
async fn follow(stop: Stop, kill_timeout: Duration) -> StopCause {
    match stop.cause {
        // The command was told. A parent that ends its tree gives us the kill timeout in all, and we want to be released by then.
        cause if cause.is_signal() => sleep(kill_timeout / 2).await,
        // There is no task that it could finish.
        StopCause::CoordinatorLost => {}
        _ => std::future::pending().await,
    }
    stop.cause
}

/// Waits until the client has taken what the command wrote: as long as it likes, unless we are told to stop.
async fn pass_the_rest_on(agent: &Agent, output: Output) {
    let kill_timeout = agent.store().settings().shutdown.kill_timeout;
    let told = async {
        agent.shutdown_requested().await;
        sleep(kill_timeout / 2).await;
    };
    tokio::select! {
        () = output.passed_on() => {}
        () = told => {}
    }
}
