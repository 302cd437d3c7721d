//! Hides our secrets from the commands that we run.
//!
//! A command runs as the same user as its supervisor and its coordinator. Of each of its processes that user may read
//! the environment and the arguments it was started with, its memory and its open files. So once the settings are read,
//! and before anything else is started,
//!
//! 1. the secrets are overwritten where the kernel shows them: in the very block of memory that was filled at the start of
//!    the process (to unset a variable only makes the process forget where it stands);
//! 2. the process makes itself *not dumpable*: what it has in `/proc` then belongs to root, nobody else can attach to it, and
//!    it leaves no core file. What is no secret, such as its state and its children, stays readable for everybody.

#[cfg(target_os = "linux")]
mod block;

use std::ffi::OsStr;
use std::io;

use crate::mistake::{VARIABLE_PREFIX, VARIABLE_SEPARATOR};

/// The settings that are secret, or may hold one.
const SETTINGS: [&str; 2] = ["redis.url", "redis.password"];

/// Whether the environment variable of this name sets something that is secret.
#[must_use]
pub fn is_secret(variable: &OsStr) -> bool {
    variable
        .to_str()
        .and_then(|name| name.strip_prefix(VARIABLE_PREFIX))
        .is_some_and(|name| SETTINGS.contains(&name.to_lowercase().replace(VARIABLE_SEPARATOR, ".").as_str()))
}

/// Hides the secrets of this process that were given as variables or with `flag`. Must be called while it has one
/// thread.
///
/// # Errors
/// When the kernel does not allow it. Then other processes of this user can read what the kernel shows of this one.
#[cfg(target_os = "linux")]
pub fn hide(flag: &str) -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // This comes first, because only root may open the memory of a process that is not dumpable by name.
    let overwritten = block::overwrite(flag);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    overwritten
}

/// Other systems have none of these calls, and do not show a process's environment to its neighbours in this way.
#[cfg(not(target_os = "linux"))]
pub fn hide(_: &str) -> io::Result<()> {
    Ok(())
}
