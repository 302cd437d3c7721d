//! A default container: without privileges, with the engine's own rules for what is allowed in it.
//!
//! Its image is made of this machine's programs. The trial's folder is at the same path inside and outside, so the mark of
//! processes is the same.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use lifecycle_tests::command::output;
use lifecycle_tests::role_binary;
use lifecycle_trials::docker::{docker, engine_problem};
use lifecycle_trials::image_root::{copy, import, inside, install_libraries, install_shell, write};

use crate::ground::Ground;

const LABEL: &str = "lifecycle.containment-trial";

/// Starts a container in which nothing but an init runs, which README asks for. Returns its name.
///
/// # Errors
/// Why that is not possible here.
pub(crate) fn start(ground: &Ground) -> Result<String> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can watch the processes of a container from outside"
    );
    if let Some(problem) = engine_problem() {
        bail!("{problem}");
    }
    let name = name(&ground.root);
    build_image(ground, &name)?;
    let root = ground.root.display();
    let (label, volume) = (format!("{LABEL}={name}"), format!("{root}:{root}"));
    let run = ["run", "--detach", "--init", "--name", &name, "--label", &label, "--volume", &volume];
    output(docker([&run[..], &[&name, "sleep", "1000000"]].concat()))?;
    Ok(name)
}

/// Removes the container and the image of the trial in this folder.
///
/// # Errors
/// When one is left.
pub(crate) fn remove(root: &Path) -> Result<()> {
    if !flag(root).exists() {
        return Ok(());
    }
    let name = name(root);
    let filter = format!("label={LABEL}={name}");
    let list = |what: &[&str]| output(docker([what, &["--quiet", "--filter", &filter]].concat()));
    for container in list(&["ps", "--all"])?.lines() {
        output(docker(["rm", "--force", "--volumes", container]))?;
    }
    for image in list(&["images"])?.lines() {
        output(docker(["rmi", "--force", image]))?;
    }
    let left = list(&["ps", "--all"])? + &list(&["images"])?;
    ensure!(left.trim().is_empty(), "containers or images with the label {LABEL}={name} are left");
    Ok(())
}

fn build_image(ground: &Ground, name: &str) -> Result<()> {
    // From here on there may be something to remove.
    fs::write(flag(&ground.root), "")?;
    let root = ground.root.join("image");
    install_shell(&root)?;
    let store = &ground.server.program().path;
    copy(store, &inside(&root, &store.display().to_string()))?;
    for program in [store, &role_binary("agent")?, &role_binary("coordinator")?] {
        install_libraries(program, &root)?;
    }
    write(&root, "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")?;
    write(&root, "/etc/group", "root:x:0:\n")?;
    let temporary = inside(&root, "/tmp");
    fs::create_dir_all(&temporary)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o1777))?;
    import(&root, name, &format!("{LABEL}={name}"), &[])
}

/// Says that there may be a container or an image.
fn flag(root: &Path) -> std::path::PathBuf {
    root.join("has-container")
}

/// Of the container and of its image, whose name has no capital letters.
fn name(root: &Path) -> String {
    root.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}
