//! `cargo xtask test`: the whole suite, on a real server and with the real binaries.

use std::ffi::OsString;

use anyhow::Result;
use lifecycle_tests::command::{cargo, run as run_command};
use lifecycle_tests::program::SERVER_VARIABLE;
use lifecycle_tests::server_program;

/// Runs all tests, or those that `args` select.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let server = server_program()?;
    eprintln!("tests use {server}");
    // The integration tests start the roles as processes, which `cargo test` alone does not build.
    run_command(cargo(["build", "--workspace", "--bins"]))?;
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast", "--"]);
    tests.args(args).env(SERVER_VARIABLE, server.path);
    run_command(tests)
}
