//! `cargo xtask monitor-check`: the dashboard, the alerts and their runbooks fit the product and each other.
//!
//! ```text
//!   shipped_files   valid, complete, and about metrics that exist           always
//!   promtool        configuration, rules, tests of the rules                where Prometheus is on PATH
//!   live_checks     two sweepers, a fleet with faults, a real Prometheus:   where Prometheus is on PATH
//!                   every panel has data, every alert is evaluated
//! ```

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod alert_rules;
mod dashboard;
mod live_checks;
mod prometheus;
mod promql;
mod promtool;
mod scenario;
mod shipped_files;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lifecycle_tests::command::build_binaries;
use lifecycle_tests::program::on_path;
use lifecycle_tests::trial::{Outcome, exit_code};

use crate::shipped_files::ShippedFiles;

const WITHOUT_PROMETHEUS: &str = "prometheus and promtool are not on PATH (Debian: `apt-get install prometheus`): rules, expressions and data were not checked";

fn main() -> ExitCode {
    exit_code(run())
}

/// Checks all that can be checked here. It fails when anything is wrong, after it has printed all of it.
fn run() -> Result<Outcome> {
    let shipped = shipped_files::read()?;
    let panels =
        shipped.dashboards.iter().flat_map(|dashboard| &dashboard.panels).filter(|panel| !panel.is_row());
    let files =
        format!("{} panels and {} alerts name metrics that exist", panels.count(), shipped.alerts.len());
    report(
        &[files, "every alert has a runbook, every metric a line in docs/operations.md".into()],
        &shipped.problems,
    )?;
    let (Some(prometheus), Some(_)) = (on_path("prometheus"), on_path("promtool")) else {
        return Ok(Outcome::Skipped(WITHOUT_PROMETHEUS.to_owned()));
    };
    report(
        &["promtool accepts configuration and rules, and the rules pass their tests".into()],
        &promtool::files()?,
    )?;
    run_live(&prometheus, &shipped)?;
    Ok(Outcome::Passed)
}

fn run_live(prometheus: &Path, shipped: &ShippedFiles) -> Result<()> {
    eprintln!("Building the roles …");
    build_binaries()?;
    eprintln!("Watching a fleet in trouble for about half a minute …");
    let findings = live_checks::run(prometheus, shipped)?;
    report(&findings.facts, &findings.problems)
}

/// Prints what holds, or what does not.
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
