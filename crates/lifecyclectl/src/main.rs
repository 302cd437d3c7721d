//! `lifecyclectl`: what an operator asks of a fleet, and does to it.
//!
//! Each command has its own file. All but `memory judge`, `processes` and `own` work on the store alone: no role has to be
//! running, and none is called.
//!
//! ```text
//!   ask     ps · inspect · epics · history · task list, show, logs · events · memory · verify · doctor
//!   act     drain · stop · restart · reap · hold · epic cancel · task add, retry, cancel · sprint pause, resume, close
//!   host    processes, own, disown, which ask this host, and the store where one answers
//!   replay  memory judge, which asks no store
//! ```

mod doctor;
mod epics;
mod errors;
mod events;
mod hold;
mod inspect;
mod memory;
mod order;
mod own;
mod place;
mod processes;
mod ps;
mod reap;
mod restart;
mod sprint;
mod task;
mod verify;
mod wording;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lifecycle_cli::arguments::{self, Completions, GlobalArgs};
use lifecycle_cli::output::Output;
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::record::Order;
use lifecycle_redis::Store;

const EXAMPLES: &str = "\
Examples:
  lifecyclectl ps                         who is there
  lifecyclectl events --follow            what happens, as it happens
  lifecyclectl drain coder-1 --wait       let an agent finish, and wait until it has left
  lifecyclectl verify && echo clean       is anything left behind?
  lifecyclectl ps --output json | jq '.agents[].agentId'

Exit codes: 0 done, 1 failed or found something, 2 wrong usage, 69 no store answered (or it is full, busy, loading, a
replica, or a cluster's node)";

/// Watches and steers a fleet of agents through its Redis store.
#[derive(Debug, Parser)]
#[command(name = "lifecyclectl", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the agents
    Ps(ps::Arguments),
    /// Shows all that is known of one agent
    Inspect(inspect::Arguments),
    /// Lists the epics that are at work, and those that wait for a coordinator
    Epics(epics::EpicsArguments),
    /// Cancels an epic
    Epic(epics::EpicArguments),
    /// Lists, adds, retries and cancels tasks, and shows what they printed and left
    Task(task::Arguments),
    /// Pauses, resumes or closes a sprint
    Sprint(sprint::Arguments),
    /// Shows what came of the epics that ended
    History(epics::HistoryArguments),
    /// Shows the latest cleanups, or follows all events
    Events(events::Arguments),
    /// Lets an agent finish its tasks and leave
    Drain(order::Drain),
    /// Makes an agent end its processes, hand its tasks back and leave
    Stop(order::Stop),
    /// Has a coordinator start an agent again
    Restart(restart::Arguments),
    /// Removes an agent and everything it owns, at once
    Reap(reap::Arguments),
    /// Shows or releases the hold on reaping
    Hold(hold::Arguments),
    /// Has an agent own a worktree, a container, a file or a command, so that it is undone when the agent ends; lists those
    Own(own::Arguments),
    /// Takes such a thing off an agent's list
    Disown(own::DisownArguments),
    /// Lists the processes that lives left on this host, and ends those of lives that are over
    Processes(processes::Arguments),
    /// Looks for keys and processes that have no living owner; exits 1 if there are any
    Verify(verify::Arguments),
    /// Checks the store and the sweepers; exits 1 if something is wrong
    Doctor(doctor::Arguments),
    /// Shows the fleet's memory and where it is going, or judges a recorded trace
    Memory(memory::Arguments),
    /// Prints a completion script for a shell
    Completions(Completions),
}

fn main() -> ExitCode {
    arguments::run(|cli: Cli| {
        let command = match cli.command {
            Command::Completions(completions) => return completions.print::<Cli>(),
            command => command,
        };
        let settings = cli.global.start()?;
        if let Command::Memory(arguments) = &command
            && let Some(done) = arguments.run_without_store(cli.global.output)
        {
            return done;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(perform(command, &settings, cli.global.output())).map_err(errors::with_code)
    })
}

async fn perform(command: Command, settings: &Settings, output: Output) -> anyhow::Result<u8> {
    match &command {
        Command::Processes(arguments) => return processes::run(arguments, settings, output).await,
        Command::Own(arguments) => return own::run(arguments, settings, output).await,
        Command::Disown(arguments) => return own::disown(arguments, settings, output).await,
        _ => {}
    }
    let store = Store::connect(settings).await?.operator();
    // A replica or a cluster's node would show a part of the fleet as if it were all.
    store.check_deployment().await?;
    match command {
        Command::Ps(arguments) => ps::run(&arguments, &store, output).await,
        Command::Inspect(arguments) => inspect::run(&arguments, &store, output).await,
        Command::Epics(arguments) => epics::run(&arguments, &store, output).await,
        Command::Epic(arguments) => epics::act(&arguments, &store, output).await,
        Command::Task(arguments) => task::run(&arguments, &store, output).await,
        Command::Sprint(arguments) => sprint::run(&arguments, &store, output).await,
        Command::History(arguments) => epics::history(&arguments, &store, output).await,
        Command::Events(arguments) => events::run(&arguments, &store, output).await,
        Command::Drain(drain) => order::run(Order::Drain, &drain.arguments, &store, output).await,
        Command::Stop(stop) => order::run(Order::Terminate, &stop.arguments, &store, output).await,
        Command::Restart(arguments) => restart::run(&arguments, &store, output).await,
        Command::Reap(arguments) => reap::run(&arguments, &store, output).await,
        Command::Hold(arguments) => hold::run(&arguments, &store, output).await,
        Command::Processes(arguments) => processes::run(&arguments, settings, output).await,
        Command::Own(arguments) => own::run(&arguments, settings, output).await,
        Command::Disown(arguments) => own::disown(&arguments, settings, output).await,
        Command::Verify(arguments) => verify::run(&arguments, &store, output).await,
        Command::Doctor(arguments) => doctor::run(&arguments, &store, output).await,
        Command::Memory(arguments) => arguments.show(&store, output).await,
        Command::Completions(completions) => completions.print::<Cli>(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_but_completions_shows_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "completions")
        {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("lifecyclectl"), "{}", command.get_name());
        }
    }
}
