//! Finding programs before anything is started: a plan whose commands are missing fails at once, not task by task.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;

use lifecycle_cli::program;
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::{AgentPlan, Plan, depends_on_task};

/// The supervisor that runs an agent's command.
const AGENT: &str = "agent";

/// One line for each command of the plan whose program is not there.
#[must_use]
pub fn missing(plan: &Plan) -> Vec<String> {
    let agents =
        plan.sprints.iter().flat_map(|sprint| sprint.agents.iter().map(move |agent| (sprint, agent)));
    let lines: BTreeSet<String> = agents
        .filter(|(_, agent)| !is_runnable(agent))
        .map(|(sprint, agent)| {
            let program = &agent.command[0];
            let advice = if program.contains('/') {
                "there is no executable file at this path"
            } else {
                "it is not on PATH"
            };
            format!(
                "sprint {}, agent {}: program {program:?} cannot be run: {advice}",
                sprint.name, agent.kind
            )
        })
        .collect();
    lines.into_iter().collect()
}

/// Whether an agent's command can be run. A command that depends on the task is known only with a task, and counts as
/// runnable.
fn is_runnable(agent: &AgentPlan) -> bool {
    let program = &agent.command[0];
    let path = agent.env.get("PATH").map(Into::into).or_else(|| env::var_os("PATH"));
    depends_on_task(program) || program::find(program, path.as_deref()).is_ok()
}

/// The program that supervises agents: `coordinator.agent_program`, else `agent` beside this program, else on PATH.
///
/// # Errors
/// One line that says where it was looked for.
pub fn agent_program(settings: &Settings) -> Result<PathBuf, String> {
    if let Some(program) = &settings.coordinator.agent_program {
        return program::find(&program.to_string_lossy(), env::var_os("PATH").as_deref()).map_err(|_| {
            format!(
                "coordinator.agent_program {:?} is no executable file: name the `agent` program",
                program.display()
            )
        });
    }
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(AGENT)));
    let beside = beside.and_then(|file| program::find(&file.to_string_lossy(), None).ok());
    let on_path = || program::find(AGENT, env::var_os("PATH").as_deref());
    beside.map_or_else(on_path, Ok).map_err(|_| {
        "the program `agent`, which runs the agents, is neither beside this one nor on PATH: install it, or set coordinator.agent_program".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(command: &str, env: &str) -> Plan {
        let text = format!(
            "[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"a\"\ncount = 3\ncommand = [{command}]\n\
             env = {{ {env} }}\n[[sprint.task]]\nid = \"t\"\n"
        );
        Plan::parse(&text).unwrap()
    }

    #[test]
    fn programs_that_are_there_are_found_by_name_and_by_path() {
        assert_eq!(missing(&plan("\"sh\"", "")), [""; 0]);
        assert_eq!(missing(&plan("\"/bin/sh\"", "")), [""; 0]);
    }

    #[test]
    fn a_missing_program_is_one_line_however_many_agents_run_it() {
        assert_eq!(
            missing(&plan("\"no-such-program\"", "")),
            ["sprint s, agent a: program \"no-such-program\" cannot be run: it is not on PATH"]
        );
        assert_eq!(missing(&plan("\"/etc/passwd\"", "")).len(), 1, "a file that is not executable");
    }

    #[test]
    fn the_path_an_agent_is_given_counts_and_a_program_named_by_the_task_is_left_alone() {
        assert_eq!(missing(&plan("\"sh\"", "PATH = \"/nowhere\"")).len(), 1);
        assert_eq!(missing(&plan("\"./{task}\"", "")), [""; 0]);
    }
}
