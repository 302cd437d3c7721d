//! `coordinator run PLAN.toml`: an epic from a plan to its end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use coordinator::plan_file::PlanFile;
use coordinator::ui::preview::Preview;
use coordinator::ui::progress::line;
use coordinator::{OnDifference, OnHeld, RunRequest, alive, epic, plan_file, programs, runs_folder};
use lifecycle_cli::arguments::{self, Completions, GlobalArgs};
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, print_stdout, printable};
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::Plan;
use lifecycle_core::wire::epic_record::EpicRecord;
use lifecycle_core::wire::ids::EpicId;

const EXAMPLES: &str = "\
Examples:
  coordinator check plan.toml
  coordinator run plan.toml
  coordinator run plan.toml --output json > result.json
  coordinator resume checkout             # go on with an epic that waits, by the plan it has

A run that is stopped (Ctrl-C, SIGTERM, a crash) leaves its epic waiting: `run` with the same plan, or `resume`, goes on with it.

Exit codes: 0 all tasks completed; 1 some failed, or the epic is coordinated already or waits with another plan; 2 the plan, the settings or the
command line are wrong; 69 no store could be reached; 70 this coordinator was reaped or replaced; 130, 143 stopped by
SIGINT, SIGTERM before the end.";

/// Runs the sprints of a plan: starts their agents, hands out tasks, survives crashes, leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a plan to its end
    #[command(after_help = EXAMPLES)]
    Run(RunArguments),
    /// Goes on with an epic that waits for a coordinator, by the plan it was run with
    #[command(after_help = EXAMPLES)]
    Resume(ResumeArguments),
    /// Says what would be done, and what is wrong with the plan; starts nothing
    #[command(after_help = EXAMPLES)]
    Check {
        /// The plan, a TOML file
        plan: PathBuf,
    },
    /// Asks whether the epic of a plan is being coordinated, for health checks; exits 1 if it is not
    #[command(after_help = "Example:\n  coordinator alive plan.toml && echo at work")]
    Alive {
        /// The plan, a TOML file
        plan: PathBuf,
    },
    /// Prints a completion script for a shell
    Completions(Completions),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The plan, a TOML file
    plan: PathBuf,
    #[command(flatten)]
    held: HeldArguments,
    /// If the epic waits with another plan, go on by this one: tasks with the same id and input keep their result, changed
    /// ones wait again, removed ones are dropped
    #[arg(long, conflicts_with = "fresh")]
    merge: bool,
    /// Forget what an earlier run of this epic has done, and begin anew
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    /// The epic
    epic: EpicId,
    #[command(flatten)]
    held: HeldArguments,
}

/// What to do where the epic has a coordinator.
#[derive(Debug, Args)]
struct HeldArguments {
    /// Replace a coordinator of the epic that is still registered; its agents are adopted
    #[arg(long)]
    takeover: bool,
    /// Wait while another coordinator has the epic, as a stand-by; then go on with it, unless it has ended
    #[arg(long, conflicts_with = "takeover")]
    wait: bool,
}

impl HeldArguments {
    fn on_held(&self) -> OnHeld {
        match (self.takeover, self.wait) {
            (true, _) => OnHeld::TakeOver,
            (_, true) => OnHeld::Wait,
            _ => OnHeld::Refuse,
        }
    }
}

fn main() -> ExitCode {
    arguments::run(|cli: Cli| match cli.command {
        Command::Run(arguments) => run(&cli.global, &arguments),
        Command::Resume(arguments) => resume(&cli.global, &arguments),
        Command::Check { plan } => check(&cli.global, &plan),
        Command::Alive { plan } => alive(&cli.global, &plan),
        Command::Completions(completions) => completions.print::<Cli>(),
    })
}

fn run(global: &GlobalArgs, arguments: &RunArguments) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    let on_difference = match (arguments.merge, arguments.fresh) {
        (true, _) => OnDifference::Merge,
        (_, true) => OnDifference::Fresh,
        _ => OnDifference::Refuse,
    };
    match plan_file::read(&arguments.plan) {
        Ok(file) => {
            let how = (arguments.held.on_held(), global.config.clone());
            perform(global, settings, &arguments.plan, file, on_difference, how)
        }
        Err(refused) => Ok(refuse(&lines(&refused))),
    }
}

