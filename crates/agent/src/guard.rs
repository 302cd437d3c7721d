//! The supervisor's side of its guard ([`crate::hold`]): starts it, and has it start commands.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_sdk::process::{ProcessId, Subreaper, signal_process};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::hold::NAMESPACE;
use crate::hold::frames::{MOST_FILES, REPLY, Reply, Request, Spawn};

/// How long a guard may take to be ready, and to end once it has nothing to hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// A guard, which lives as long as this.
#[derive(Debug)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
    /// The end of its lifeline: the kernel closes it however this process ends.
    lifeline: PipeWriter,
    process: ProcessId,
    child: std::process::Child,
    /// The first process of the command's PID namespace.
    init: Option<ProcessId>,
}

#[derive(Debug)]
struct Shared {
    socket: UnixStream,
    /// One request at a time, as each may take several writes.
    sending: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Set once the guard is gone.
    lost: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    next_run: u32,
    starting: HashMap<u32, oneshot::Sender<io::Result<i32>>>,
    running: HashMap<u32, watch::Sender<Option<ExitStatus>>>,
    asked_alone: Vec<oneshot::Sender<bool>>,
}

/// A command that the guard has started.
#[derive(Debug)]
pub(crate) struct HeldChild {
    shared: Arc<Shared>,
    run: u32,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// What a command is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) words: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) own_group: bool,
    /// Input, output, errors, and the folder of the cgroup that it is born in.
    pub(crate) files: Vec<OwnedFd>,
}

impl Guard {
    /// Starts a guard, in a way that tells it apart from what is to be ended.
    ///
    /// # Errors
    /// When the system does not allow it; with `namespace` also where it allows no PID namespace with its own `/proc`.
    pub(crate) async fn start(subreaper: &Subreaper, namespace: bool) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (end, lifeline) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("agent").arg("hold").args(namespace.then_some(NAMESPACE)).env_clear().process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(OwnedFd::from(end)));
        let (child, process) = subreaper.start(|| command.spawn(), |child| Some(child.id()))?;
        // It holds the other ends; here they would keep us from hearing of its end.
        drop(command);
        let process = process.ok_or_else(|| io::Error::other("the guard ended at once"))?;
        subreaper.spare(process);
        ours.set_nonblocking(true)?;
        let socket = UnixStream::from_std(ours)?;
        let ready = timeout(PATIENCE, first_reply(&socket, process))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let init = match ready {
            Ok(Reply::Ready(pid)) if pid >= 0 => u32::try_from(pid).ok().and_then(ProcessId::of),
            other => {
                discard(child, subreaper, process);
                return Err(match other {
                    Ok(Reply::Ready(errno)) => io::Error::from_raw_os_error(-errno),
                    Ok(_) => io::Error::other("the guard answered something else"),
                    Err(error) => error,
                });
            }
        };
        if let Some(init) = init {
            subreaper.spare(init);
        }
        let shared = Arc::new(Shared {
            socket,
            sending: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            lost: watch::channel(false).0,
        });
        tokio::spawn(listen(Arc::clone(&shared)));
        Ok(Self { shared, lifeline, process, child, init })
    }

    /// The guard's own process.
    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }

    /// The first process of the command's PID namespace, where it has one.
    pub(crate) fn init(&self) -> Option<ProcessId> {
        self.init
    }

    /// Has it start a command.
    ///
    /// # Errors
    /// Those of the system, as if it was started here; [`io::ErrorKind::BrokenPipe`] if the guard is gone.
    pub(crate) async fn spawn(&self, start: Start) -> io::Result<HeldChild> {
        let (started, answer) = oneshot::channel();
        let (tell, ended) = watch::channel(None);
        let run = {
            let mut state = self.shared.state();
            state.next_run += 1;
            let run = state.next_run;
            state.starting.insert(run, started);
            state.running.insert(run, tell);
            run
        };
        let group = (!start.own_group).then(|| rustix::process::getpgrp().as_raw_nonzero().get());
        let spawn = Spawn { run, group, words: start.words, environment: start.environment };
        let sent = self.shared.send(&Request::Spawn(spawn), &start.files).await;
        let answered = match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(gone())),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            self.shared.state().forget(run);
            return Err(error);
        }
        Ok(HeldChild { shared: Arc::clone(&self.shared), run, ended })
    }

    /// Whether nothing is left of all that it has started. `false` if it is gone, and cannot tell.
    pub(crate) async fn is_alone(&self) -> bool {
        let (tell, answer) = oneshot::channel();
        self.shared.state().asked_alone.push(tell);
        self.shared.send(&Request::Alone, &[]).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Tells it of the life's cgroup and ledger, which it removes once nothing is left of the life. Empty paths take that back.
    pub(crate) async fn tell_life(&self, cgroup: PathBuf, ledger: PathBuf) {
        // A guard that is gone is noticed by the command's end.
        let _ = self.shared.send(&Request::Life { cgroup, ledger }, &[]).await;
    }

    /// Lets it run again, should the command have stopped it. One that runs is not woken up.
    pub(crate) fn wake(&self) {
        let stopped = self.init.into_iter().chain([self.process]).filter(|process| process.is_stopped());
        stopped.for_each(|process| signal_process(process, Signal::CONT));
    }

    /// Has it end what is left, and waits for its own end.
    pub(crate) async fn dismiss(self) {
        self.wake();
        let Self { shared, lifeline, mut child, .. } = self;
        drop(lifeline);
        let _ = rustix::net::shutdown(&shared.socket, rustix::net::Shutdown::Write);
        let mut lost = shared.lost.subscribe();
        let _ = timeout(PATIENCE, lost.wait_for(|lost| *lost)).await;
        // It has closed its socket with its end, so this takes no time.
        let _ = child.try_wait();
    }
}

