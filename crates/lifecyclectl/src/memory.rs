//! `lifecyclectl memory …`: what agents do with their memory.

mod judge;
mod replay;
mod sparkline;
mod table;
mod view;

use clap::{Args, Subcommand};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::Output;
use lifecycle_redis::OperatorStore;

const EXAMPLES: &str = "\
Examples:
  lifecyclectl memory                     the fleet's memory, and who has most of it
  lifecyclectl memory --kind coder --top 5
  lifecyclectl memory --output json | jq '.agents[] | select(.finding)'
  lifecyclectl memory judge trace.csv     which agents of a recorded trace leak, and since when that was known

LIMIT says how much of its limit an agent has, with shared pages counted once where the agent told that figure. TREND shows \
the least memory within each 8 minutes of the last hour and a half, oldest first, from the agent's least to its most; less \
than a tenth of it does not rise above the ground. PER HOUR is the slope, LIMIT IN when the limit is reached at that slope; \
with a question mark while the growth is not steady. FINDING is what an alert was sent for, and how sure that is. Sweepers \
write the last four.";

/// `memory …`
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    view: view::Selection,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Replays a recorded trace through the leak detector; prints one JSON line per alert, or a table
    Judge(judge::Arguments),
}

impl Arguments {
    /// Runs the command if it is one that needs no store.
    pub(crate) fn run_without_store(&self, output: Option<Output>) -> Option<anyhow::Result<u8>> {
        match &self.command {
            Some(Command::Judge(_)) if !self.view.is_empty() => {
                let what = "--top and --kind choose from the fleet; `memory judge` looks at a trace only";
                Some(Err(Failure::new(exit::USAGE, what).into()))
            }
            Some(Command::Judge(arguments)) => Some(judge::run(arguments, output)),
            None => None,
        }
    }

    /// Shows the fleet: what is asked for without a further command.
    pub(crate) async fn show(&self, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
        view::run(&self.view, store, output).await
    }
}
