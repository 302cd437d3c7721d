//! What must hold at the end of a trial: promises, each with what was found.

use std::time::Duration;

use anyhow::{Result, bail};
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::process::{MARKER_VARIABLE, Role, processes_with_env};
use lifecycle_tests::server::Server;

use crate::role;

/// One promise and whether it held.
#[derive(Debug)]
pub struct Check {
    promise: &'static str,
    held: bool,
    detail: String,
}

impl Check {
    /// A promise, whether it held, and what was found.
    #[must_use]
    pub fn new(promise: &'static str, held: bool, detail: impl Into<String>) -> Self {
        Self { promise, held, detail: detail.into() }
    }

    /// A promise that holds if nothing speaks against it: the first of `against` are shown, or else `detail`.
    #[must_use]
    pub fn none(promise: &'static str, against: &[String], detail: impl Into<String>) -> Self {
        const SHOWN: usize = 20;
        if against.is_empty() {
            return Self::new(promise, true, detail);
        }
        let mut lines: Vec<String> = vec![against.len().to_string()];
        lines.extend(against.iter().take(SHOWN).map(|line| format!("\n          - {line}")));
        if against.len() > SHOWN {
            lines.push(format!("\n          - and {} more", against.len() - SHOWN));
        }
        Self::new(promise, false, lines.concat())
    }
}

/// Prints the checks, and `success` if all of them held.
///
/// # Errors
/// When any did not hold.
#[allow(clippy::print_stdout, reason = "what a trial prints is what it is for")]
pub fn report(checks: &[Check], success: &str) -> Result<()> {
    for check in checks {
        println!("  {}  {:48} {}", if check.held { "ok    " } else { "FAILED" }, check.promise, check.detail);
    }
    if checks.iter().all(|check| check.held) {
        println!("\n{success}");
        return Ok(());
    }
    bail!("not all of it held")
}

/// No key is left without a living owner, as `lifecyclectl verify` has it.
///
/// # Errors
/// When it could not be asked.
pub fn nothing_without_owner(server: &Server) -> Result<Check> {
    let mut verify = role("lifecyclectl", server)?.arg("verify").spawn()?;
    let ended = verify.wait(Duration::from_secs(20))?;
    let said = format!("{}{}", verify.stdout(), verify.stderr());
    let last = said.lines().last().unwrap_or_default();
    Ok(Check::new("no key is left without a living owner", ended.success(), last))
}

/// Everything a role starts, however far it went, carries the role's mark in its environment.
pub fn no_process_left<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Check {
    let roles: Vec<&Role> = roles.into_iter().collect();
    let left = || -> Vec<u32> {
        roles.iter().flat_map(|role| processes_with_env(MARKER_VARIABLE, role.marker())).collect()
    };
    let gone = eventually(Duration::from_secs(5), "the last processes to vanish", || {
        Ok(left().is_empty().then_some(()))
    });
    let detail = if gone.is_ok() { "0 left".into() } else { format!("left: {:?}", left()) };
    Check::new("no process of it is left", gone.is_ok(), detail)
}
