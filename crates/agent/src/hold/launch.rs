//! Starts one command. It is born in its cgroup (`CLONE_INTO_CGROUP`, clone(2)): moving a process that is there already takes the
//! kernel some 6 ms, in which nothing else on the machine can fork.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io::{self, PipeWriter, Read as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use rustix::process::{Pid, setpgid};

use super::frames::Spawn;
use super::signals::unblock;

/// How much sooner than its supervisor a command is ended by the kernel when memory is short, of 1000 (proc(5),
/// `oom_score_adj`). The supervisor is what knows of the tasks, and it uses little.
const SOONER: i32 = 500;
/// clone(2); that of `libc` is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;
/// Where programs are looked for without a PATH, as execvp(3) does.
const USUAL_PATH: &str = "/bin:/usr/bin";
/// What runs a file that is executable and says nothing of how (execvp(3)).
const SHELL: &CStr = c"/bin/sh";

/// Starts it with these files as its input, output and errors, and returns its pid. A fourth is the folder of its cgroup.
///
/// # Errors
/// Those of the system, by their number.
pub(super) fn start(spawn: &Spawn, files: &[OwnedFd]) -> io::Result<i32> {
    let [input, output, errors, rest @ ..] = files else { return Err(errno(libc::EBADF)) };
    let image = Image::of(spawn)?;
    let (mut problem, tell) = io::pipe()?;
    let child = Child {
        image: &image,
        files: [input.as_raw_fd(), output.as_raw_fd(), errors.as_raw_fd()],
        leads_group: spawn.group.is_none(),
        score: CString::new(raised_score())?,
        tell: &tell,
    };
    let cgroup = rest.first().map(AsRawFd::as_raw_fd);
    let pid = match spawn.group {
        None => child.begin(cgroup)?,
        // Inherited: a process in another PID namespace cannot name a group of ours.
        Some(group) => in_group(group, || child.begin(cgroup))?,
    };
    drop(tell);
    let mut number = [0; 4];
    match problem.read_exact(&mut number) {
        // It closed the pipe by becoming the program.
        Err(_) => Ok(pid),
        // It has ended, and is waited for like all others.
        Ok(()) => Err(errno(i32::from_le_bytes(number))),
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
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

/// What a process becomes, as execve(2) wants it: made before there is the process, which may not allocate.
struct Image {
    /// Where the program may be.
    paths: Vec<CString>,
    words: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    fn of(spawn: &Spawn) -> io::Result<Self> {
        let program = spawn.words.first().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| errno(libc::ENOENT))?;
        // Of a name that is there twice, the later value counts.
        let path = spawn.environment.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value);
        let folders = path.map_or(OsStr::new(USUAL_PATH), |path| path.as_os_str());
        let environment =
            spawn.environment.iter().enumerate().filter(|(at, (name, _))| {
                !spawn.environment[at + 1..].iter().any(|(later, _)| later == name)
            });
        Ok(Self {
            paths: candidates(program, folders)?,
            words: spawn.words.iter().map(|word| text(word.as_bytes())).collect::<io::Result<_>>()?,
            environment: environment
                .map(|(_, (name, value))| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
                .collect::<io::Result<_>>()?,
        })
    }
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| errno(libc::EINVAL))
}

/// execvp(3): a name with a slash is a path, any other is looked for in the folders.
fn candidates(program: &OsString, folders: &OsStr) -> io::Result<Vec<CString>> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![text(program.as_bytes())?]);
    }
    let folders = folders.as_bytes().split(|byte| *byte == b':');
    let within = folders.map(|folder| match folder {
        // An empty one is the current folder.
        b"" => text(program.as_bytes()),
        folder => text(&[folder, b"/", program.as_bytes()].concat()),
    });
    within.collect()
}

/// A process between its birth and its becoming the program.
struct Child<'a> {
    image: &'a Image,
    files: [RawFd; 3],
    leads_group: bool,
    score: CString,
    tell: &'a PipeWriter,
}

