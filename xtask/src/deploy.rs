//! `cargo xtask deploy-check`: what is in deploy/ is valid, and its parts fit each other and the product.
//!
//! ```text
//!   kustomize        the base and the example, built as `kubectl apply -k` builds them
//!   manifests.py     what came out: strictly by the published schemas, and what one object says of another
//!   systemd-analyze  the units, with stand-ins for our programs
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::binaries::target_dir;
use lifecycle_tests::command::{output, program, run as run_command, workspace};
use lifecycle_tests::program::on_path;
use lifecycle_tests::trial::Outcome;

use crate::tools;

const REQUIREMENTS: &str = "xtask/deploy/requirements.txt";
const UNITS: [&str; 4] = [
    "lifecycle-agent@.service",
    "lifecycle-coordinator@.service",
    "lifecycle-host.service",
    "lifecycle-sweeper.service",
];
const PROGRAMS: [&str; 4] = ["agent", "coordinator", "lifecyclectl", "sweeper"];
/// The units of the system that ours name, or depend on as every service does.
const TARGETS: [&str; 5] = ["basic", "multi-user", "network-online", "shutdown", "sysinit"];

/// Checks all that can be checked here.
pub(crate) fn check() -> Result<Outcome> {
    let work = target_dir()?.join("deploy-check");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let skipped: Vec<String> = [manifests(&work)?, units(&work)?]
        .into_iter()
        .filter_map(|outcome| match outcome {
            Outcome::Passed => None,
            Outcome::Skipped(reason) => Some(reason),
        })
        .collect();
    Ok(if skipped.is_empty() { Outcome::Passed } else { Outcome::Skipped(skipped.join("; ")) })
}

fn manifests(work: &Path) -> Result<Outcome> {
    let skipped = |what: &str| Ok(Outcome::Skipped(format!("the manifests were not checked: {what}")));
    // To read a plan.
    if output(program("python3", ["-c", "import tomllib"])).is_err() {
        return skipped("there is no python3 of version 3.11 or newer");
    }
    let packages = match packages() {
        Ok(packages) => packages,
        Err(error) => return skipped(&format!("{error:#}")),
    };
    let kustomize = match tools::kustomize() {
        Ok(kustomize) => kustomize,
        Err(error) => return skipped(&format!("there is no kustomize ({error:#})")),
    };
    let mut check = program("python3", ["-B", "xtask/deploy/manifests.py"]);
    for name in ["base", "example"] {
        let mut build = program(&kustomize[0], &kustomize[1..]);
        build.arg(format!("deploy/kubernetes/{name}"));
        let built = work.join(name).with_extension("yaml");
        fs::write(&built, output(build)?)?;
        check.arg(built);
    }
    check.args(["README.md", "deploy/systemd"]).env("PYTHONPATH", packages);
    run_command(check).context("what is in deploy/ is wrong; see above")?;
    Ok(Outcome::Passed)
}

/// The validator and its schemas, for `PYTHONPATH`. They are not installed, so that pip alone is enough.
fn packages() -> Result<PathBuf> {
    let home = target_dir()?.join("tools/deploy-check");
    let (wanted, installed) = (workspace().join(REQUIREMENTS), home.join("requirements.txt"));
    if fs::read(&installed).ok() == Some(fs::read(&wanted)?) {
        return Ok(home);
    }
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"];
    let mut install = program("python3", pip);
    install.args(["--no-deps", "--only-binary=:all:", "--requirement", REQUIREMENTS, "--target"]).arg(&home);
    output(install).context("the validator could not be fetched")?;
    // Last: what was installed by halves is installed anew.
    fs::copy(wanted, installed)?;
    Ok(home)
}

/// `systemd-analyze` warns of an unknown key and passes, so every word it says counts.
fn units(work: &Path) -> Result<Outcome> {
    if on_path("systemd-analyze").is_none() {
        return Ok(Outcome::Skipped("the units were not checked: there is no systemd-analyze".into()));
    }
    let root = root_of_a_machine(work)?;
    let mut verify = program("systemd-analyze", ["verify", "--man=no"]);
    verify.arg(format!("--root={}", root.display()));
    verify.args(UNITS.map(|unit| root.join("etc/systemd/system").join(unit)));
    let said = verify.output().context("systemd-analyze could not be run")?;
    let text = String::from_utf8_lossy(&said.stderr);
    if !said.status.success() || !text.is_empty() {
        bail!("systemd does not accept the units ({}):\n{}", said.status, text.trim());
    }
    eprintln!("  ok     {} units, as systemd reads them", UNITS.len());
    Ok(Outcome::Passed)
}

/// A folder that stands for a machine's `/`, with the units, and with all they name.
fn root_of_a_machine(work: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    let (units, programs) = (root.join("etc/systemd/system"), root.join("usr/local/bin"));
    fs::create_dir_all(&units)?;
    fs::create_dir_all(&programs)?;
    for unit in UNITS {
        fs::copy(workspace().join("deploy/systemd").join(unit), units.join(unit))?;
    }
    for target in TARGETS {
        fs::write(units.join(target).with_extension("target"), "[Unit]\nDescription=Stand-in\n")?;
    }
    for name in PROGRAMS {
        fs::write(programs.join(name), "#!/bin/sh\n")?;
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(root)
}
