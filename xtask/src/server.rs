//! `cargo xtask server`: which server is in use.

use std::io::Write as _;

use anyhow::Result;
use lifecycle_tests::server_program;

pub(crate) fn run() -> Result<()> {
    let program = server_program()?;
    writeln!(std::io::stdout(), "{program}")?;
    Ok(())
}
