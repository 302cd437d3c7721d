//! `cargo xtask bench`: what the product costs, beside the algorithm of the original design.
//!
//! The measuring program is a bench target in `tests/bench`, so that it is compiled with optimisation and no other task
//! builds it.

use std::ffi::OsString;

use anyhow::Result;
use lifecycle_tests::command::{cargo, run as run_command};
use lifecycle_tests::program::SERVER_VARIABLE;
use lifecycle_tests::server_program;

/// Compiles the measuring program for release and runs it with `args`.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let server = server_program()?;
    eprintln!(
        "measuring on {server}; the first time this compiles the product for release, which takes a while"
    );
    // The processes that are measured are the shipped ones.
    let roles = ["-p", "agent", "-p", "coordinator", "-p", "sweeper", "-p", "lifecyclectl"];
    run_command(cargo(["build", "--quiet", "--release"].into_iter().chain(roles)))?;
    let mut bench = cargo(["bench", "--quiet", "--package", "lifecycle-bench", "--bench", "costs", "--"]);
    bench.args(args).env(SERVER_VARIABLE, server.path);
    run_command(bench)
}
