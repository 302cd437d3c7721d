//! A running command, started by the guard or by this process itself.

use std::io;
use std::process::ExitStatus;

use agent_sdk::process::{ProcessId, signal_group};
use rustix::process::Signal;

use crate::guard::HeldChild;

/// A running command.
#[derive(Debug)]
pub(crate) enum Child {
    /// A child of the guard.
    Held(HeldChild),
    /// A child of this process.
    Direct {
        child: tokio::process::Child,
        /// Which process it is, as long as it was not waited for.
        process: Option<ProcessId>,
    },
}

impl Child {
    /// Waits for its end. May be called again.
    ///
    /// # Errors
    /// When that cannot be told any more, because its guard has ended. The command has ended with it, or is a child of this
    /// process now.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Held(child) => child.wait().await,
            Self::Direct { child, .. } => child.wait().await,
        }
    }

    /// Signals its process group.
    pub(crate) async fn signal(&self, signal: Signal) {
        match self {
            Self::Held(child) => child.signal(signal).await,
            // Unless it has been waited for, which takes its pid away, its number is still its own.
            Self::Direct { child, .. } => {
                if let Some(leader) = child.id() {
                    signal_group(leader, signal);
                }
            }
        }
    }
}
