//! The content of an image that is made of this machine's own programs, where no image registry can be reached.
//!
//! It is a folder that becomes the image's root: a static shell, programs, and the libraries they are linked with.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::command::{output, program};
use lifecycle_tests::program::on_path;

use crate::docker::docker;

/// Makes the folder `root` the image `image`, with a label (`name=value`) and instructions of a Dockerfile.
///
/// # Errors
/// When the engine refuses.
pub fn import(root: &Path, image: &str, label: &str, config: &[&str]) -> Result<()> {
    let archive = root.with_extension("tar");
    let mut tar = program("tar", ["--create", "--owner=0", "--group=0", "--file"]);
    tar.arg(&archive).arg("--directory").arg(root).arg(".");
    output(tar)?;
    let label = format!("LABEL {label}");
    let mut import = docker(["import", "--change", &label]);
    for instruction in config {
        import.args(["--change", instruction]);
    }
    import.arg(&archive).arg(image);
    output(import)?;
    Ok(fs::remove_file(archive)?)
}

/// Installs a static busybox under all its names.
///
/// # Errors
/// When there is none here; says what to install.
pub fn install_shell(root: &Path) -> Result<()> {
    let busybox = on_path("busybox").context(
        "there is no busybox on PATH: install a static one (Debian: apt-get install busybox-static)",
    )?;
    if !libraries(&busybox)?.is_empty() {
        bail!("busybox is not static here: install busybox-static");
    }
    let place = inside(root, "/bin/busybox");
    copy(&busybox, &place)?;
    for applet in output(program(&busybox, ["--list"]))?.lines().filter(|name| *name != "busybox") {
        symlink("busybox", place.with_file_name(applet))?;
    }
    Ok(())
}

/// Installs the libraries that a program is linked with, where the program looks for them.
///
/// # Errors
/// When they cannot be found or copied.
pub fn install_libraries(program: &Path, root: &Path) -> Result<()> {
    for library in libraries(program)? {
        let place = inside(root, &library);
        if !place.exists() {
            copy(Path::new(&library), &place)?;
        }
    }
    Ok(())
}

/// `ldd` prints `name => /path (address)`, and `/path (address)` for the loader. It fails for a static program.
fn libraries(file: &Path) -> Result<Vec<String>> {
    let mut ldd = program("ldd", [file]);
    let said = ldd.output().context("there is no ldd, which names the libraries of a program")?;
    let said = String::from_utf8_lossy(&said.stdout);
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_string).collect())
}

/// Where `place`, a path in the image, is in the folder.
#[must_use]
pub fn inside(root: &Path, place: &str) -> PathBuf {
    root.join(place.trim_start_matches('/'))
}

/// Writes a file of the image.
///
/// # Errors
/// When the system refuses.
pub fn write(root: &Path, place: &str, text: &str) -> Result<()> {
    let file = inside(root, place);
    make_folder_of(&file)?;
    Ok(fs::write(file, text)?)
}

/// Copies a file to where its folder may not be yet.
///
/// # Errors
/// When the system refuses.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder_of(to)?;
    fs::copy(from, to).with_context(|| format!("{} cannot be copied", from.display()))?;
    Ok(())
}

fn make_folder_of(file: &Path) -> Result<()> {
    Ok(fs::create_dir_all(file.parent().context("a file needs a folder")?)?)
}
