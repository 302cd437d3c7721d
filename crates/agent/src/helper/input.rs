//! The helper's standard input on its way to the command, byte for byte, and its end.
//!
//! It is the end of a pipe whose other end is the client's. The kernel closes it however the client ends, so its end means
//! that nobody speaks to the helper any more. It is noticed even while the command does not read.

use std::io::{self, PipeReader, PipeWriter};
use std::ops::Range;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use tokio::sync::oneshot;

use super::traffic::{CHUNK, Traffic};

/// The input on its way.
#[derive(Debug)]
pub(super) struct Input {
    end: oneshot::Receiver<()>,
}

impl Input {
    /// Passes standard input on from now on. The command's end of the pipe is returned beside it.
    ///
    /// # Errors
    /// When the system gives no pipe or no thread.
    pub(super) fn begin(traffic: Traffic) -> io::Result<(Self, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        // Only this end: the command's is its own, and blocks as it expects.
        ioctl_fionbio(&writer, true)?;
        let (ended, end) = oneshot::channel();
        let pump =
            Pump { to: Some(writer), ended: Some(ended), traffic, buffer: vec![0; CHUNK], waiting: 0..0 };
        // A thread, because standard input may be a file, for which the runtime cannot wait. It ends with the process.
        std::thread::Builder::new().name("input".into()).spawn(|| pump.run())?;
        Ok((Self { end }, reader))
    }

    /// Resolves once nobody can write to standard input any more.
    pub(super) async fn ended(self) {
        // A pump that is gone without a word passes nothing on either.
        let _ = self.end.await;
    }
}

struct Pump {
    /// The command's input; `None` once the command has closed it.
    to: Option<PipeWriter>,
    /// Told at the end, once.
    ended: Option<oneshot::Sender<()>>,
    traffic: Traffic,
    buffer: Vec<u8>,
    /// What was read and not yet written.
    waiting: Range<usize>,
}

impl Pump {
    fn run(mut self) {
        while !matches!(self.step(), Ok(false)) {}
        // First the command's input, then word of it: the command has its moment from now on.
        drop(self.to.take());
        self.tell_end();
    }

    /// One move; `false` once everything has been passed on. Errors that pass do not come out.
    fn step(&mut self) -> Result<bool, Errno> {
        let moved = if self.waiting.is_empty() { self.take_in() } else { self.pass_on() };
        match moved {
            Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => {
                self.wait();
                Ok(true)
            }
            // Of standard input: it cannot be read any more, which is its end.
            Err(_) => Ok(false),
            moved => moved,
        }
    }

    fn take_in(&mut self) -> Result<bool, Errno> {
        let read = read(rustix::stdio::stdin(), &mut self.buffer)?;
        if read == 0 {
            return Ok(false);
        }
        self.traffic.note();
        self.waiting = 0..read;
        Ok(true)
    }

    fn pass_on(&mut self) -> Result<bool, Errno> {
        let waiting = &self.buffer[self.waiting.clone()];
        // A command that has closed its input does not want the rest. It is read all the same, or its end would not come.
        let written = self.to.as_ref().map_or(Ok(waiting.len()), |to| write(to, waiting));
        match written {
            Ok(written) => self.waiting.start += written,
            Err(Errno::PIPE) => self.to = None,
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Waits until there is something to do; for the command to read, also until the client is gone.
    fn wait(&mut self) {
        let stdin = rustix::stdio::stdin();
        let hung_up = match (&self.to, self.waiting.is_empty()) {
            (_, true) => {
                let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
                false
            }
            (Some(to), false) if self.ended.is_some() => {
                let mut waited = [PollFd::new(&stdin, PollFlags::empty()), PollFd::new(to, PollFlags::OUT)];
                poll(&mut waited, None).is_ok()
                    && waited[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
            }
            // The client is known to be gone. What it left is for the command to read.
            (Some(to), false) => {
                let _ = poll(&mut [PollFd::new(to, PollFlags::OUT)], None);
                false
            }
            (None, false) => false,
        };
        if hung_up {
            self.tell_end();
        }
    }

    fn tell_end(&mut self) {
        if let Some(ended) = self.ended.take() {
            // Nobody waits for it once the command has ended.
            let _ = ended.send(());
        }
    }
}
