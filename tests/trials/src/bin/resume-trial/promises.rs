//! What must hold at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::process::Role;
use lifecycle_tests::server::Server;
use lifecycle_trials::checks::{Check, no_process_left, nothing_without_owner};
use serde_json::Value;

use crate::effects::Effects;
use crate::epic_plan::{EPIC, EpicPlan};
use crate::rounds::Trial;

/// Makes every check; the sweeper is stopped on the way.
pub(crate) fn all(
    plan: &EpicPlan,
    trial: &Trial<'_>,
    rounds: u32,
    last: &Role,
    server: &Server,
    sweeper: &mut Role,
) -> Result<Vec<Check>> {
    // Before a sweeper has had the time to see to what the last coordinator has left.
    let nobody_registered = nobody_registered(server)?;
    let effects = Effects::read(plan)?;
    let without_owner = nothing_without_owner(server)?;
    let stopped = sweeper.stop(Duration::from_secs(10))?;
    let everybody = trial.coordinators.iter().chain([last, &*sweeper]);
    Ok(vec![
        Check::new(
            "there was work in every round",
            trial.rounds == rounds,
            format!("{} of {rounds}; where these are fewer, give it more --tasks", trial.rounds),
        ),
        ended_well(last, trial.end_took),
        Check::none("every coordinator did what it must", &trial.broken, coordinators(trial)),
        none_lost(plan, &effects),
        none_twice(&effects, trial),
        in_the_history(plan, server)?,
        in_the_summary(plan)?,
        without_owner,
        nobody_registered,
        Check::new("the sweeper stops cleanly", stopped.success(), stopped.to_string()),
        no_process_left(everybody),
    ])
}

/// Agents that are dead leave by nobody's asking.
fn ended_well(last: &Role, took: Duration) -> Check {
    let said = last.stderr();
    let waited: Vec<&str> = said.lines().filter(|line| line.contains("leave")).collect();
    let mut detail = format!("after {:.1} s", took.as_secs_f64());
    if !waited.is_empty() {
        detail = format!("{detail}: {}", waited.join(" | "));
    }
    Check::new("the end waits for no agent that is dead", waited.is_empty(), detail)
}

fn nobody_registered(server: &Server) -> Result<Check> {
    let active = server.client()?.texts(&["SMEMBERS", &KeySchema::default().active()])?;
    let detail =
        if active.is_empty() { "nobody".into() } else { format!("still there: {}", active.join(", ")) };
    Ok(Check::new("nobody is registered any more", active.is_empty(), detail))
}

fn coordinators(trial: &Trial<'_>) -> String {
    format!(
        "{} killed, {} of them still registered at the next start; agents adopted {} times",
        trial.rounds,
        trial.refusals.len(),
        trial.adopted
    )
}

fn none_lost(plan: &EpicPlan, effects: &Effects) -> Check {
    let lost: Vec<String> = plan
        .tasks
        .iter()
        .filter(|task| !effects.done.contains_key(*task))
        .map(|task| format!("{task} was never done; begun by {}", begun_by(effects, task)))
        .collect();
    let done: usize = effects.done.values().map(Vec::len).sum();
    Check::none("every task was really done", &lost, format!("{} tasks, {done} times", effects.done.len()))
}

/// A task that was begun twice was handed out a second time while it was done, or in hand of an agent that lived.
fn none_twice(effects: &Effects, trial: &Trial<'_>) -> Check {
    let killed: BTreeSet<&String> = trial.victims.iter().flat_map(|(_, victim)| &victim.tasks).collect();
    let twice: BTreeSet<&String> =
        effects.begun.iter().filter(|(_, runs)| runs.len() > 1).map(|(task, _)| task).collect();
    let wrong: Vec<String> = twice
        .difference(&killed)
        .map(|task| {
            format!(
                "{task} was begun more than once, and none of its agents was killed: {}{}",
                begun_by(effects, task),
                trial.story(task)
            )
        })
        .collect();
    let detail = format!(
        "{} agents killed with {} tasks in hand, {} of these begun again",
        trial.victims.len(),
        killed.len(),
        twice.len()
    );
    Check::none("none was begun twice but by a crash of its agent", &wrong, detail)
}

fn begun_by(effects: &Effects, task: &str) -> String {
    effects.begun.get(task).map_or("nobody".into(), |runs| runs.join(", then "))
}

fn in_the_history(plan: &EpicPlan, server: &Server) -> Result<Check> {
    let entries = server.client()?.entries(&KeySchema::default().epics_history())?;
    let of_epic: Vec<_> =
        entries.iter().filter(|entry| entry.get("epic").is_some_and(|epic| epic == EPIC)).collect();
    let field = |name: &str| of_epic.first().and_then(|entry| entry.get(name)).map_or("", String::as_str);
    let held = of_epic.len() == 1
        && field("outcome") == "completed"
        && field("tasksCompleted") == plan.tasks.len().to_string()
        && field("tasksFailed") == "0";
    let detail = format!("{} entry, {} {}", of_epic.len(), field("tasksCompleted"), field("outcome"));
    Ok(Check::new("the history says so", held, detail))
}

fn in_the_summary(plan: &EpicPlan) -> Result<Check> {
    let path = plan.folder.join("runs").join(EPIC).join("summary.json");
    let text = std::fs::read_to_string(&path).context("the epic has left no summary.json")?;
    let summary: Value = serde_json::from_str(&text)?;
    let sprints = summary["sprints"].as_array().into_iter().flatten();
    let tasks: Vec<&Value> =
        sprints.flat_map(|sprint| sprint["tasks"].as_array().into_iter().flatten()).collect();
    let other: Vec<String> = tasks
        .iter()
        .filter(|task| task["state"] != "completed")
        .map(|task| format!("{} is {}: {}", task["taskId"], task["state"], task["detail"]))
        .collect();
    if tasks.len() != plan.tasks.len() {
        return Ok(Check::new("summary.json says so", false, format!("it names {} tasks", tasks.len())));
    }
    Ok(Check::none("summary.json says so", &other, format!("{} completed", tasks.len())))
}
