//! Tells what is about to happen.

use std::collections::BTreeMap;
use std::time::Duration;

use lifecycle_cli::output::{age, count};
use lifecycle_core::agent::liveness::{SweeperAbsence, sweeper_absence};
use lifecycle_core::sprint::plan::{Plan, SprintPlan};
use lifecycle_core::sweep::observation::IndexReading;

use lifecycle_core::wire::ids::SprintId;
use lifecycle_core::wire::task::TaskState;

use crate::context::Context;
use crate::taken::EarlierSprint;
use crate::ui::progress::line;

/// Shows the epic, where its output goes, and what is missing.
pub(crate) async fn show(context: &Context, plan: &Plan) {
    overview(plan).iter().for_each(|text| line(text));
    line(&format!("store: {}", context.store().url()));
    line(&format!("output: {}/<sprint>/<task>.log", context.launcher.folder.display()));
    match context.store().observe(1).await {
        Ok(seen) => {
            if let Some(warning) = no_sweeper(&seen, context.settings().sweep.interval) {
                line(&warning);
            }
        }
        Err(error) => tracing::warn!(%error, "could not look for a sweeper"),
    }
}

/// Says with what an epic goes on that an earlier coordinator has left.
pub(crate) fn resumed(context: &Context, plan: &Plan, earlier: &BTreeMap<SprintId, EarlierSprint>) {
    if earlier.is_empty() {
        return;
    }
    let records = || earlier.values().flat_map(|sprint| sprint.records.values());
    let in_state = |wanted: TaskState| records().filter(|record| record.state == wanted).count() as u64;
    let added: usize = earlier.values().map(|sprint| sprint.added.len()).sum();
    let all = added + plan.sprints.iter().map(|sprint| sprint.tasks.len()).sum::<usize>();
    line(&format!(
        "going on with epic {}: {} of {} completed before, {} in hand",
        context.epic.id,
        in_state(TaskState::Completed),
        count(all as u64, "task"),
        in_state(TaskState::Assigned)
    ));
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
    let pools: Vec<&str> = sprint.pools.iter().map(|pool| pool.name.as_str()).collect();
    let pools =
        if pools.is_empty() { String::new() } else { format!(", and who joins {}", pools.join(" or ")) };
    let open = if sprint.is_open { ", open for more" } else { "" };
    format!("  sprint {}: {agents}{pools}, {tasks}{open}{after}", sprint.name)
}

/// The warning that no sweeper is at work, if that is so.
fn no_sweeper(seen: &IndexReading, interval: Duration) -> Option<String> {
    let last = match sweeper_absence(seen.watermark.as_ref(), seen.now, interval)? {
        SweeperAbsence::Never => "there was never a pass".into(),
        SweeperAbsence::Left { ago, .. } => format!("the last one left {} ago", age(ago)),
        SweeperAbsence::Silent { ago, .. } => format!("the last pass was {} ago", age(ago)),
    };
    Some(format!(
        "no sweeper is at work ({last}): start one with `sweeper run`; crashed agents are cleaned up only by their restart \
         until then, and nobody cleans up after this coordinator"
    ))
}
