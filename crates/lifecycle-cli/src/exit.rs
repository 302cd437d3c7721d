//! How a command ends: with one of these exit codes, and with one line on stderr if it failed.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

use lifecycle_redis::StoreError;

use crate::mistake::SettingsError;
use crate::output::printable;

/// Everything that was asked for was done.
pub const OK: u8 = 0;
/// It was tried and failed; or something that was checked is not in order.
pub const FAILED: u8 = 1;
/// Nothing was tried, because the command line, the settings or the plan are wrong.
pub const USAGE: u8 = 2;
/// The store could not be reached, is full, busy or loading, or is of a kind that is not supported (`EX_UNAVAILABLE` of
/// sysexits.h).
pub const UNAVAILABLE: u8 = 69;
/// This agent was reaped or replaced and had to stop (`EX_SOFTWARE` of sysexits.h).
pub const FENCED: u8 = 70;
/// A living agent has the id (`EX_CANTCREAT` of sysexits.h).
pub const HELD: u8 = 73;
/// A pass found orphans and held every one of them, because their silence proves nothing.
pub const ALL_HELD: u8 = 74;
/// The agent left cleanly because of its memory, and a fresh one should take over (`EX_TEMPFAIL` of sysexits.h).
pub const SPENT: u8 = 75;

/// The exit code for an error of the store. 69 means that the same call may succeed later, or on another store. 1 means
/// that a person has to put something right in this store.
#[must_use]
pub fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::Configuration { .. } => USAGE,
        StoreError::Unreachable { .. } | StoreError::Unavailable(_) | StoreError::Unsupported { .. } => {
            UNAVAILABLE
        }
        StoreError::Refused { refusal, .. } if refusal.passes() => UNAVAILABLE,
        StoreError::Refused { .. }
        | StoreError::Untrusted(_)
        | StoreError::WrongType { .. }
        | StoreError::Invalid(_)
        | StoreError::Unexpected(_) => FAILED,
    }
}

/// An error that knows the process's exit code. Context may be added around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A failure with its exit code, and what happened, what was not done and what to do in one line.
    #[must_use]
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Gives an error the exit code it stands for: `connect().exit_with(exit::UNAVAILABLE)?`.
pub trait ExitWith<T> {
    /// Turns the error into a [`Failure`] with this code and the whole error in its message.
    ///
    /// # Errors
    /// The failure, if there was an error.
    fn exit_with(self, code: u8) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> ExitWith<T> for Result<T, E> {
    fn exit_with(self, code: u8) -> anyhow::Result<T> {
        self.map_err(|error| Failure::new(code, joined(&error.into())).into())
    }
}

/// Runs a command to its end, and turns its result into the process's exit code. Errors are printed on stderr.
pub fn main(run: impl FnOnce() -> anyhow::Result<u8>) -> ExitCode {
    let code = run().unwrap_or_else(|error| {
        let (code, text) = (code(&error), report(&error));
        // There may be nothing left to do, which is no error.
        let text = if code == OK { text.trim_start_matches("error: ") } else { &text };
        // If stderr is closed, there is nowhere to report to; eprintln! would panic.
        let _ = io::stderr().write_all(text.as_bytes());
        code
    });
    ExitCode::from(code)
}

/// The exit code for an error: a [`Failure`]'s own, 2 for settings, else 1.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| {
            let failure = cause.downcast_ref::<Failure>().map(Failure::code);
            failure.or_else(|| cause.downcast_ref::<SettingsError>().map(|_| USAGE))
        })
        .unwrap_or(FAILED)
}

/// What is printed: `error: …` in one line, or one such line per mistake in the settings.
#[must_use]
pub fn report(error: &anyhow::Error) -> String {
    if let Some(settings) = error.chain().find_map(|cause| cause.downcast_ref::<SettingsError>()) {
        return settings.mistakes.iter().fold(String::new(), |mut lines, mistake| {
            let _ = writeln!(lines, "error: {mistake}");
            lines
        });
    }
    format!("error: {}\n", printable(&joined(error)))
}

/// The error and its causes, each once: libraries often repeat a cause in their own text.
fn joined(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};
    use lifecycle_redis::{Deployment, Refusal};

    use super::*;
    use crate::settings::Mistake;

    #[test]
    fn an_error_is_one_line_with_its_causes_each_once() {
        let error =
            anyhow!("connection refused").context("store: connection refused").context("no pass was made");
        assert_eq!(report(&error), "error: no pass was made: store: connection refused\n");
        assert_eq!(report(&anyhow!("two\nlines")), "error: two\\nlines\n");
    }

    #[test]
    fn an_error_ends_with_the_code_it_was_given_and_else_with_1() {
        assert_eq!(code(&anyhow!("no")), FAILED);
        let refused = Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)).exit_with(UNAVAILABLE);
        let error = refused.context("nothing was reaped").unwrap_err();
        assert_eq!(code(&error), UNAVAILABLE);
        assert_eq!(report(&error), "error: nothing was reaped: connection refused\n");
    }

    #[test]
    fn settings_end_with_2_and_one_line_per_mistake() {
        let mistake = |name: &str| Mistake::File { path: name.into(), line: Some(1), problem: "bad".into() };
        let error = anyhow::Error::from(SettingsError { mistakes: vec![mistake("a"), mistake("b")] })
            .context("unused");
        assert_eq!(code(&error), USAGE);
        assert_eq!(report(&error), "error: a, line 1: bad\nerror: b, line 1: bad\n");
    }

    #[test]
    fn a_refusal_that_passes_by_itself_is_unavailability_and_one_that_does_not_is_a_failure() {
        let of = |refusal| of_store(&StoreError::Refused { refusal, said: String::new() });
        for passing in
            [Refusal::Full, Refusal::Busy, Refusal::Loading, Refusal::ReadOnly, Refusal::CannotSave]
        {
            assert_eq!(of(passing), UNAVAILABLE, "{passing:?}");
        }
        for lasting in
            [Refusal::NotPermitted, Refusal::PasswordWrong, Refusal::PasswordWanted, Refusal::Other]
        {
            assert_eq!(of(lasting), FAILED, "{lasting:?}");
        }
        let node = StoreError::Unsupported { url: String::new(), deployment: Deployment::ClusterNode };
        assert_eq!(of_store(&node), UNAVAILABLE);
    }

    #[test]
    fn the_codes_are_the_documented_ones() {
        assert_eq!(
            [OK, FAILED, USAGE, UNAVAILABLE, FENCED, HELD, ALL_HELD, SPENT],
            [0, 1, 2, 69, 70, 73, 74, 75]
        );
    }
}
