//! `cargo xtask bench`: what the product costs, beside the algorithm of the document it implements.
//!
//! The measuring program is `benches/costs`: a bench target, so that it is compiled with optimisation and what it
//! needs does not have to be built for the other tasks.

use std::ffi::OsString;

use anyhow::Result;
use lifecycle_tests::program::SERVER_VARIABLE;
use lifecycle_tests::server_program;

use crate::command::{cargo, run as run_command};

/// Compiles the measuring program for release and runs it with `args`.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let server = server_program()?;
    eprintln!(
        "measuring on {server}; the first time this compiles the product for release, which takes a while"
    );
    // The processes that are measured are the shipped ones.
    run_command(cargo(["build", "--quiet", "--release", "--workspace", "--bins", "--exclude", "xtask"]))?;
    let mut bench = cargo(["bench", "--quiet", "--package", "xtask", "--bench", "costs", "--"]);
    bench.args(args).env(SERVER_VARIABLE, server.path);
    run_command(bench)
}
