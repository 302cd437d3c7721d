//! Cleanup after the trial, however it ends.
//!
//! A process of its own holds the read end of a pipe. When the trial ends (by itself, by Ctrl-C, by SIGKILL) the kernel
//! closes the other end. The janitor then ends every process that is marked by the trial's folder, and removes the trial's
//! container, its image, and the folder. There is no other way to clean up, so each run tests it.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::getpid;

use crate::container;
use crate::processes::{Process, end_all, marked};

/// Says that the trial has come to its own end.
const DONE: &str = "done\n";
/// Where the trial was cut short, something that it started may still be on its way.
const LOOKS_AFTER_A_CUT: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The trial's end of the pipe.
#[derive(Debug)]
pub(crate) struct Janitor {
    process: Child,
    root: PathBuf,
}

impl Janitor {
    pub(crate) fn start(root: &Path) -> Result<Self> {
        let mut janitor = Command::new(std::env::current_exe()?);
        // A group of its own, so that Ctrl-C does not reach it.
        janitor.arg("--janitor").process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = janitor.spawn().context("nobody could be set to clean up")?;
        let pipe = process.stdin.as_mut().context("a process without the pipe it was given")?;
        writeln!(pipe, "{}", root.display())?;
        Ok(Self { process, root: root.to_owned() })
    }

    /// Cleans up now.
    ///
    /// # Errors
    /// When something is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        if let Some(mut pipe) = self.process.stdin.take() {
            pipe.write_all(DONE.as_bytes())?;
        }
        if !self.process.wait()?.success() {
            bail!("something the trial made could not be removed: look for {}", self.root.display());
        }
        Ok(())
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The janitor's own program.
pub(crate) fn serve() -> Result<()> {
    let mut said = String::new();
    std::io::stdin().read_to_string(&mut said)?;
    let (root, rest) = said.split_once('\n').context("no folder was named")?;
    let root = Path::new(root);
    // It removes whatever is named.
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    ensure!(name.starts_with("lifecycle-containment-"), "{name} is no folder of a trial");
    if rest == DONE {
        return clean_up(root);
    }
    for _ in 0..LOOKS_AFTER_A_CUT {
        // The last time tells whether it is done.
        let _ = clean_up(root);
        sleep(BETWEEN_LOOKS);
    }
    clean_up(root)
}

fn clean_up(root: &Path) -> Result<()> {
    end_all("the end of what the trial has started", || others(marked(root)))?;
    container::remove(root)?;
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", root.display()))
        }
        _ => Ok(()),
    }
}

/// The trial may have been started in its own folder, and this process is not to be ended either.
fn others(found: Vec<Process>) -> Vec<Process> {
    let own = getpid().as_raw_nonzero().get();
    found.into_iter().filter(|process| process.id.pid != own).collect()
}
