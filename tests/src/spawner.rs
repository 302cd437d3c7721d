//! Starting processes that do not outlive us.
//!
//! A test process that is killed runs no `Drop`, so what it started would stay. Linux can send a
//! process a signal when its parent dies, but means the parent *thread*: a server started by a test's
//! thread would die when that thread ends. So one thread, which lives as long as the process, starts them all.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use crate::program::on_path;

struct Job {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

static SPAWNER: LazyLock<Mutex<Option<Sender<Job>>>> = LazyLock::new(|| {
    let (jobs, queue) = channel::<Job>();
    let thread = thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        for mut job in queue {
            let _ = job.reply.send(job.command.spawn());
        }
    });
    Mutex::new(thread.ok().map(|_| jobs))
});

/// A command that runs `program`, killed with this process where the system can do that
/// (`setpriv` of util-linux), and an ordinary command elsewhere. The process id is the program's own.
#[must_use]
pub fn mortal(program: &std::path::Path) -> Command {
    match on_path("setpriv") {
        Some(setpriv) if cfg!(target_os = "linux") => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(program);
            command
        }
        _ => Command::new(program),
    }
}

/// Starts `command` from the thread that lives as long as this process.
///
/// # Errors
/// Those of [`Command::spawn`], and one when the thread could not be started.
pub fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts processes is not running");
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .ok_or_else(gone)?
        .send(Job { command, reply })
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
