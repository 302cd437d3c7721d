//! `coordinator run PLAN.toml`: an epic from a plan to its end.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use coordinator::{RunRequest, alive, plan_file, programs, shell};
use lifecycle_cli::arguments::{self, Completions, GlobalArgs};
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, count, print_stdout, printable};
use lifecycle_core::plan::Plan;
use lifecycle_core::settings::Settings;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  coordinator check plan.toml
  coordinator run plan.toml
  coordinator run plan.toml --output json > result.json

Exit codes: 0 all tasks completed; 1 some failed, or the epic is coordinated already; 2 the plan, the settings or the
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
    /// Replace a coordinator of the same epic that is still registered; its agents are told to stop
    #[arg(long)]
    takeover: bool,
}

fn main() -> ExitCode {
    arguments::run(|cli: Cli| match cli.command {
        Command::Run(arguments) => run(&cli.global, &arguments),
        Command::Check { plan } => check(&cli.global, &plan),
        Command::Alive { plan } => is_alive(&cli.global, &plan),
        Command::Completions(completions) => completions.print::<Cli>(),
    })
}

fn run(global: &GlobalArgs, arguments: &RunArguments) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    let (plan, agent_program) = match ready(&arguments.plan, &settings) {
        Ok(ready) => ready,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let config = global.config.clone();
    let request = RunRequest { plan, settings, config, agent_program, takeover: arguments.takeover };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let (summary, code) = runtime.block_on(coordinator::run(request))?;
    summary.show(global.output())?;
    Ok(code)
}

fn check(global: &GlobalArgs, path: &std::path::Path) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    match ready(path, &settings) {
        Ok((plan, agent_program)) => {
            let intent = Intent::of(&plan, &agent_program, &settings);
            if global.output() == Output::Json {
                output::print_json(&intent)?;
            } else {
                print_stdout(&intent.text())?;
            }
            Ok(exit::OK)
        }
        Err(problems) => Ok(refuse(&problems)),
    }
}

fn is_alive(global: &GlobalArgs, path: &std::path::Path) -> anyhow::Result<u8> {
    let settings = global.start_quietly()?;
    let plan = match plan_file::read(path) {
        Ok(plan) => plan,
        Err(refused) => return Ok(refuse(&lines(&refused))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(alive::ask(&plan.epic, &settings))
}

/// Everything that can be known to be wrong before anything is started.
fn ready(path: &std::path::Path, settings: &Settings) -> Result<(Plan, PathBuf), Vec<String>> {
    let plan = plan_file::read(path).map_err(|refused| lines(&refused))?;
    let mut problems: Vec<String> =
        programs::missing(&plan).into_iter().map(|line| format!("{}: {line}", path.display())).collect();
    match programs::agent_program(settings) {
        Ok(program) if problems.is_empty() => return Ok((plan, program)),
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
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(std::io::stderr(), "error: {}", printable(problem));
    }
    exit::USAGE
}

/// What `run` would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Intent {
    epic: String,
    store: String,
    output: String,
    agent_program: String,
    sprints: Vec<SprintIntent>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SprintIntent {
    sprint: String,
    after: Vec<String>,
    agents: Vec<AgentIntent>,
    tasks: Vec<TaskIntent>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentIntent {
    agent_id: String,
    command: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskIntent {
    task_id: String,
    needs: Vec<String>,
    max_attempts: u32,
}

impl Intent {
    fn of(plan: &Plan, agent_program: &std::path::Path, settings: &Settings) -> Self {
        let sprints = plan.order().into_iter().map(|sprint| SprintIntent {
            sprint: sprint.id.to_string(),
            after: sprint.after.iter().map(ToString::to_string).collect(),
            agents: sprint
                .agents
                .iter()
                .map(|agent| AgentIntent { agent_id: agent.id.to_string(), command: agent.command.clone() })
                .collect(),
            tasks: sprint
                .order()
                .into_iter()
                .map(|task| TaskIntent {
                    task_id: task.id.to_string(),
                    needs: task.needs.iter().map(ToString::to_string).collect(),
                    max_attempts: task.attempts,
                })
                .collect(),
        });
        Self {
            epic: plan.epic.to_string(),
            store: settings.redis.url_without_password(),
            output: settings.coordinator.runs_dir.join(plan.epic.as_str()).display().to_string(),
            agent_program: agent_program.display().to_string(),
            sprints: sprints.collect(),
        }
    }

    fn text(&self) -> String {
        let mut lines =
            vec![format!("epic {}: would run on {}, output to {}", self.epic, self.store, self.output)];
        for sprint in &self.sprints {
            let after = listed("after", &sprint.after);
            lines.push(format!("sprint {}{after}", sprint.sprint));
            for agent in &sprint.agents {
                lines.push(format!("  agent {}: {}", agent.agent_id, shell::line(&agent.command)));
            }
            for task in &sprint.tasks {
                let needs = listed("needs", &task.needs);
                lines.push(format!(
                    "  task {}{needs}, up to {}",
                    task.task_id,
                    count(task.max_attempts.into(), "attempt")
                ));
            }
        }
        lines.iter().fold(String::new(), |text, line| text + &printable(line) + "\n")
    }
}

fn listed(word: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(", {word} {}", names.join(" and ")) }
}
