//! `lifecyclectl memory …`: what agents do with their memory.

mod judge;
mod replay;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  lifecyclectl memory judge trace.csv     which agents of a recorded trace leak, and since when that was known";

/// `memory …`
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Replays a recorded trace through the leak detector; prints one JSON line per alert
    Judge(judge::Arguments),
}

/// Runs a command that needs no store.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    match &arguments.command {
        Command::Judge(arguments) => judge::run(arguments),
    }
}
