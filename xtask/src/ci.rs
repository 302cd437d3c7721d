//! `cargo xtask ci`: what must hold before a change is merged, the quick checks first.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::command::{cargo, output, program, run as run_command};
use lifecycle_tests::trial::Outcome;

use crate::{deploy, invariants, signposts, test, tools, trials};

#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

const DEPLOYMENT_FILES: Step = Step { name: "deployment files", run: deploy::check };

/// What can be checked without running the product.
const LINTS: &[Step] = &[
    Step { name: "format", run: || passes(run_command(cargo(["fmt", "--all", "--check"]))) },
    Step { name: "lifecycle-core is pure", run: || passes(invariants::core_is_pure()) },
    Step { name: "one crate talks to Redis", run: || passes(invariants::one_crate_talks_to_redis()) },
    Step {
        name: "libraries have no command line",
        run: || passes(invariants::libraries_have_no_command_line()),
    },
    Step { name: "signposts lead somewhere", run: || passes(signposts::lead_somewhere()) },
    Step { name: "spelling", run: spelling },
    Step { name: "dependencies", run: dependencies },
    Step { name: "known vulnerabilities", run: vulnerabilities },
    DEPLOYMENT_FILES,
    Step { name: "lints", run: lints },
    Step { name: "documentation", run: || passes(doc()) },
];

/// What can be checked only by running it.
const TRIALS: &[Step] = &[
    Step { name: "leak detector", run: || passes(trials::check_leak_detector()) },
    Step { name: "demo", run: || trials::run("demo", &[]) },
    Step { name: "resuming", run: trials::resume_briefly },
    Step { name: "containment", run: trials::containment_briefly },
    Step { name: "monitoring", run: || trials::run("monitor-trial", &[]) },
    Step { name: "containers", run: || trials::run("compose-trial", &[]) },
    Step { name: "without TLS", run: || passes(without_tls()) },
    // Last, so that its summary ends the output.
    Step { name: "tests", run: || passes(test::run(&[])) },
];

/// Everything.
pub(crate) fn run() -> Result<()> {
    run_steps(&[LINTS, TRIALS].concat())
}

/// `cargo xtask lint`: the checks that run nothing of the product.
pub(crate) fn lint() -> Result<()> {
    run_steps(LINTS)
}

/// `cargo xtask deploy-check`.
pub(crate) fn deploy_check() -> Result<()> {
    run_steps(&[DEPLOYMENT_FILES])
}

/// `cargo xtask fmt`.
pub(crate) fn format_all() -> Result<()> {
    run_command(cargo(["fmt", "--all"]))
}

/// Runs the steps up to the first that fails, and says how each went.
fn run_steps(steps: &[Step]) -> Result<()> {
    let started = Instant::now();
    let mut summary = Vec::new();
    let mut failure = None;
    for step in steps {
        if failure.is_some() {
            summary.push(format!("  not run  {}", step.name));
            continue;
        }
        eprintln!("\n=== {} ===", step.name);
        let step_started = Instant::now();
        let (word, reason) = match (step.run)() {
            Ok(Outcome::Passed) => ("ok", String::new()),
            Ok(Outcome::Skipped(reason)) => ("skipped", format!(": {reason}")),
            Err(error) => {
                let reason = format!(": {error:#}");
                failure = Some(step.name);
                ("FAILED", reason)
            }
        };
        summary.push(format!("  {word:8} {:26} {}{reason}", step.name, seconds(step_started.elapsed())));
    }
    eprintln!("\n=== summary, {} ===\n{}", seconds(started.elapsed()).trim(), summary.join("\n"));
    match failure {
        Some(name) => bail!("the step `{name}` failed; the steps after it were not run"),
        None => Ok(()),
    }
}

fn passes(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

fn seconds(time: Duration) -> String {
    format!("{:6.1} s", time.as_secs_f64())
}

fn spelling() -> Result<Outcome> {
    match tools::typos() {
        Ok(typos) => passes(run_command(program(typos, ["--format", "brief"]))),
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
    }
}

fn dependencies() -> Result<Outcome> {
    let args = ["--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    passes(run_command(program(tools::deny()?, args)))
}

/// The database is a git repository elsewhere. Where it cannot be reached, the step is skipped.
fn vulnerabilities() -> Result<Outcome> {
    let deny = tools::deny()?;
    if let Err(error) = output(program(&deny, ["fetch", "db"])) {
        let cause = format!("{error:#}");
        let cause = cause.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Ok(Outcome::Skipped(format!(
            "the advisory database could not be fetched ({})",
            cause.trim()
        )));
    }
    passes(run_command(program(&deny, ["--log-level", "error", "check", "--disable-fetch", "advisories"])))
}

fn lints() -> Result<Outcome> {
    passes(run_command(cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))
}

/// The suite is built with TLS. These tests are about what a build without TLS refuses.
fn without_tls() -> Result<()> {
    run_command(cargo(["test", "-p", "lifecycle-redis", "--no-default-features", "tls"]))
}

/// `cargo xtask doc`.
pub(crate) fn doc() -> Result<()> {
    let mut doc = cargo(["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run_command(doc).context("the documentation has mistakes")
}
