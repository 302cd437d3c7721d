//! The container engine.

use std::ffi::OsStr;
use std::process::Command;

use lifecycle_tests::command::{output, program};

/// A `docker` command, in the workspace.
pub fn docker<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    program("docker", args)
}

/// Why no engine can be used, if none can.
#[must_use]
pub fn engine_problem() -> Option<String> {
    let asked = output(docker(["version", "--format", "{{.Server.Version}}"]));
    asked.err().map(|error| {
        let text = format!("{error:#}");
        let cause = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("no container engine answers ({})", cause.trim())
    })
}
