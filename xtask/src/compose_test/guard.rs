//! Nothing is left behind, however the test ends.
//!
//! A process of its own holds the read end of a pipe. When this program ends (by itself, by Ctrl-C, by SIGKILL) the kernel
//! closes the other end, and the guard removes what carries the project's label. There is no other way to clean up, so
//! the one there is gets tested each time.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::compose_test::engine::PROJECT_LABEL;

/// Marks the images made for a test, with its project's name.
pub(crate) const IMAGE_LABEL: &str = "lifecycle.compose-test";

/// `read` ends with a word when the test is over, and without one when it was cut short: then somebody else may still be
/// about to create something, so the guard looks again for a while. `$0` is the project, `$1` and `$2` are the labels, `$3`
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

/// Removes the project's containers, networks, volumes and images when it is dropped, or when this process is gone.
#[derive(Debug)]
pub(crate) struct Guard {
    process: Child,
}

impl Guard {
    /// Starts it; what is left of an earlier run of the same name is its business as well.
    pub(crate) fn start(project: &str, own_image: &str) -> Result<Self> {
        let mut guard = Command::new("sh");
        // A group of its own, so that Ctrl-C does not reach it.
        guard
            .args(["-c", SCRIPT, project, PROJECT_LABEL, IMAGE_LABEL, own_image])
            .process_group(0)
            .stdin(Stdio::piped());
        let process = guard.spawn().context("nobody could be set to clean up, so nothing was started")?;
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

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
