//! Finding programs before anything is started: a plan whose commands are missing fails at once, not task by task.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use lifecycle_core::plan::{AgentPlan, Plan};
use lifecycle_core::settings::Settings;
use rustix::fs::{Access, access};

/// The supervisor that runs an agent's command.
const AGENT: &str = "agent";

/// One line for each command of the plan whose program is not there.
#[must_use]
pub fn missing(plan: &Plan) -> Vec<String> {
    let agents =
        plan.sprints.iter().flat_map(|sprint| sprint.agents.iter().map(move |agent| (sprint, agent)));
    let lines: BTreeSet<String> = agents
        .filter(|(_, agent)| find_for(agent).is_none())
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

/// The program of an agent's command. One that depends on the task is known only when there is one.
fn find_for(agent: &AgentPlan) -> Option<PathBuf> {
    let program = &agent.command[0];
    if program.contains("{task}") || program.contains("{input}") {
        return Some(program.into());
    }
    let path = agent.env.get("PATH").map(Into::into).or_else(|| env::var_os("PATH"));
    find(program, path.as_deref())
}

/// What `program` means: itself if it has a slash, else the first executable file of that name on `path`.
fn find(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| is_executable(file));
    }
    env::split_paths(path?).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// The program that supervises agents: `coordinator.agent_program`, else `agent` beside this program, else on PATH.
///
/// # Errors
/// One line that says where it was looked for.
pub fn agent_program(settings: &Settings) -> Result<PathBuf, String> {
    if let Some(program) = &settings.coordinator.agent_program {
        return find(&program.to_string_lossy(), env::var_os("PATH").as_deref()).ok_or_else(|| {
            format!(
                "coordinator.agent_program {:?} is no executable file: name the `agent` program",
                program.display()
            )
        });
    }
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(AGENT)));
    beside.filter(|file| is_executable(file)).or_else(|| find(AGENT, env::var_os("PATH").as_deref())).ok_or_else(|| {
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
