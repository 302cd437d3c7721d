//! Prints the result of a pass for people.

use lifecycle_cli::output::{Output, Table, age, count, print_stdout};
use lifecycle_core::wire::orphan::OrphanCleanupResult;

/// Prints the orphans and a line that sums them up, or everything as JSON.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn print(output: Output, result: &OrphanCleanupResult) -> anyhow::Result<()> {
    if output == Output::Json || !result.orphans.is_empty() {
        output.show(result, table)?;
    }
    if output == Output::Table {
        print_stdout(&summary(result))?;
    }
    Ok(())
}

fn table(result: &OrphanCleanupResult) -> Table {
    let mut table = Table::new(["AGENT", "REASON", "SILENT FOR", "OUTCOME"]);
    for orphan in &result.orphans {
        table.row([
            orphan.agent_id.clone(),
            orphan.reason.to_string(),
            orphan.idle_time.map_or_else(|| "unknown".into(), age),
            orphan.outcome.to_string(),
        ]);
    }
    table
}

fn summary(result: &OrphanCleanupResult) -> String {
    let (orphans, healthy) =
        (count(result.orphans_detected, "orphan"), count(result.healthy_agents, "healthy agent"));
    let mut line = format!("{orphans}, {healthy}");
    if result.dry_run {
        line.push_str("; a dry run, nothing was touched");
    } else {
        line.push_str(&format!(
            "; {} cleaned, {} removed, {} handed back",
            result.orphans_cleaned,
            count(result.keys_deleted, "key"),
            count(result.tasks_requeued, "task")
        ));
    }
    if let Some(reason) = &result.hold {
        line.push_str(&format!("\nreaping is held: {reason}"));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_a_dry_run_from_a_cleanup_and_says_why_reaping_is_held() {
        let mut result = OrphanCleanupResult {
            orphans_detected: 2,
            healthy_agents: 9,
            dry_run: true,
            ..Default::default()
        };
        assert_eq!(summary(&result), "2 orphans, 9 healthy agents; a dry run, nothing was touched\n");
        result.dry_run = false;
        (result.orphans_detected, result.healthy_agents) = (1, 1);
        (result.orphans_cleaned, result.keys_deleted) = (1, 1);
        result.hold = Some("too many".into());
        assert_eq!(
            summary(&result),
            "1 orphan, 1 healthy agent; 1 cleaned, 1 key removed, 0 tasks handed back\n\
             reaping is held: too many\n"
        );
    }
}
