//! The tools CI needs beside the Rust toolchain, from PATH or pinned and kept in the target folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::binaries::target_dir;
use lifecycle_tests::command::{cargo, output, program, run};
use lifecycle_tests::program::on_path;
use lifecycle_tests::wheel::{self, Wheel};

const DENY_VERSION: &str = "0.20.2";
/// Older versions do not read our `deny.toml`, and the oldest do not read our manifests.
const DENY_OLDEST: (u32, u32) = (0, 18);

const TYPOS: Wheel = Wheel {
    package: "typos",
    version: "1.52.0",
    sha256: &[
        // Linux x86_64, Linux aarch64, macOS x86_64, macOS arm64.
        "418fd85f7fc11dec14e5482e747f6e916af56da96207cde0cdd69540a4b389f6",
        "5e870133c7e9cace94183e4d638697004a1473e79abcd01b8f75e362049a9b5c",
        "791d8778c4cb07f7a3f759ac65db09f6285aa480598bff42cfca2a32b0953200",
        "257324274303a459fef79978cae942568419d2e8b18519e5f66b93a7e2df2ba1",
    ],
    program: "typos",
};

/// Kustomize's own code as a library, which `xtask/deploy/kustomize.py` calls; its program is in no package index.
const KUSTOMIZE: Wheel = Wheel {
    package: "pykustomize",
    version: "0.1.4",
    // Linux x86_64.
    sha256: &["f8da6be12fb35b56158d2f9043a67d39c1ce84eae9c8f344c7ed934709192467"],
    program: "libpykustomize.so",
};

/// The spelling checker.
pub(crate) fn typos() -> Result<PathBuf> {
    on_path("typos").map_or_else(|| wheel::program(&TYPOS, "tools"), Ok)
}

/// The words of a command that builds a kustomization, once the folder is added.
pub(crate) fn kustomize() -> Result<Vec<OsString>> {
    if on_path("kustomize").is_some() {
        return Ok(vec!["kustomize".into(), "build".into()]);
    }
    // Older ones do not say which kustomize they have, and have one that does not read ours.
    let kubectl = output(program("kubectl", ["version", "--client"])).unwrap_or_default();
    if kubectl.contains("Kustomize Version: v5") {
        return Ok(vec!["kubectl".into(), "kustomize".into()]);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("no package index has one for this platform: install kustomize");
    }
    let library = wheel::program(&KUSTOMIZE, "tools")?;
    Ok(vec!["python3".into(), "xtask/deploy/kustomize.py".into(), library.into()])
}

/// The dependency checker, compiled when there is none: no package index has a current one as a wheel.
pub(crate) fn deny() -> Result<PathBuf> {
    if let Some(found) = on_path("cargo-deny").filter(|path| is_recent(path)) {
        return Ok(found);
    }
    let root = target_dir()?.join("tools").join(format!("cargo-deny-{DENY_VERSION}"));
    let installed = root.join("bin/cargo-deny");
    if !installed.is_file() {
        install_deny(&root).context("cargo-deny could not be installed")?;
    }
    Ok(installed)
}

/// Without optimisation it is built in a minute, and still checks the workspace in a second.
fn install_deny(root: &Path) -> Result<()> {
    let build = root.join("build");
    let mut install =
        cargo(["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--debug", "--quiet"]);
    install.arg("--root").arg(root).arg("--target-dir").arg(&build);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    run(install)?;
    Ok(fs::remove_dir_all(build)?)
}

fn is_recent(deny: &Path) -> bool {
    let said = output(program(deny, ["--version"])).unwrap_or_default();
    version(&said).is_some_and(|version| version >= DENY_OLDEST)
}

/// `cargo-deny 0.20.2` says (0, 20).
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{DENY_OLDEST, version};

    #[test]
    fn versions_compare_as_numbers_not_as_text() {
        assert!(version("cargo-deny 0.20.2").unwrap() > DENY_OLDEST);
        assert!(version("cargo-deny 0.9.1").unwrap() < DENY_OLDEST);
        assert_eq!(version("something else"), None);
    }
}
