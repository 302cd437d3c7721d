//! Tasks that are programs of their own: the trials in `tests/trials`, and `leak-lab`.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::command::{build_binaries, cargo, program, run as run_command};
use lifecycle_tests::role_binary;
use lifecycle_tests::trial::{Outcome, SKIPPED};

/// Runs a trial and passes its output on.
///
/// The trial is built with the whole workspace, whose binaries it starts anyway. `cargo run -p lifecycle-trials` would choose
/// other features of some dependencies and compile them a second time.
pub(crate) fn run(trial: &str, args: &[OsString]) -> Result<Outcome> {
    build_binaries()?;
    let mut child = program(role_binary(trial)?, args).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("a process without the pipe it was given")?;
    let mut last_line = String::new();
    for line in BufReader::new(stderr).lines() {
        last_line = line?;
        eprintln!("{last_line}");
    }
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(Outcome::Passed),
        Some(code) if code == i32::from(SKIPPED) => Ok(Outcome::Skipped(last_line)),
        _ => bail!("`{trial}` failed ({status}): {last_line}"),
    }
}

/// A few rounds of the trial that takes minutes.
pub(crate) fn resume_briefly() -> Result<Outcome> {
    run("resume-trial", &["--rounds", "10", "--tasks", "60"].map(OsString::from))
}

/// The part of the containment matrix that takes less than a minute.
pub(crate) fn containment_briefly() -> Result<Outcome> {
    run("containment-trial", &["--short"].map(OsString::from))
}

/// Builds the container image, for which nothing else has to be built here.
pub(crate) fn image() -> Result<()> {
    let trial = ["run", "--quiet", "--package", "lifecycle-trials", "--bin", "compose-trial"];
    run_command(cargo(trial.into_iter().chain(["--", "--build-image"])))
}

/// Runs `leak-lab`, compiled for release: a day of 5,760 agents takes too long without optimisation.
pub(crate) fn leak_eval(args: &[OsString]) -> Result<()> {
    let mut leak_lab = cargo(["run", "--quiet", "--release", "--package", "leak-lab", "--"]);
    leak_lab.args(args);
    run_command(leak_lab)
}

/// Whether the detector meets its targets on a few tuning days. The seeds are fixed, so the answer changes only with the
/// detector. The held-out seeds are for reporting, and do not decide what may be merged.
pub(crate) fn check_leak_detector() -> Result<()> {
    leak_eval(&["--quick", "--split", "tuning", "--check"].map(OsString::from))
}
