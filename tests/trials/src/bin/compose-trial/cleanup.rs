//! Cleanup after the trial, however it ends.
//!
//! A process of its own holds the read end of a pipe. When this program ends (by itself, by Ctrl-C, by SIGKILL) the kernel
//! closes the other end, and the process removes everything with the project's label. There is no other way to clean up, so
//! each trial tests it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::engine::PROJECT_LABEL;

/// The label of images that were made for a trial. Its value is the project's name.
pub(crate) const IMAGE_LABEL: &str = "lifecycle.compose-test";

/// `read` ends with a word when the trial is over, and without one when it was cut short. In the latter case a command of the
/// trial may still be about to create something, so the script looks again for a while. `$0` is the project, `$1` and `$2` are the labels, `$3`
/// is our own image, which compose may have built without a label, and which has to go before its base.
const SCRIPT: &str = r#"
rounds=5
read -r word && rounds=1
while :; do
    docker ps -aq --filter "label=$1=$0" | xargs -r docker rm --force --volumes
    docker network ls -q --filter "label=$1=$0" | xargs -r docker network rm
    docker volume ls -q --filter "label=$1=$0" | xargs -r docker volume rm
    docker images -q "$3" | xargs -r docker rmi --force
    docker images -q --filter "label=$2=$0" | sort -u | xargs -r docker rmi --force
    rounds=$((rounds - 1))
    [ "$rounds" -gt 0 ] || break
    sleep 1
done >/dev/null
left=$(docker ps -aq --filter "label=$1=$0"; docker network ls -q --filter "label=$1=$0"
       docker volume ls -q --filter "label=$1=$0"; docker images -q --filter "label=$2=$0"; docker images -q "$3")
[ -z "$left" ]
"#;

/// Removes the project's containers, networks, volumes and images when it is dropped or when this process is gone.
#[derive(Debug)]
pub(crate) struct Cleanup {
    process: Child,
}

impl Cleanup {
    /// Starts the process. It removes what an earlier run of the same project has left, too.
    pub(crate) fn start(project: &str, own_image: &str) -> Result<Self> {
        let mut cleanup = Command::new("sh");
        // A group of its own, so that Ctrl-C does not reach it.
        cleanup
            .args(["-c", SCRIPT, project, PROJECT_LABEL, IMAGE_LABEL, own_image])
            .process_group(0)
            .stdin(Stdio::piped());
        let process = cleanup.spawn().context("nobody could be set to clean up, so nothing was started")?;
        Ok(Self { process })
    }

    /// Cleans up now.
    ///
    /// # Errors
    /// When something is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        if let Some(mut pipe) = self.process.stdin.take() {
            pipe.write_all(b"done\n")?;
        }
        if !self.process.wait()?.success() {
            bail!("something the test made could not be removed: look for the label {PROJECT_LABEL}");
        }
        Ok(())
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
