//! What is about to happen, said before it does.

use lifecycle_cli::output::{age, count};
use lifecycle_core::liveness::millis;
use lifecycle_core::plan::{Plan, SprintPlan};
use lifecycle_core::sweep::Observation;

use crate::desk::Desk;
use crate::progress::line;

/// Shows the epic, where its output goes, and what is missing.
pub(crate) async fn show(desk: &Desk, plan: &Plan) {
    overview(plan).iter().for_each(|text| line(text));
    line(&format!("store: {}", desk.store().url()));
    line(&format!("output: {}/<sprint>/<task>.log", desk.launcher.folder.display()));
    match desk.store().observe(1).await {
        Ok(seen) => {
            let interval = millis(desk.settings().sweep.interval);
            if let Some(warning) = no_sweeper(&seen, interval) {
                line(&warning);
            }
        }
        Err(error) => tracing::warn!(%error, "could not look for a sweeper"),
    }
}

/// The epic in a few lines.
pub(crate) fn overview(plan: &Plan) -> Vec<String> {
    let agents = plan.sprints.iter().map(|sprint| sprint.agents.len() as u64).sum();
    let tasks = plan.sprints.iter().map(|sprint| sprint.tasks.len() as u64).sum();
    let sprints = count(plan.sprints.len() as u64, "sprint");
    let (agents, tasks) = (count(agents, "agent"), count(tasks, "task"));
    let first = format!("epic {}: {sprints}, {agents}, {tasks}", plan.epic);
    std::iter::once(first).chain(plan.order().into_iter().map(sprint_line)).collect()
}

fn sprint_line(sprint: &SprintPlan) -> String {
    let (agents, tasks) =
        (count(sprint.agents.len() as u64, "agent"), count(sprint.tasks.len() as u64, "task"));
    let after: Vec<&str> = sprint.after.iter().map(AsRef::as_ref).collect();
    let after = if after.is_empty() { String::new() } else { format!(", after {}", after.join(" and ")) };
    format!("  sprint {}: {agents}, {tasks}{after}", sprint.name)
}

/// The warning, if nobody has swept for twice the interval.
fn no_sweeper(seen: &Observation, interval_ms: u64) -> Option<String> {
    let last = match &seen.watermark {
        Some(watermark) if seen.now.saturating_sub(watermark.at) <= interval_ms.saturating_mul(2) => {
            return None;
        }
        Some(watermark) => {
            format!("the last pass was {} ago", age(seen.now.saturating_sub(watermark.at)))
        }
        None => "there was never a pass".into(),
    };
    Some(format!(
        "no sweeper is at work ({last}): start one with `sweeper run`; crashed agents are cleaned up only by their restart \
         until then, and nobody cleans up after this coordinator"
    ))
}

#[cfg(test)]
mod tests {
    use lifecycle_core::sweep::Watermark;

    use super::*;

    fn seen(ago: Option<u64>) -> Observation {
        let watermark = ago.map(|ago| Watermark { at: 1_000_000 - ago, ..Watermark::default() });
        Observation { now: 1_000_000, watermark, ..Observation::default() }
    }

    #[test]
    fn a_store_that_nobody_sweeps_is_told_and_one_with_a_recent_pass_is_not() {
        assert!(no_sweeper(&seen(None), 60_000).is_some_and(|text| text.contains("there was never a pass")));
        assert!(no_sweeper(&seen(Some(120_001)), 60_000).is_some_and(|text| text.contains("2m ago")));
        assert_eq!(no_sweeper(&seen(Some(120_000)), 60_000), None);
    }
}
