//! The files in `monitor/` and `docs/operations.md`, and what can be checked without running anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lifecycle_core::wire::metric::{self, Kind};
use lifecycle_tests::command::workspace;

use crate::alert_rules::{self, AlertRule};
use crate::dashboard::{self, Dashboard};
use crate::promql;

/// Prometheus' own metric: whether a target answered.
pub(crate) const UP: &str = "up";

/// The content of the files, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct ShippedFiles {
    pub(crate) dashboards: Vec<Dashboard>,
    pub(crate) alerts: Vec<AlertRule>,
    pub(crate) problems: Vec<String>,
}

/// The folder with Prometheus' files.
pub(crate) fn prometheus_folder() -> PathBuf {
    workspace().join("monitor/prometheus")
}

/// Reads and checks all files. What is wrong with their content is in `problems`.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn read() -> Result<ShippedFiles> {
    let mut shipped = ShippedFiles { dashboards: Vec::new(), alerts: Vec::new(), problems: Vec::new() };
    for file in dashboard_files()? {
        let name = format!("monitor/dashboards/{}", file.file_name().unwrap_or_default().to_string_lossy());
        match dashboard::read(&name, &text(&file)?) {
            Ok(dashboard) => {
                shipped.problems.extend(unknown_in(&name, &dashboard));
                shipped.dashboards.push(dashboard);
            }
            Err(problems) => shipped.problems.extend(problems),
        }
    }
    let runbooks = text(&workspace().join("docs/operations.md"))?;
    let folder = prometheus_folder();
    shipped.alerts = alert_rules::read(&text(&folder.join("alerts.yml"))?);
    let tests = text(&folder.join("alerts_test.yml"))?;
    shipped.problems.extend(alert_rules::problems(&shipped.alerts, &runbooks, &tests));
    for alert in &shipped.alerts {
        shipped.problems.extend(unknown(&format!("alert {}", alert.name), &alert.expression));
    }
    shipped.problems.extend(undescribed(&runbooks));
    Ok(shipped)
}

fn dashboard_files() -> Result<Vec<PathBuf>> {
    let folder = workspace().join("monitor/dashboards");
    let entries = fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{} has no dashboard", folder.display());
    Ok(files)
}

fn text(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn unknown_in(file: &str, dashboard: &Dashboard) -> Vec<String> {
    let queries =
        dashboard.panels.iter().flat_map(|panel| panel.queries.iter().map(move |query| (panel, query)));
    queries
        .flat_map(|(panel, query)| unknown(&format!("{file}: panel `{}`", panel.title), &query.expression))
        .collect()
}

/// What the expression names that the product does not have.
fn unknown(whose: &str, expression: &str) -> Vec<String> {
    match promql::metrics(expression) {
        Ok(names) if names.is_empty() => vec![format!("{whose} names no metric: {expression}")],
        Ok(names) => names
            .iter()
            .filter(|name| !is_known(name))
            .map(|name| format!("{whose} names `{name}`, which the product does not have"))
            .collect(),
        Err(error) => vec![format!("{whose} cannot be read: {error}: {expression}")],
    }
}

/// A histogram has no sample under its own name, but under three names derived from it.
fn is_known(name: &str) -> bool {
    name == UP
        || metric::ALL.iter().any(|(known, kind, _)| match kind {
            Kind::Histogram => {
                name.strip_prefix(known).is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part))
            }
            _ => name == *known,
        })
}

/// The table of metrics has a line for each, and for no other.
fn undescribed(runbooks: &str) -> Vec<String> {
    let rows: BTreeSet<&str> =
        runbooks.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let names: BTreeSet<&str> = metric::ALL.iter().map(|(name, ..)| *name).collect();
    let missing =
        names.difference(&rows).map(|name| format!("docs/operations.md has no line about `{name}`"));
    let extra = rows.difference(&names);
    let extra =
        extra.map(|name| format!("docs/operations.md describes `{name}`, which the product does not have"));
    missing.chain(extra).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_in_order() {
        let shipped = read().unwrap();
        assert_eq!(shipped.problems, Vec::<String>::new());
        assert!(shipped.dashboards[0].panels.len() > 20);
    }

    #[test]
    fn a_metric_that_does_not_exist_is_named_with_its_panel() {
        let text = include_str!("../../../../../monitor/dashboards/memory-safety.json");
        let text = text.replacen("max(lifecycle_bus_lag_seconds)", "max(lifecycle_bus_lag_millis)", 1);
        let dashboard = dashboard::read("d.json", &text).unwrap();
        let expected =
            "d.json: panel `Bus Lag` names `lifecycle_bus_lag_millis`, which the product does not have";
        assert_eq!(unknown_in("d.json", &dashboard), [expected]);
    }

    #[test]
    fn a_histogram_is_known_by_its_parts_and_not_by_itself() {
        assert!(is_known("lifecycle_sweep_duration_seconds_bucket"));
        assert!(!is_known("lifecycle_sweep_duration_seconds"));
        assert!(!is_known("lifecycle_sweep_duration_seconds_sums"));
        assert!(is_known(metric::AGENT_COUNT) && is_known(UP));
    }

    #[test]
    fn an_expression_that_cannot_be_read_or_names_nothing_is_a_problem() {
        assert_eq!(unknown("x", "1 + 1"), ["x names no metric: 1 + 1"]);
        assert_eq!(unknown("x", "rate(up[5m)"), ["x cannot be read: there is no ] for the [: rate(up[5m)"]);
    }
}
