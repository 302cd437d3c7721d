//! Where a task's output goes: one file per task, all attempts one after the other.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;

use agent_sdk::Assignment;
use lifecycle_core::ids::AgentId;

/// The log of one task, open for one attempt.
#[derive(Debug)]
pub(crate) struct TaskLog {
    file: File,
}

impl TaskLog {
    /// Opens `folder/<task>.log` for appending; further runs begin with a line that says so.
    pub(crate) fn open(folder: &Path, agent: &AgentId, task: &Assignment) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut file =
            File::options().create(true).append(true).open(folder.join(format!("{}.log", task.task)))?;
        if task.run > 1 {
            writeln!(file, "--- run {} by {agent} ---", task.run)?;
        }
        Ok(Self { file })
    }

    /// The command's standard output and error.
    pub(crate) fn outputs(&self) -> io::Result<(Stdio, Stdio)> {
        Ok((self.file.try_clone()?.into(), self.file.try_clone()?.into()))
    }
}
