//! `sprint`: pauses, resumes and closes a sprint.

use clap::{Args, Subcommand};
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output};
use lifecycle_core::wire::epic_record::EpicStatus;
use lifecycle_core::wire::sprint_record::SprintFlag;
use lifecycle_redis::{NotDone, OperatorStore};
use serde::Serialize;

use crate::place::{self, SprintPlace};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl sprint pause checkout/api       # tasks in hand go on, no further one is handed out
  lifecyclectl sprint resume checkout/api
  lifecyclectl sprint close checkout/api       # no task is added any more: it ends once all are settled

What is asked for is kept with the epic, and holds for every coordinator that goes on with it.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Hands out no further task until it is resumed
    Pause(Which),
    /// Goes on with a sprint that was paused
    Resume(Which),
    /// Lets a sprint that was kept open end once its tasks are settled
    Close(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// The sprint
    #[arg(value_name = "EPIC/SPRINT")]
    sprint: SprintPlace,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    sprint: &'a str,
    state: &'a str,
    /// Whether it was so already.
    already: bool,
    /// Whether a coordinator has the epic now. If not, the next one obeys.
    epic_status: EpicStatus,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let (Which { sprint }, wish, word) = match &arguments.action {
        Action::Pause(which) => (which, (SprintFlag::Paused, true), "paused"),
        Action::Resume(which) => (which, (SprintFlag::Paused, false), "resumed"),
        Action::Close(which) => (which, (SprintFlag::Closed, true), "closed"),
    };
    sprint.plan(store).await?;
    let already = match store.flag_sprint(sprint.of(), wish, word).await? {
        Ok(()) => false,
        Err(NotDone::Already) => true,
        Err(not_done) => return Err(sprint.refusal(&not_done)),
    };
    let status = place::epic(store, &sprint.epic).await?.status;
    let report = Report { sprint: sprint.id.as_str(), state: word, already, epic_status: status };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

impl Report<'_> {
    fn text(&self) -> String {
        let already = if self.already { " already" } else { "" };
        let later = match self.epic_status {
            EpicStatus::Running => "",
            EpicStatus::Waiting => "; its epic waits for a coordinator, and the next one obeys",
        };
        format!("sprint {} is {}{already}{later}\n", self.sprint, self.state)
    }
}
