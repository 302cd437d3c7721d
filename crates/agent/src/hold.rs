//! `agent hold`: the guard of one `agent run`. It starts the command, adopts what the command leaves behind, and ends all of
//! it when the supervisor is gone, however that came.
//!
//! ```text
//!   agent run ──socket──▶ agent hold ──▶ command, and all that it starts
//!        └────lifeline──▶     └──▶ init   the first process of the PID namespace, where there is one
//! ```
//!
//! It is the command's parent, so that the supervisor can be killed without anybody else losing sight of the tree. It has one
//! thread and no timer: while nothing happens it sleeps in `poll`. All signals that can be blocked are, so that only
//! SIGKILL ends it; then the supervisor lives and ends the tree, or the kernel ends the namespace.
//!
//! ```text
//!   frames   what is said over the socket, by both sides
//!   launch   starts one command
//!   init     makes the namespace, and is its first process
//!   ending   ends everything
//! ```

mod ending;
pub(crate) mod frames;
mod init;
mod launch;
mod signals;

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use agent_sdk::process::has_no_child;
use lifecycle_cli::exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group,
    set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal, wait,
};

use frames::{Reply, Request, Spawn};
use init::Init;
use signals::Exits;

/// The word that asks for a PID namespace.
pub(crate) const NAMESPACE: &str = "--namespace";

/// Where the guard finds the socket to its supervisor.
const SOCKET: BorrowedFd<'static> = rustix::stdio::stdin();

/// Runs the guard until its supervisor is gone and nothing is left of the command.
pub(crate) fn run(wants_namespace: bool) -> u8 {
    // Somebody may have stopped this process when its supervisor is killed: then it runs again. First of all, because they may do
    // it now.
    let _ = set_parent_process_death_signal(Some(Signal::CONT));
    let is_socket =
        fstat(SOCKET).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Socket);
    if !is_socket {
        let _ = writeln!(
            io::stderr(),
            "error: `agent hold` is started by `agent run`, and is of no use without it"
        );
        return exit::USAGE;
    }
    match Hold::begin(wants_namespace) {
        Ok(mut hold) => {
            hold.serve();
            hold.end_everything();
            exit::OK
        }
        // The supervisor was told why.
        Err(_) => exit::FAILED,
    }
}

/// The guard's state.
struct Hold {
    socket: UnixStream,
    exits: Exits,
    init: Option<Init>,
    /// The commands that run, by pid.
    commands: HashMap<i32, Command>,
    /// The cgroup of the life, where it has one.
    cgroup: Option<PathBuf>,
    /// Its ledger, once there is one.
    ledger: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
struct Command {
    run: u32,
    leads_group: bool,
}

impl Hold {
    fn begin(wants_namespace: bool) -> io::Result<Self> {
        let socket = UnixStream::from(SOCKET.try_clone_to_owned()?);
        let exits = Exits::begin()?;
        let refuse = |error: io::Error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let _ = Reply::Ready(-errno).write(&socket);
            error
        };
        set_child_subreaper(Some(getpid())).map_err(io::Error::from).map_err(refuse)?;
        let init = if wants_namespace { Some(Init::start().map_err(refuse)?) } else { None };
        // A command of the same user cannot trace it. Only now: a process that may not be traced cannot write its own id maps.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let pid = init.as_ref().map_or(0, |init| init.pid().as_raw_nonzero().get());
        Reply::Ready(pid).write(&socket)?;
        Ok(Self { socket, exits, init, commands: HashMap::new(), cgroup: None, ledger: None })
    }

    /// Does what the supervisor asks, until it is gone.
    fn serve(&mut self) {
        loop {
            let mut waited =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.exits, PollFlags::IN)];
            if poll(&mut waited, None).is_err() {
                continue;
            }
            let (is_asked, has_exit) = (!waited[0].revents().is_empty(), !waited[1].revents().is_empty());
            if has_exit && self.take_exits().is_err() {
                return;
            }
            if is_asked {
                let answered =
                    Request::read(&self.socket).and_then(|(request, files)| self.answer(request, &files));
                // It is gone, or it does not speak this language: both end what it has started.
                if answered.is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: Request, files: &[OwnedFd]) -> io::Result<()> {
        match request {
            Request::Spawn(spawn) => self.spawn(&spawn, files),
            Request::Signal { run, signal } => {
                self.signal(run, signal);
                Ok(())
            }
            Request::Alone => {
                self.take_exits()?;
                Reply::Alone(self.is_alone()).write(&self.socket)
            }
            Request::Life { cgroup, ledger } => {
                let some = |path: PathBuf| (!path.as_os_str().is_empty()).then_some(path);
                (self.cgroup, self.ledger) = (some(cgroup), some(ledger));
                Ok(())
            }
        }
    }

    fn spawn(&mut self, spawn: &Spawn, files: &[OwnedFd]) -> io::Result<()> {
        let reply = match launch::start(spawn, files) {
            Ok(pid) => {
                self.commands.insert(pid, Command { run: spawn.run, leads_group: spawn.group.is_none() });
                Reply::Spawned { run: spawn.run, pid }
            }
            Err(error) => {
                Reply::NotSpawned { run: spawn.run, errno: error.raw_os_error().unwrap_or(libc::EIO) }
            }
        };
        reply.write(&self.socket)
    }

    /// The command has not been waited for as long as it is in the list, so its number is still its own.
    fn signal(&self, run: u32, signal: i32) {
        let Some((pid, command)) = self.commands.iter().find(|(_, command)| command.run == run) else {
            return;
        };
        let (Some(pid), Some(signal)) = (Pid::from_raw(*pid), Signal::from_named_raw(signal)) else { return };
        // It may have ended by now.
        let _ = if command.leads_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }

    /// Waits for all children that have ended, and tells of those that were commands.
    fn take_exits(&mut self) -> io::Result<()> {
        self.exits.clear();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if self.init.as_ref().is_some_and(|init| init.pid().as_raw_nonzero().get() == pid) {
                // The kernel has ended the whole namespace with it.
                self.init = None;
                return Err(io::Error::other("the namespace has ended"));
            }
            if let Some(command) = self.commands.remove(&pid) {
                Reply::Exited { run: command.run, status: status.as_raw() }.write(&self.socket)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is left of all that was started here.
    fn is_alone(&self) -> bool {
        match &self.init {
            Some(init) => self.commands.is_empty() && init.is_alone(),
            None => has_no_child(),
        }
    }
}