/// Ends a guard that cannot do what it is for.
fn discard(mut child: std::process::Child, subreaper: &Subreaper, process: ProcessId) {
    let _ = child.kill();
    let _ = child.wait();
    subreaper.forget(process);
}

impl HeldChild {
    /// Waits for its end. May be called again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let mut lost = self.shared.lost.subscribe();
        tokio::select! {
            biased;
            ended = self.ended.wait_for(Option::is_some) => {
                ended.ok().and_then(|ended| *ended).ok_or_else(gone)
            }
            _ = lost.wait_for(|lost| *lost) => Err(gone()),
        }
    }

    /// Signals its process group, if it leads one, or else the command alone.
    pub(crate) async fn signal(&self, signal: Signal) {
        // Without a guard the command has ended, or is about to be.
        let _ = self.shared.send(&Request::Signal { run: self.run, signal: signal.as_raw() }, &[]).await;
    }
}

impl Drop for HeldChild {
    fn drop(&mut self) {
        self.shared.state().forget(self.run);
    }
}

impl Shared {
    async fn send(&self, request: &Request, files: &[OwnedFd]) -> io::Result<()> {
        let body = request.encode();
        let length =
            u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::ArgumentListTooLong))?;
        let mut bytes = Vec::with_capacity(body.len() + 4);
        bytes.extend(length.to_le_bytes());
        bytes.extend(body);
        let _alone = self.sending.lock().await;
        let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        let (mut sent, mut files) = (0, files.as_slice());
        while sent < bytes.len() {
            self.socket.writable().await?;
            let some = || send_some(&self.socket, &bytes[sent..], files);
            match self.socket.try_io(Interest::WRITABLE, some) {
                Ok(some) => {
                    sent += some;
                    files = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half changed by a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_some(socket: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files for one command"));
    }
    // A guard that is gone is an error here, and no signal.
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

impl State {
    fn forget(&mut self, run: u32) {
        self.starting.remove(&run);
        self.running.remove(&run);
    }

    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Spawned { run, pid } => self.started(run, Ok(pid)),
            Reply::NotSpawned { run, errno } => self.started(run, Err(io::Error::from_raw_os_error(errno))),
            Reply::Exited { run, status } => {
                if let Some(tell) = self.running.remove(&run) {
                    tell.send_replace(Some(ExitStatus::from_raw(status)));
                }
            }
            Reply::Alone(is_alone) => {
                // In the order in which they asked.
                if !self.asked_alone.is_empty() {
                    let _ = self.asked_alone.remove(0).send(is_alone);
                }
            }
            Reply::Ready(_) => {}
        }
    }

    fn started(&mut self, run: u32, result: io::Result<i32>) {
        if let Some(tell) = self.starting.remove(&run) {
            // Whoever asked may have gone.
            let _ = tell.send(result);
        }
    }
}

async fn listen(shared: Arc<Shared>) {
    while let Ok(reply) = read(&shared.socket).await {
        shared.state().take(reply);
    }
    let mut state = shared.state();
    // Dropping what is waited for tells that no answer comes.
    state.starting.clear();
    state.asked_alone.clear();
    drop(state);
    shared.lost.send_replace(true);
}

/// Waits for a guard that has just been started. Whoever runs beside it may have stopped it.
async fn first_reply(socket: &UnixStream, guard: ProcessId) -> io::Result<Reply> {
    let reply = read(socket);
    tokio::pin!(reply);
    loop {
        tokio::select! {
            reply = &mut reply => return reply,
            () = sleep(PATIENCE / 10) => signal_process(guard, Signal::CONT),
        }
    }
}

async fn read(socket: &UnixStream) -> io::Result<Reply> {
    let (mut bytes, mut got) = ([0; REPLY], 0);
    while got < REPLY {
        socket.readable().await?;
        match socket.try_read(&mut bytes[got..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(some) => got += some,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Reply::decode(&bytes).ok_or_else(|| io::Error::other("no reply"))
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "its guard has ended")
}
