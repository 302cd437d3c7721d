//! Checks while the product runs and a real Prometheus scrapes it: every panel has data, and every alert is evaluated.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::binaries::target_dir;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::http;
use serde_json::Value;

use crate::dashboard::Query;
use crate::prometheus::Prometheus;
use crate::scenario::Scenario;
use crate::shipped_files::{ShippedFiles, UP};
use crate::{promql, promtool};

/// Every panel has data by then.
const TIME_LIMIT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(15);
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of the checks.
#[derive(Debug)]
pub(crate) struct LiveFindings {
    /// What is not as it must be.
    pub(crate) problems: Vec<String>,
    /// What was checked, for a summary.
    pub(crate) facts: Vec<String>,
}

/// Runs the scenario under `program` (Prometheus) until every panel has data, and then makes the other checks.
///
/// # Errors
/// When something could not be started or does not answer.
pub(crate) fn run(program: &Path, shipped: &ShippedFiles) -> Result<LiveFindings> {
    let mut scenario = Scenario::start()?;
    let folder = target_dir()?.join("monitor-check");
    let prometheus = Prometheus::start(program, folder, &scenario.addresses)?;
    eventually(SOON, "Prometheus to see all sweepers", || {
        Ok(targets(&prometheus, scenario.addresses.len())?.is_none().then_some(()))
    })?;
    let begun = Instant::now();
    let mut problems = run_until_all_have_data(&mut scenario, &prometheus, shipped)?;
    let took = begun.elapsed();
    let pages = pages(&scenario)?;
    problems.extend(unscraped(shipped, &pages));
    problems.extend(promtool::lint(&pages)?);
    problems.extend(targets(&prometheus, scenario.addresses.len())?);
    problems.extend(rules(&prometheus, shipped)?);
    problems.extend(no_sweeper_alert(&mut scenario, &prometheus)?);
    let queries = queries(shipped).count();
    let facts = vec![
        format!("{queries} queries of the panels have data after {:.0} s", took.as_secs_f64()),
        format!(
            "{} metrics on a real scrape of {} sweepers",
            names_of(&pages).len(),
            scenario.addresses.len()
        ),
        format!(
            "{} alerts are evaluated without an error, and NoSweeper is raised when both sweepers stop",
            shipped.alerts.len()
        ),
    ];
    Ok(LiveFindings { problems, facts })
}

fn queries(shipped: &ShippedFiles) -> impl Iterator<Item = (String, &Query)> {
    shipped.dashboards.iter().flat_map(|dashboard| {
        dashboard.panels.iter().flat_map(|panel| {
            panel.queries.iter().map(move |query| (format!("panel `{}`", panel.title), query))
        })
    })
}

/// Runs the scenario until all its faults were injected and each query has had an answer with data. A query without data at
/// the end is a problem. An expression that Prometheus refuses is a problem at once.
fn run_until_all_have_data(
    scenario: &mut Scenario,
    prometheus: &Prometheus,
    shipped: &ShippedFiles,
) -> Result<Vec<String>> {
    let begun = Instant::now();
    let mut open: Vec<(String, &Query)> = queries(shipped).collect();
    let mut problems = Vec::new();
    loop {
        scenario.go_on()?;
        open.retain(|(panel, query)| match prometheus.count_series(&query.expression) {
            Ok(series) => series == 0,
            Err(error) => {
                problems.push(format!("{panel}: Prometheus refuses `{}`: {error:#}", query.expression));
                false
            }
        });
        if (open.is_empty() && scenario.is_over()) || begun.elapsed() > TIME_LIMIT {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    problems.extend(open.iter().map(|(panel, query)| format!("{panel}: no data for `{}`", query.expression)));
    Ok(problems)
}

/// The metrics pages of the sweepers.
fn pages(scenario: &Scenario) -> Result<Vec<String>> {
    let page = |address: &String| {
        let (status, text) = http::get(address, "/metrics", HTTP_TIMEOUT)?;
        if status != 200 {
            bail!("the sweeper at {address} answers {status} for its metrics");
        }
        Ok(text)
    };
    scenario.addresses.iter().map(page).collect()
}

/// The names of all samples on the pages.
fn names_of(pages: &[String]) -> BTreeSet<&str> {
    let samples = pages.iter().flat_map(|page| page.lines()).filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).filter(|name| !name.is_empty()).collect()
}

/// Metrics that panels and alerts name and no sweeper shows.
fn unscraped(shipped: &ShippedFiles, pages: &[String]) -> Vec<String> {
    let names = names_of(pages);
    let panels = queries(shipped).map(|(panel, query)| (panel, query.expression.as_str()));
    let alerts =
        shipped.alerts.iter().map(|alert| (format!("alert {}", alert.name), alert.expression.as_str()));
    panels
        .chain(alerts)
        .flat_map(|(whose, expression)| {
            let named = promql::metrics(expression).unwrap_or_default();
            let missing = named.into_iter().filter(|name| name != UP && !names.contains(name.as_str()));
            missing
                .map(move |name| format!("{whose} names `{name}`, which no sweeper shows"))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn targets(prometheus: &Prometheus, sweepers: usize) -> Result<Option<String>> {
    let up = prometheus.count_series(&format!("{UP}{{job=\"sweeper\"}} == 1"))?;
    Ok((up != sweepers).then(|| format!("{up} of {sweepers} sweepers are up for Prometheus")))
}

/// Prometheus must evaluate exactly the alerts that were read from the file, without errors.
fn rules(prometheus: &Prometheus, shipped: &ShippedFiles) -> Result<Vec<String>> {
    let rules = prometheus.rules()?;
    let mut problems: Vec<String> = rules
        .iter()
        .filter(|rule| rule["health"] != "ok")
        .map(|rule| {
            format!("alert {} is not evaluated: {} {}", rule["name"], rule["health"], rule["lastError"])
        })
        .collect();
    // Prometheus sorts the groups.
    let loaded: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["name"].as_str()).collect();
    let read: BTreeSet<&str> = shipped.alerts.iter().map(|alert| alert.name.as_str()).collect();
    if loaded != read {
        problems.push(format!("alerts.yml was read as {read:?}, but Prometheus loaded {loaded:?}"));
    }
    Ok(problems)
}

/// Stops both sweepers and waits for the alert `NoSweeper`. An alert that is evaluated might still never be raised; this one
/// is seen to be.
fn no_sweeper_alert(scenario: &mut Scenario, prometheus: &Prometheus) -> Result<Option<String>> {
    scenario.stop_sweepers()?;
    let raised = eventually(SOON, "NoSweeper to be raised", || {
        let rules = prometheus.rules()?;
        let rule: &Value =
            rules.iter().find(|rule| rule["name"] == "NoSweeper").context("there is no alert NoSweeper")?;
        Ok((rule["state"] == "pending" || rule["state"] == "firing").then_some(()))
    });
    Ok(raised.err().map(|error| format!("both sweepers stopped, and {error:#}")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_read_from_samples_with_and_without_labels() {
        let page = "# HELP a b c\n# TYPE a gauge\na{x=\"y z\"} 1\nb 2\n\n".to_owned();
        assert_eq!(super::names_of(&[page]).into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
