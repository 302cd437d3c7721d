//! Where cargo put our binaries.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The folder of the profile the running program was built with, such as `target/debug`: tests run from
/// `deps` inside it, examples from `examples`, binaries from the folder itself.
///
/// # Errors
/// When the running program has no such place.
pub fn profile_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the running program's own path is unknown")?;
    let folder = program.parent().context("the running program is in no folder")?;
    let nested = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    let profile = if nested { folder.parent() } else { Some(folder) };
    profile.map(Path::to_owned).context("the running program is not in a cargo target folder")
}

/// Cargo's target folder: what is fetched or built for tests is kept here and goes with `cargo clean`.
///
/// # Errors
/// When the running program is not in one.
pub fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    profile.parent().map(Path::to_owned).context("the running program is not in a cargo target folder")
}

/// The path of one of our binaries (`agent`, `coordinator`, `sweeper`, `lifecyclectl`), built with the
/// same profile as the running program.
///
/// # Errors
/// When it has not been built, saying how to build it.
pub fn role_binary(name: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!(
            "the binary `{name}` is not built: run `cargo build --workspace --bins`, or `cargo xtask test`, which does"
        );
    }
    Ok(path)
}
