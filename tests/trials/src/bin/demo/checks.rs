//! The checks at the end: in the record of the sprint, in the keys, and in the process table.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::process::{Role, processes_with_env};
use lifecycle_tests::server::Server;
use lifecycle_trials::role;
use serde_json::Value;

use crate::demo_plan::DemoPlan;
use crate::event_log::{EventLog, KilledAgent};

/// One promise and whether it held.
pub(crate) struct Check {
    promise: &'static str,
    held: bool,
    detail: String,
}

impl Check {
    fn new(promise: &'static str, held: bool, detail: impl Into<String>) -> Self {
        Self { promise, held, detail: detail.into() }
    }
}

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
    let verify = verify(server)?;
    let stopped = sweeper.stop(Duration::from_secs(10))?;
    Ok(vec![
        Check::new("the coordinator ended well", ended.success(), ended.to_string()),
        tasks_completed(plan, log, &summary),
        everyone_cleaned(plan, log),
        Check::new("no key is left without a living owner", verify.0, verify.1),
        Check::new("the sweeper stops cleanly", stopped.success(), stopped.to_string()),
        no_process_left(&[coordinator, sweeper]),
    ])
}

/// Prints the checks.
///
/// # Errors
/// When any did not hold.
pub(crate) fn report(checks: &[Check]) -> Result<()> {
    for check in checks {
        println!("  {}  {:48} {}", if check.held { "ok    " } else { "FAILED" }, check.promise, check.detail);
    }
    if checks.iter().all(|check| check.held) {
        println!("\nNo lost task, no orphan, no residue.");
        return Ok(());
    }
    bail!("not all of it held")
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

fn verify(server: &Server) -> Result<(bool, String)> {
    let mut verify = role("lifecyclectl", server)?.arg("verify").spawn()?;
    let ended = verify.wait(Duration::from_secs(20))?;
    let said = format!("{}{}", verify.stdout(), verify.stderr());
    Ok((ended.success(), said.lines().last().unwrap_or_default().to_string()))
}

/// Everything a role starts, however far it went, carries the role's mark in its environment.
fn no_process_left(roles: &[&mut Role]) -> Check {
    let left = || -> Vec<u32> {
        roles
            .iter()
            .flat_map(|role| processes_with_env(lifecycle_tests::process::MARKER_VARIABLE, role.marker()))
            .collect()
    };
    let gone = eventually(Duration::from_secs(5), "the last processes to vanish", || {
        Ok(left().is_empty().then_some(()))
    });
    let detail = if gone.is_ok() { "0 left".into() } else { format!("left: {:?}", left()) };
    Check::new("no process of it is left", gone.is_ok(), detail)
}
