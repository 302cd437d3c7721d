//! The PID namespace of a command, and its first process. The kernel ends every process of a namespace with its first one,
//! whatever they did to get away; and that one ends with the guard, and with the supervisor.
//!
//! ```text
//!   guard     unshare: a user namespace (unless root), PID and mount namespaces
//!     └ init  PDEATHSIG, its own /proc; waits for orphans; ends when guard or supervisor do
//! ```
//!
//! Commands are children of the guard, and live in the namespace: pid_namespaces(7). PDEATHSIG is of the thread that
//! starts a process (prctl(2)), and the guard has one thread for all its life.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getegid, geteuid, kill_process, set_dumpable_behavior,
    set_parent_process_death_signal, wait,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::ending::LAST_WORDS;
use super::signals::Exits;

/// How long it may take to answer; it has nothing else to do.
const ANSWER: Duration = Duration::from_secs(1);
/// What the guard asks of it.
const ALONE: u8 = b'a';
const TERMINATE: u8 = b't';

/// The namespace's first process, as the guard sees it.
#[derive(Debug)]
pub(super) struct Init {
    pid: Pid,
    control: UnixStream,
    /// Whether it once did not answer in time: somebody has stopped it. A late answer would be taken for another one.
    is_silent: Cell<bool>,
}

impl Init {
    /// Makes the namespace. From then on all children of this process are in it.
    ///
    /// # Errors
    /// When the system does not allow it, or it cannot have its own `/proc`. This process is of no use any more then.
    pub(super) fn start() -> io::Result<Self> {
        if !geteuid().is_root() {
            own_user_namespace()?;
        }
        // SAFETY: no descriptor is shared with a thread, because there is none.
        unsafe { unshare_unsafe(UnshareFlags::NEWPID | UnshareFlags::NEWNS) }?;
        // What others mount is still seen here; what is mounted here is not seen there.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        let (control, theirs) = UnixStream::pair()?;
        // SAFETY: this process has one thread, so the child may do whatever its parent may.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(control);
                std::process::exit(live(&theirs))
            }
            pid => {
                drop(theirs);
                let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))?;
                Self { pid, control, is_silent: Cell::new(false) }.once_ready()
            }
        }
    }

    fn once_ready(self) -> io::Result<Self> {
        self.control.set_read_timeout(Some(ANSWER))?;
        let mut errno = [0; 4];
        if let Err(error) = (&self.control).read_exact(&mut errno) {
            // Somebody has stopped it before it could do anything.
            self.kill();
            return Err(error);
        }
        match i32::from_le_bytes(errno) {
            0 => Ok(self),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it is the only process of its namespace. `false` if it does not say.
    pub(super) fn is_alone(&self) -> bool {
        if self.is_silent.get() {
            return false;
        }
        let mut answer = [0];
        let is_answered =
            (&self.control).write_all(&[ALONE]).is_ok() && (&self.control).read_exact(&mut answer).is_ok();
        self.is_silent.set(!is_answered);
        answer == [1]
    }

    /// Sends TERM to every other process of the namespace.
    pub(super) fn terminate_others(&self) {
        // If it is gone, they are.
        let _ = (&self.control).write_all(&[TERMINATE]);
    }

    /// Ends the namespace. It is over once this process was waited for.
    pub(super) fn kill(&self) {
        // It has not been waited for, so the pid is its own.
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// user_namespaces(7): a process may write one line for its own id.
fn own_user_namespace() -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// The life of the first process; returns its exit code.
fn live(mut control: &UnixStream) -> i32 {
    let ready = get_ready();
    let errno = match &ready {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    if control.write_all(&errno.to_le_bytes()).is_err() {
        return 1;
    }
    match ready {
        Ok(exits) => {
            serve(control, &exits);
            0
        }
        Err(_) => 1,
    }
}

fn get_ready() -> io::Result<Exits> {
    // Signals to everybody are to everybody in a namespace of our own, and nowhere else.
    if std::process::id() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // If the guard has ended before this, the socket says so.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Only the guard may have its socket, or the supervisor would not hear of its end.
    rustix::stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Exits::listen()
}

fn serve(control: &UnixStream, exits: &Exits) {
    let lifeline = rustix::stdio::stdout();
    loop {
        let mut waited = [
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(exits.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(lifeline, PollFlags::IN),
        ];
        if poll(&mut waited, None).is_err() {
            continue;
        }
        let [is_asked, _, is_orphan] = waited.map(|waited| !waited.revents().is_empty());
        wait_for_orphans(exits);
        if is_orphan {
            // The guard sees the same, but it may have been stopped.
            return give_last_words(exits);
        }
        if is_asked && !answer(control) {
            return;
        }
    }
}

/// `false` once the guard has ended; so does the namespace.
fn answer(mut control: &UnixStream) -> bool {
    let mut asked = [0];
    if !control.read(&mut asked).is_ok_and(|read| read == 1) {
        return false;
    }
    if asked == [ALONE] {
        return control.write_all(&[u8::from(is_last())]).is_ok();
    }
    signal_others(libc::SIGTERM);
    true
}

fn give_last_words(exits: &Exits) {
    signal_others(libc::SIGTERM);
    let until = Instant::now() + LAST_WORDS;
    while !is_last() && Instant::now() < until {
        let _ = poll(&mut [PollFd::new(exits, PollFlags::IN)], Some(&short(Duration::from_millis(5))));
        wait_for_orphans(exits);
    }
}

/// A span of less than a second, for `poll`.
pub(super) fn short(span: Duration) -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: span.subsec_nanos().into() }
}

fn wait_for_orphans(exits: &Exits) {
    exits.clear();
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// kill(2): -1 is every process of the namespace but this one; `ESRCH` where there is none.
fn is_last() -> bool {
    // SAFETY: no memory is involved.
    let found = unsafe { libc::kill(-1, 0) };
    found == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

fn signal_others(signal: i32) {
    // SAFETY: no memory is involved. A stopped process sees no TERM before it runs again.
    unsafe {
        libc::kill(-1, signal);
        libc::kill(-1, libc::SIGCONT);
    }
}
