//! `task`: what the tasks of an epic are and what became of them; adds, retries and cancels them.

mod add;
mod change;
mod list;
mod logs;
mod show;

use clap::{Args, Subcommand};
use lifecycle_cli::output::Output;
use lifecycle_redis::OperatorStore;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task list checkout
  lifecyclectl task add checkout/api --id logout --input 'write the logout endpoint' --needs login
  lifecyclectl task add checkout/api --from tasks.jsonl
  lifecyclectl task retry checkout/api/login
  lifecyclectl task logs checkout/api/login --follow

What is asked for is kept with the epic, whether a coordinator has it now or not.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Adds tasks to a sprint that has not ended
    Add(add::Arguments),
    /// Lists the tasks of an epic, or of one of its sprints
    List(list::Arguments),
    /// Shows all that is known of one task, with its result
    Show(show::Arguments),
    /// Has a task done that was given up or cancelled, and those that failed because they need it
    Retry(change::Retry),
    /// Cancels a task that is not over; one that is in hand is ended
    Cancel(change::Cancel),
    /// Prints what a task's command has printed
    Logs(logs::Arguments),
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    match &arguments.action {
        Action::Add(arguments) => add::run(arguments, store, output).await,
        Action::List(arguments) => list::run(arguments, store, output).await,
        Action::Show(arguments) => show::run(arguments, store, output).await,
        Action::Retry(arguments) => change::retry(arguments, store, output).await,
        Action::Cancel(arguments) => change::cancel(arguments, store, output).await,
        Action::Logs(arguments) => logs::run(arguments, store).await,
    }
}
