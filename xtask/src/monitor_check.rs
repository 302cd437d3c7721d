//! `cargo xtask monitor-check`: the dashboard, the alerts and their runbooks fit the product, and each other.
//!
//! ```text
//!   files      valid, complete, and about metrics that exist        always
//!   promtool   configuration, rules, tests of the rules             where Prometheus is on PATH
//!   live       two sweepers, a fleet in trouble, a real Prometheus:
//!              every panel has data, every alert is evaluated       where Prometheus is on PATH
//!   pictures   target/dashboard.html, and a screenshot of it        the latter where there is a browser
//! ```

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod alerts;
mod dashboard;
mod live;
mod picture;
mod prometheus;
mod promql;
mod promtool;
mod render;
mod scenario;
mod shipped;

use anyhow::{Result, bail};
use lifecycle_tests::program::on_path;

use crate::command::{cargo, run as run_command};
use crate::monitor_check::shipped::Shipped;

const WITHOUT_PROMETHEUS: &str = "prometheus and promtool are not on PATH (Debian: `apt-get install prometheus`): rules, expressions and data were not checked";

/// Checks all that can be checked here, and returns what could not be.
///
/// # Errors
/// When anything is wrong, after all of it was told.
pub(crate) fn run() -> Result<Option<&'static str>> {
    let shipped = shipped::read()?;
    let panels =
        shipped.dashboards.iter().flat_map(|dashboard| &dashboard.panels).filter(|panel| !panel.is_row());
    let files =
        format!("{} panels and {} alerts name metrics that exist", panels.count(), shipped.alerts.len());
    report(
        &[files, "every alert has a runbook, every metric a line in docs/operations.md".into()],
        &shipped.problems,
    )?;
    let (Some(prometheus), Some(_)) = (on_path("prometheus"), on_path("promtool")) else {
        println!("  not checked  {WITHOUT_PROMETHEUS}");
        return Ok(Some(WITHOUT_PROMETHEUS));
    };
    report(
        &["promtool accepts configuration and rules, and the rules pass their tests".into()],
        &promtool::files()?,
    )?;
    live(&prometheus, &shipped)?;
    Ok(None)
}

fn live(prometheus: &std::path::Path, shipped: &Shipped) -> Result<()> {
    eprintln!("Building the roles …");
    run_command(cargo(["build", "--quiet", "--workspace", "--bins"]))?;
    eprintln!("Watching a fleet in trouble for about a minute …");
    let seen = live::look(prometheus, shipped)?;
    for line in picture::draw(shipped, &seen)? {
        println!("  {line}");
    }
    report(&seen.facts, &seen.problems)
}

/// Says what holds, or what does not.
fn report(facts: &[String], problems: &[String]) -> Result<()> {
    for problem in problems {
        eprintln!("  WRONG  {problem}");
    }
    match problems.len() {
        0 => {
            for fact in facts {
                println!("  ok     {fact}");
            }
            Ok(())
        }
        1 => bail!("one thing is wrong with what is in monitor/ or docs/operations.md; see above"),
        many => bail!("{many} things are wrong with what is in monitor/ or docs/operations.md; see above"),
    }
}
