//! `agent run -- CMD…`: any command in any language as an agent of the fleet.
//!
//! ```text
//!   run          register → one command, or one per task → release
//!   join         the same for an agent that joins a sprint from any host, again and again
//!   helper       the same for a helper of an agent, such as an MCP server, which ends with whoever speaks to it
//!   supervise    one command: until it ends, is stopped, or exceeds its budget
//!   command      how it is started: arguments, environment, output
//!   memory_limits its budget: drained beyond the soft limit, ended beyond the hard one
//!   containment  what holds its process tree; the tree is found, ended, waited for
//!   guard        the small process above the command, as its supervisor sees it
//!   hold         the same, as it lives
//!   child        the running command
//!   host         the daemon of a host, and what every start does: what lives that are over left here is ended
//!   host_watch   which lives there are on this host, and which of them have lost their supervisor
//!   lifeline     the coordinator's pipe: how to reach the store, and then nothing until its end, which is its death
//!   task_log     where a task's output goes
//!   results      the file for a task's result, and the results of others
//!   log_limit    how much of it is kept
//! ```

mod child;
mod command;
mod containment;
mod guard;
mod helper;
mod hold;
mod host;
mod host_watch;
mod join;
mod lifeline;
mod log_limit;
mod memory_limits;
mod results;
mod run;
mod supervise;
mod task_log;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use lifecycle_cli::arguments::{Completions, GlobalArgs, run as run_cli};
use lifecycle_core::agent::memory_budget::MemoryBudget;
use lifecycle_core::text::units::{parse_duration, parse_size};
use lifecycle_core::wire::ids::{AgentId, AgentName, EpicId, SprintId};

/// Runs any command as an agent: it beats, holds the command's whole process tree, and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "agent", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  agent run --id coder-1 -- claude -p 'write the login endpoint'
  agent run --id checkout.coder-1 --sprint checkout.api -- claude -p '{input}'
  agent run --epic checkout --sprint api --pool coder -- claude -p '{input}'    # join a sprint from any host
  agent run --with-parent -- npx some-mcp-server    # in an agent's command: ends with its input, and with that agent
  agent run --id build --memory-limit 2GiB -- make -j4

Exit codes: the command's own (128 + n if signal n ended it); with --sprint, 0 after a clean drain;
75 after a drain because of its soft memory limit (start a fresh one);
70 if this life was fenced; 69 if no store could be reached at start, or it stayed full, busy or loading; 126, 127 if
the command cannot be run, which is found before the agent registers; 2 for usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Registers an agent, runs the command under it, and removes every trace at the end
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArguments>),
    /// Looks after a host: ends what lives that are over left on it, within a second
    ///
    /// Optional: each `agent run` holds its own processes, and every start on a host ends what others left. This one does
    /// it without a start, and bears witness of every supervisor that dies, so that its agent is reaped at once.
    #[command(after_help = "Example:\n  agent host --log-level info")]
    Host,
    /// Holds the command of one `agent run`, which starts it
    #[command(hide = true)]
    Hold(HoldArguments),
    /// Prints a completion script for a shell
    Completions(Completions),
}

#[derive(Debug, clap::Args)]
struct HoldArguments {
    /// Put the command into a PID namespace of its own
    #[arg(long)]
    namespace: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArguments {
    /// The agent's id: 1 to 128 of A-Z a-z 0-9 . _ -
    #[arg(long, required_unless_present_any = ["pool", "with_parent"])]
    id: Option<AgentId>,
    /// What the agent is alike to; agents of one kind share a memory prior [default: the id without its number;
    /// of a helper its program's name]
    #[arg(long)]
    kind: Option<String>,
    /// Work for this sprint: the command runs once for every task assigned to the agent
    #[arg(long)]
    sprint: Option<SprintId>,
    /// Join the agents of this name of the epic's sprint, from any host, for as long as it has work. Waits for its
    /// coordinator. Without --id, an id is made up
    #[arg(long, value_name = "NAME", requires = "epic", requires = "sprint", conflicts_with_all = ["parent", "lifeline"])]
    pool: Option<AgentName>,
    /// The epic to join
    #[arg(long, requires = "pool")]
    epic: Option<EpicId>,
    /// The agent that started this one; when it is lost, this one stops
    #[arg(long, value_name = "ID")]
    parent: Option<AgentId>,
    /// Be a helper of the agent in whose command this is started, such as an MCP server: its token is in the environment
    /// (LIFECYCLE_TOKEN). The helper ends once its standard input has ended, and with that agent. Without --id, an id is
    /// made up
    #[arg(long, conflicts_with_all = ["parent", "sprint", "pool", "lifeline"])]
    with_parent: bool,
    /// End a helper once not a byte has passed in either direction for so long, such as 2h: longer than its longest call
    /// [default: never]
    #[arg(long, value_name = "DURATION", requires = "with_parent", value_parser = idle)]
    idle: Option<Duration>,
    /// Most memory the command's process tree may use, such as 2GiB; beyond it the tree is ended
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// Beyond this much the agent is drained: what is in hand has shutdown.drain_timeout to finish, then it is ended; in a
    /// sprint a fresh agent takes over
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_soft_limit: Option<u64>,
    /// Fence a living agent of the same id instead of being refused
    #[arg(long)]
    takeover: bool,
    /// With --sprint: append each task's output to DIR/TASK.log instead of printing it
    #[arg(long, value_name = "DIR", requires = "sprint")]
    logs: Option<PathBuf>,
    /// Standard input is a pipe from the parent: its first line says how to reach the store, and its end means that the
    /// parent died. For coordinators
    #[arg(long, requires = "parent")]
    lifeline: bool,
    /// The command and its arguments; with --sprint, {task}, {input} and {result:TASK} are replaced in the arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl RunArguments {
    fn memory(&self) -> MemoryBudget {
        MemoryBudget { soft: self.memory_soft_limit, hard: self.memory_limit }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?.as_u64();
    if size == 0 {
        Err("a limit of 0 would end every command at once: give a size over 0".into())
    } else {
        Ok(size)
    }
}

fn idle(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text)?;
    if limit.is_zero() { Err("a helper would end at once: give a duration over 0".into()) } else { Ok(limit) }
}

fn main() -> ExitCode {
    run_cli(|cli: Cli| match cli.command {
        Command::Run(arguments) => {
            let handed = if arguments.lifeline { lifeline::handed_over()? } else { Vec::new() };
            let settings = cli.global.start_quietly_over(handed)?;
            // Two threads: one waits for the child, the other beats, whatever the first is doing.
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let code = runtime.block_on(run::run(&arguments, settings));
            // A thread that reads the lifeline never ends by itself.
            runtime.shutdown_background();
            code
        }
        Command::Host => {
            let settings = cli.global.start()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(host::run(settings))
        }
        Command::Hold(arguments) => Ok(hold::run(arguments.namespace)),
        Command::Completions(completions) => completions.print::<Cli>(),
    })
}
