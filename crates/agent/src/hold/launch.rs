//! Starts one command.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, setpgid};

use super::frames::Spawn;
use super::signals::unblock;

/// How much sooner than its supervisor a command is ended by the kernel when memory is short, of 1000 (proc(5),
/// `oom_score_adj`). The supervisor is what knows of the tasks, and it uses little.
const SOONER: i32 = 500;

/// Starts it with these files as its input, output and errors, and returns its pid.
///
/// # Errors
/// Those of the system, by their number.
pub(super) fn start(spawn: &Spawn, files: Vec<OwnedFd>) -> io::Result<i32> {
    let mut files = files.into_iter();
    let (Some(input), Some(output), Some(errors)) = (files.next(), files.next(), files.next()) else {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    };
    let members = files.next();
    let (program, arguments) =
        spawn.words.split_first().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(spawn.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(input).stdout(output).stderr(errors);
    let score = raised_score();
    let prepare = move || {
        unblock();
        if let Some(members) = &members {
            rustix::io::write(members, b"0")?;
        }
        // Where it cannot be raised, the kernel chooses by size alone.
        if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty()) {
            let _ = rustix::io::write(&file, score.as_bytes());
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only, and neither allocates nor locks. This process has one thread.
    unsafe { command.pre_exec(prepare) };
    let child = match spawn.group {
        None => command.process_group(0).spawn(),
        // Inherited: a process in another PID namespace cannot name a group of ours.
        Some(group) => in_group(group, || command.spawn()),
    };
    // The child is waited for by its pid, with all others.
    i32::try_from(child?.id()).map_err(|_| io::Error::from_raw_os_error(libc::EIO))
}

/// At a terminal the command has to be in the group of its supervisor, which is the one that may read.
fn in_group<T>(group: i32, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    setpgid(None, Pid::from_raw(group))?;
    let started = start();
    // Back into a group of its own, which a signal to that one does not reach.
    let _ = setpgid(None, None);
    started
}

fn raised_score() -> String {
    let own = fs::read_to_string("/proc/thread-self/oom_score_adj").ok();
    let own = own.and_then(|score| score.trim().parse::<i32>().ok()).unwrap_or(0);
    (own + SOONER).min(1000).to_string()
}
