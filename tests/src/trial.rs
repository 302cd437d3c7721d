//! How a trial ends: a program that tries the product as a whole, and that may not be possible on every machine.

use std::process::ExitCode;

use anyhow::Result;

/// Exit code of a trial that was not possible here, as Automake's test programs have it. The last line on standard error
/// is the reason.
pub const SKIPPED: u8 = 77;

/// How a trial ended when it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was tried, and everything held.
    Passed,
    /// Why it, or a part of it, was not possible here.
    Skipped(String),
}

/// The exit code of the program; an error or a reason is written to standard error.
#[must_use]
pub fn exit_code(outcome: Result<Outcome>) -> ExitCode {
    match outcome {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Skipped(reason)) => {
            eprintln!("{reason}");
            ExitCode::from(SKIPPED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
