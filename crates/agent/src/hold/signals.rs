//! Signals of a process with one thread: all are blocked, and exits of children are read from a descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// Exits of children, to be waited for with `poll`.
#[derive(Debug)]
pub(super) struct Exits(OwnedFd);

impl Exits {
    /// Blocks every signal that can be blocked, and listens for exits. A command that is started has to [`unblock`] them.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn begin() -> io::Result<Self> {
        // SAFETY: the set is initialised by sigfillset before it is read, and outlives the calls.
        unsafe {
            let mut all = std::mem::zeroed::<libc::sigset_t>();
            libc::sigfillset(&raw mut all);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Self::listen()
    }

    /// The descriptor alone, in a process whose parent has blocked the signals.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn listen() -> io::Result<Self> {
        // SAFETY: the set is initialised before it is read; the descriptor that is returned belongs to nobody else.
        unsafe {
            let mut exits = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut exits);
            libc::sigaddset(&raw mut exits, libc::SIGCHLD);
            match libc::signalfd(-1, &raw const exits, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Self(OwnedFd::from_raw_fd(descriptor))),
            }
        }
    }

    /// Takes what was told so far. Whoever calls this looks at all children after it.
    pub(super) fn clear(&self) {
        let mut told = [0; 1024];
        while rustix::io::read(&self.0, &mut told).is_ok_and(|read| read > 0) {}
    }
}

/// Blocks nothing any more; between fork and exec of a command, which inherits what is blocked.
pub(super) fn unblock() {
    // SAFETY: as above; both calls are safe in a signal handler, and so between fork and exec.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

impl AsFd for Exits {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
