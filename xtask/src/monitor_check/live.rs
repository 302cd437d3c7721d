//! The product runs, a real Prometheus scrapes it, and every panel and alert is asked for what it shows.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::binaries::target_dir;
use lifecycle_tests::eventually::eventually;
use serde_json::Value;

use crate::http;
use crate::monitor_check::dashboard::{Dashboard, Query};
use crate::monitor_check::prometheus::{Prometheus, Series};
use crate::monitor_check::scenario::Scenario;
use crate::monitor_check::shipped::{Shipped, UP};
use crate::monitor_check::{promql, promtool};

/// Everything has been seen by then.
const TIME_LIMIT: Duration = Duration::from_secs(90);
/// What the pictures show at least.
const SHOWN: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(15);

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What is not as it must be.
    pub(crate) problems: Vec<String>,
    /// What was checked, for a summary.
    pub(crate) facts: Vec<String>,
    /// The data of each query of each panel of each dashboard.
    pub(crate) data: Vec<Vec<Vec<Vec<Series>>>>,
    /// From when to when, in seconds since 1970.
    pub(crate) time: (f64, f64),
}

/// Runs the scenario under `program` (Prometheus) until every panel has data, and looks.
///
/// # Errors
/// When something could not be started or does not answer.
pub(crate) fn look(program: &Path, shipped: &Shipped) -> Result<Seen> {
    let mut scenario = Scenario::start()?;
    let folder = target_dir()?.join("monitor-check");
    let prometheus = Prometheus::start(program, folder, &scenario.addresses)?;
    eventually(SOON, "Prometheus to see all sweepers", || {
        Ok(targets(&prometheus, scenario.addresses.len())?.is_none().then_some(()))
    })?;
    let from = seconds_now()?;
    let mut problems = run_until_shown(&mut scenario, &prometheus, shipped)?;
    let time = (from, seconds_now()?);
    let pages = pages(&scenario)?;
    problems.extend(unscraped(shipped, &pages));
    problems.extend(promtool::lint(&pages)?);
    problems.extend(targets(&prometheus, scenario.addresses.len())?);
    problems.extend(rules(&prometheus, shipped)?);
    let data = shipped.dashboards.iter().map(|dashboard| data(&prometheus, dashboard, time));
    let data = data.collect::<Result<_>>()?;
    problems.extend(alarm(&mut scenario, &prometheus)?);
    let queries = queries(shipped).count();
    let facts = vec![
        format!("{queries} queries of the panels have data after {:.0} s", time.1 - time.0),
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
    Ok(Seen { problems, facts, data, time })
}

fn seconds_now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn queries(shipped: &Shipped) -> impl Iterator<Item = (String, &Query)> {
    shipped.dashboards.iter().flat_map(|dashboard| {
        dashboard.panels.iter().flat_map(|panel| {
            panel.queries.iter().map(move |query| (format!("panel `{}`", panel.title), query))
        })
    })
}

/// Lets the scenario run until each query has had an answer with data, all trouble is made and there is enough to
/// show. What is without data at the end is a problem; an expression that Prometheus refuses is one at once.
fn run_until_shown(
    scenario: &mut Scenario,
    prometheus: &Prometheus,
    shipped: &Shipped,
) -> Result<Vec<String>> {
    let begun = Instant::now();
    let mut open: Vec<(String, &Query)> = queries(shipped).collect();
    let mut problems = Vec::new();
    loop {
        scenario.go_on()?;
        open.retain(|(panel, query)| match prometheus.now(&query.expression) {
            Ok(series) => series.is_empty(),
            Err(error) => {
                problems.push(format!("{panel}: Prometheus refuses `{}`: {error:#}", query.expression));
                false
            }
        });
        let shown = scenario.is_over() && begun.elapsed() > SHOWN;
        if (open.is_empty() && shown) || begun.elapsed() > TIME_LIMIT {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    problems.extend(open.iter().map(|(panel, query)| format!("{panel}: no data for `{}`", query.expression)));
    Ok(problems)
}

/// What the sweepers answer Prometheus with.
fn pages(scenario: &Scenario) -> Result<Vec<String>> {
    let page = |address: &String| {
        let (status, text) = http::get(address, "/metrics")?;
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

/// What panels and alerts name that no sweeper shows.
fn unscraped(shipped: &Shipped, pages: &[String]) -> Vec<String> {
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
    let up = prometheus.now(&format!("{UP}{{job=\"sweeper\"}} == 1"))?.len();
    Ok((up != sweepers).then(|| format!("{up} of {sweepers} sweepers are up for Prometheus")))
}

/// Whether Prometheus evaluates the very alerts that were read from the file, without errors.
fn rules(prometheus: &Prometheus, shipped: &Shipped) -> Result<Vec<String>> {
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

fn data(prometheus: &Prometheus, dashboard: &Dashboard, time: (f64, f64)) -> Result<Vec<Vec<Vec<Series>>>> {
    let ask = |query: &Query| {
        let answer = if query.instant {
            prometheus.now(&query.expression)
        } else {
            prometheus.range(&query.expression, time.0, time.1)
        };
        // One that is refused has been told of already.
        Ok(answer.unwrap_or_default())
    };
    dashboard.panels.iter().map(|panel| panel.queries.iter().map(ask).collect()).collect()
}

/// An alert that is never raised could be any expression: this one is seen to be.
fn alarm(scenario: &mut Scenario, prometheus: &Prometheus) -> Result<Option<String>> {
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