impl Child<'_> {
    /// Returns in the parent only.
    fn begin(&self, cgroup: Option<RawFd>) -> io::Result<i32> {
        let words = pointers(&self.image.words, 1);
        let environment = pointers(&self.image.environment, 0);
        let (pid, joins) = match cgroup.map(born_in) {
            // Containers may hide the system call.
            Some(Err(error)) if error.raw_os_error() == Some(libc::ENOSYS) => (fork()?, cgroup),
            Some(born) => (born?, None),
            None => (fork()?, None),
        };
        if pid == 0 { self.become_it(joins, &words, &environment) } else { Ok(pid) }
    }

    fn become_it(
        &self,
        joins: Option<RawFd>,
        words: &[*const libc::c_char],
        environment: &[*const libc::c_char],
    ) -> ! {
        // SAFETY: system calls with numbers, and with texts that live until the end of this process.
        unsafe {
            unblock();
            if let Some(folder) = joins {
                let members =
                    libc::openat(folder, c"cgroup.procs".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if libc::write(members, c"0".as_ptr().cast(), 1) != 1 {
                    self.fail(*libc::__errno_location());
                }
            }
            // Rust ignores it, and what is ignored is inherited.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            if self.leads_group {
                libc::setpgid(0, 0);
            }
            let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            // Where it cannot be raised, the kernel chooses by size alone.
            libc::write(score, self.score.as_ptr().cast(), self.score.count_bytes());
            for (to, from) in self.files.iter().enumerate() {
                if libc::dup2(*from, to as i32) < 0 {
                    self.fail(*libc::__errno_location());
                }
            }
            self.fail(self.try_all(words, environment))
        }
    }

    /// Returns only if none of them is a program.
    ///
    /// # Safety
    /// The pointers end in null, and what they point at lives.
    unsafe fn try_all(&self, words: &[*const libc::c_char], environment: &[*const libc::c_char]) -> i32 {
        let mut found = libc::ENOENT;
        for path in &self.image.paths {
            // SAFETY: as the caller promises. `words` begins with room for a shell's name.
            unsafe {
                libc::execve(path.as_ptr(), words[1..].as_ptr(), environment.as_ptr());
                match *libc::__errno_location() {
                    libc::ENOENT | libc::ENOTDIR => {}
                    libc::ENOEXEC => {
                        let words = words.as_ptr().cast_mut();
                        // A copy that nobody else sees, because memory is not shared.
                        *words = SHELL.as_ptr();
                        *words.add(1) = path.as_ptr();
                        libc::execve(SHELL.as_ptr(), words, environment.as_ptr());
                        return libc::ENOEXEC;
                    }
                    // Another folder may have it.
                    libc::EACCES => found = libc::EACCES,
                    other => return other,
                }
            }
        }
        found
    }

    fn fail(&self, number: i32) -> ! {
        let number = number.to_le_bytes();
        // SAFETY: a system call, and the end of this process without anything of Rust's or C's.
        unsafe {
            libc::write(self.tell.as_raw_fd(), number.as_ptr().cast(), number.len());
            libc::_exit(127)
        }
    }
}

/// 0 in the child, which is in this cgroup from its first moment.
fn born_in(folder: RawFd) -> io::Result<i32> {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut how = unsafe { std::mem::zeroed::<libc::clone_args>() };
    how.exit_signal = libc::SIGCHLD as u64;
    how.flags = CLONE_INTO_CGROUP;
    how.cgroup = folder as u64;
    // SAFETY: this process has one thread, and the new one shares no memory with it: it is as after fork(2), and until
    // execve makes system calls only.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut how, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        pid => i32::try_from(pid).map_err(|_| errno(libc::EIO)),
    }
}

/// 0 in the child.
fn fork() -> io::Result<i32> {
    // SAFETY: as above.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// Pointers to these texts with a null behind them, and so many before.
fn pointers(texts: &[CString], before: usize) -> Vec<*const libc::c_char> {
    let room = std::iter::repeat_n(ptr::null(), before);
    room.chain(texts.iter().map(|text| text.as_ptr())).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_a_shell_does() {
        let found = |program: &str, folders: &str| {
            let found = candidates(&program.into(), OsStr::new(folders)).unwrap();
            found.into_iter().map(|path| path.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("./a", "/bin"), "./a");
        assert_eq!(found("a", "/bin::/usr/bin/"), "/bin/a a /usr/bin//a");
    }

    #[test]
    fn of_a_variable_that_is_there_twice_the_later_value_counts() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let environment = vec![pair("A", "1"), pair("PATH", "/x"), pair("A", "2"), pair("PATH", "/y")];
        let spawn = Spawn { run: 1, group: None, words: vec!["a".into()], environment };
        let image = Image::of(&spawn).unwrap();
        assert_eq!(image.environment, [c"A=2".into(), CString::from(c"PATH=/y")]);
        assert_eq!(image.paths, [CString::from(c"/y/a")]);
        assert!(Image::of(&Spawn { words: vec!["a\0b".into()], ..spawn }).is_err());
    }
}
