//! Where a task's output goes: one file per task, with all attempts one after the other.

use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_sdk::Assignment;
use bytesize::ByteSize;
use lifecycle_cli::log_file::{self, LogFile};
use lifecycle_core::wire::ids::AgentId;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::log_limit::LogLimit;

/// Pause between two checks of a log that is being written.
const LOOK: Duration = Duration::from_secs(1);

/// The log of one task, open for one attempt.
#[derive(Debug)]
pub(crate) struct TaskLog {
    path: PathBuf,
    file: Arc<LogFile>,
    limit: LogLimit,
}

impl TaskLog {
    /// Opens `folder/<task>.log` for appending. A later attempt begins with a line that says so.
    ///
    /// # Errors
    /// When it cannot be written; the text names the file and the reason.
    pub(crate) async fn open(
        folder: &Path,
        agent: &AgentId,
        task: &Assignment,
        limit: ByteSize,
    ) -> io::Result<Self> {
        let path = folder.join(format!("{}.log", task.task));
        let again = (task.run > 1).then(|| format!("--- run {} by {agent} ---\n", task.run));
        let limit = LogLimit::new(limit);
        let opening = spawn_blocking(move || {
            let mut file = log_file::open(&path)?;
            // The earlier attempt may have been killed before it did this.
            limit.close_gap(&file.whole)?;
            if let Some(again) = again {
                file.end.write_all(again.as_bytes())?;
            }
            Ok(Self { path, file: Arc::new(file), limit })
        });
        opening.await.map_err(io::Error::other)?
    }

    /// The command's standard output and error.
    pub(crate) fn outputs(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.file.end.try_clone()?.into(), self.file.end.try_clone()?.into()))
    }

    /// Waits for `writing` to end, and keeps the log within its limit until then.
    pub(crate) async fn hold_while<T>(&self, writing: impl Future<Output = T>) -> T {
        let holding = async {
            loop {
                sleep(LOOK).await;
                if !self.change(LogLimit::free_middle).await {
                    // What fails now is tried again at the end.
                    std::future::pending::<()>().await;
                }
            }
        };
        let ended = tokio::select! {
            ended = writing => ended,
            never = holding => never,
        };
        self.change(LogLimit::close_gap).await;
        ended
    }

    /// `false` if that was not possible, which is logged. The command goes on.
    async fn change(&self, how: fn(&LogLimit, &std::fs::File) -> io::Result<()>) -> bool {
        let (file, limit) = (Arc::clone(&self.file), self.limit.clone());
        let changed = spawn_blocking(move || how(&limit, &file.whole)).await.map_err(io::Error::other);
        match changed.and_then(|changed| changed) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(log = %self.path.display(), %error, "a log may be longer than coordinator.log_limit");
                false
            }
        }
    }
}
