//! The checks at the end: in the record of the sprint, in the keys, and in the process table.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lifecycle_tests::process::Role;
use lifecycle_tests::server::Server;
use lifecycle_trials::checks::{Check, no_process_left, nothing_without_owner};
use serde_json::Value;

use crate::demo_plan::DemoPlan;
use crate::event_log::{EventLog, KilledAgent};

/// Makes every check; the roles that are left are stopped on the way.
pub(crate) fn all(
    plan: &DemoPlan,
    log: &EventLog,
    server: &Server,
    coordinator: &mut Role,
    sweeper: &mut Role,
) -> Result<Vec<Check>> {
    let ended = coordinator.wait(Duration::from_secs(5))?;
    let summary: Value = serde_json::from_str(coordinator.stdout().trim())
        .with_context(|| format!("the coordinator's summary is no JSON\n{}", coordinator.stderr()))?;
    let without_owner = nothing_without_owner(server)?;
    let stopped = sweeper.stop(Duration::from_secs(10))?;
    Ok(vec![
        Check::new("the coordinator ended well", ended.success(), ended.to_string()),
        tasks_completed(plan, log, &summary),
        everyone_cleaned(plan, log),
        without_owner,
        Check::new("the sweeper stops cleanly", stopped.success(), stopped.to_string()),
        no_process_left([&*coordinator, &*sweeper]),
    ])
}

fn tasks_completed(plan: &DemoPlan, log: &EventLog, summary: &Value) -> Check {
    let records: Vec<&Value> = summary["sprints"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|sprint| sprint["tasks"].as_array().into_iter().flatten())
        .collect();
    let completed = records.iter().filter(|task| task["state"] == "completed").count();
    let twice = log.completed.values().filter(|times| **times != 1).count();
    let held = records.len() == plan.tasks.len()
        && completed == plan.tasks.len()
        && log.completed.len() == plan.tasks.len()
        && twice == 0;
    let detail = format!("{completed} of {}, {twice} twice, {} handed on", plan.tasks.len(), log.requeued);
    Check::new("every task completed exactly once in the record", held, detail)
}

fn everyone_cleaned(plan: &DemoPlan, log: &EventLog) -> Check {
    let longest = |stage: fn(&KilledAgent) -> Option<Duration>| {
        log.killed_agents
            .values()
            .map(stage)
            .try_fold(Duration::ZERO, |longest, after| Some(longest.max(after?)))
    };
    let (detected, cleaned) = (longest(|agent| agent.detected), longest(|agent| agent.cleaned));
    let held = log.killed_agents.len() == plan.victims.len() && detected.is_some() && cleaned.is_some();
    let ms =
        |after: Option<Duration>| after.map_or("never".into(), |after| format!("{} ms", after.as_millis()));
    let detail = format!(
        "{} of {} killed, detected within {}, cleaned within {}",
        log.killed_agents.len(),
        plan.victims.len(),
        ms(detected),
        ms(cleaned)
    );
    Check::new("every crash was detected and cleaned up", held, detail)
}