fn resume(global: &GlobalArgs, arguments: &ResumeArguments) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let EpicRecord { plan: text, host, folder, .. } =
        runtime.block_on(epic::stored(&settings, &arguments.epic))?;
    drop(runtime);
    let config = global.config.as_ref().map(std::path::absolute).transpose()?;
    if host.is_some_and(|host| host == agent_sdk::host()) {
        go_to(folder.as_deref())?;
    }
    let name = PathBuf::from(format!("the plan of epic {}", arguments.epic));
    match plan_file::parse(&name, text) {
        Ok(file) => {
            perform(global, settings, &name, file, OnDifference::Refuse, (arguments.held.on_held(), config))
        }
        Err(refused) => Ok(refuse(&lines(&refused))),
    }
}

/// Goes on in the folder in which the epic was begun: its commands run there, and its output goes there.
fn go_to(folder: Option<&str>) -> anyhow::Result<()> {
    let Some(folder) = folder.map(Path::new) else { return Ok(()) };
    let here = std::env::current_dir().ok();
    if here.as_deref() == Some(folder) || !folder.is_dir() {
        return Ok(());
    }
    std::env::set_current_dir(folder).with_context(|| format!("cannot go to {}", folder.display()))?;
    line(&format!("going on in {}, where the epic was begun", folder.display()));
    Ok(())
}

fn perform(
    global: &GlobalArgs,
    settings: Settings,
    name: &Path,
    file: PlanFile,
    on_difference: OnDifference,
    (on_held, config): (OnHeld, Option<PathBuf>),
) -> anyhow::Result<u8> {
    let agent_program = match ready(name, &file.plan, &settings) {
        Ok(agent_program) => agent_program,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let PlanFile { plan, text: plan_text } = file;
    let request = RunRequest { plan, plan_text, on_difference, settings, config, agent_program, on_held };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let (summary, code) = runtime.block_on(coordinator::run(request))?;
    summary.show(global.output())?;
    Ok(code)
}

fn check(global: &GlobalArgs, path: &std::path::Path) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    let plan = match plan_file::read(path) {
        Ok(file) => file.plan,
        Err(refused) => return Ok(refuse(&lines(&refused))),
    };
    match ready(path, &plan, &settings) {
        Ok(agent_program) => {
            let preview = Preview::of(&plan, &agent_program, &settings);
            if global.output() == Output::Json {
                output::print_json(&preview)?;
            } else {
                print_stdout(&preview.text())?;
            }
            Ok(exit::OK)
        }
        Err(problems) => Ok(refuse(&problems)),
    }
}

fn alive(global: &GlobalArgs, path: &std::path::Path) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    let plan = match plan_file::read(path) {
        Ok(file) => file.plan,
        Err(refused) => return Ok(refuse(&lines(&refused))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(alive::ask(&plan.epic, &settings))
}

/// Everything that can be known to be wrong before anything is started.
fn ready(name: &Path, plan: &Plan, settings: &Settings) -> Result<PathBuf, Vec<String>> {
    let mut problems: Vec<String> =
        programs::missing(plan).into_iter().map(|line| format!("{}: {line}", name.display())).collect();
    problems.extend(runs_folder::problem(settings, plan));
    match programs::agent_program(settings) {
        Ok(program) if problems.is_empty() => return Ok(program),
        Ok(_) => {}
        Err(problem) => problems.push(problem),
    }
    Err(problems)
}

fn lines(refused: &plan_file::PlanRefused) -> Vec<String> {
    refused.to_string().lines().map(str::to_owned).collect()
}

fn refuse(problems: &[String]) -> u8 {
    use std::io::Write as _;
    for problem in problems {
        // If stderr is closed, there is nowhere to report to.
        let _ = writeln!(std::io::stderr(), "error: {}", printable(problem));
    }
    exit::USAGE
}
