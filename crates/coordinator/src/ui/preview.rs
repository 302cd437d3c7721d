//! What `coordinator run` would do, for `coordinator check`.

use lifecycle_cli::output::{count, printable};
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::Plan;
use serde::Serialize;

use crate::ui::shell;

/// What `run` would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
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
    /// What agents may join that somebody else starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<String>,
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

impl Preview {
    /// Builds it without asking the store.
    #[must_use]
    pub fn of(plan: &Plan, agent_program: &std::path::Path, settings: &Settings) -> Self {
        let sprints = plan.order().into_iter().map(|sprint| SprintIntent {
            sprint: sprint.id.to_string(),
            after: sprint.after.iter().map(ToString::to_string).collect(),
            agents: sprint
                .agents
                .iter()
                .map(|agent| AgentIntent { agent_id: agent.id.to_string(), command: agent.command.clone() })
                .collect(),
            pools: sprint.pools.iter().map(|pool| pool.name.to_string()).collect(),
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

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines =
            vec![format!("epic {}: would run on {}, output to {}", self.epic, self.store, self.output)];
        for sprint in &self.sprints {
            let after = listed("after", &sprint.after);
            lines.push(format!("sprint {}{after}", sprint.sprint));
            for agent in &sprint.agents {
                lines.push(format!("  agent {}: {}", agent.agent_id, shell::line(&agent.command)));
            }
            for pool in &sprint.pools {
                lines.push(format!("  agents {pool}: whoever joins, started by somebody else"));
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
