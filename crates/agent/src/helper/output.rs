//! The command's standard output on its way to the client, byte for byte. Only to see whether there is any: without `--idle`
//! the command writes to the client itself.

use std::io::{self, PipeReader, PipeWriter, Read as _};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};
use tokio::sync::oneshot;

use super::traffic::{CHUNK, Traffic};

/// The output on its way.
#[derive(Debug)]
pub(super) struct Output {
    end: oneshot::Receiver<()>,
}

impl Output {
    /// Passes on what is written into the pipe whose end is returned beside it.
    ///
    /// # Errors
    /// When the system gives no pipe or no thread.
    pub(super) fn begin(traffic: Traffic) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("output".into()).spawn(move || {
            pass_on(reader, &traffic);
            let _ = ended.send(());
        })?;
        Ok((Self { end }, writer))
    }

    /// Resolves once all of it was passed on, or the client is gone.
    pub(super) async fn passed_on(self) {
        let _ = self.end.await;
    }
}

/// Until nobody can write any more, or the client has gone: then the command's next write fails, as it would without us.
fn pass_on(mut from: PipeReader, traffic: &Traffic) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                traffic.note();
                if write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Past the standard library's buffer, which waits for the end of a line.
fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match write(stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // The client may have made its end one that does not block, and ours is the same.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
