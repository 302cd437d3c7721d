//! What supervisor and guard say to each other. Both are the same program, so there is one version of it.
//!
//! A request is a length (`u32`, little-endian), with the descriptors that belong to it, and then so many bytes. A reply is 12
//! bytes: what it is, of which run, and a number.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Most descriptors that come with one request: input, output, errors, and the folder of a cgroup.
pub(crate) const MOST_FILES: usize = 4;
/// Longest request in bytes. Linux passes on no longer arguments and environment together than a quarter of the stack.
const LONGEST: u32 = 64 << 20;
/// Length of a reply in bytes.
pub(crate) const REPLY: usize = 12;

/// What a supervisor asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Start a command. Its input, output and errors come with it, and the folder of the cgroup that it is born in.
    Spawn(Spawn),
    /// Send this signal to a command and its process group.
    Signal { run: u32, signal: i32 },
    /// Tell whether nothing is left of all that was started.
    Alone,
    /// What else there is of the life that has begun, to be removed once nothing is left of it. Empty paths are of nothing.
    Life {
        /// The folder of its cgroup.
        cgroup: PathBuf,
        /// Its ledger.
        ledger: PathBuf,
    },
}

/// A command to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spawn {
    /// Its number, by which it is called later.
    pub(crate) run: u32,
    /// The process group that it is to join; `None` for one of its own.
    pub(crate) group: Option<i32>,
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// Its whole environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// What a guard answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It holds: the pid of the namespace's first process, 0 without a namespace; or below 0 the error for which it does not.
    Ready(i32),
    Spawned {
        run: u32,
        pid: i32,
    },
    NotSpawned {
        run: u32,
        errno: i32,
    },
    /// A command has ended, with this status as of wait(2).
    Exited {
        run: u32,
        status: i32,
    },
    Alone(bool),
}

impl Request {
    /// The bytes after the length.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Spawn(spawn) => {
                let mut body = vec![0];
                body.extend(spawn.run.to_le_bytes());
                body.extend(spawn.group.unwrap_or(0).to_le_bytes());
                body.extend(u32::try_from(spawn.words.len()).unwrap_or(u32::MAX).to_le_bytes());
                spawn.words.iter().for_each(|word| put(&mut body, word));
                for (name, value) in &spawn.environment {
                    put(&mut body, name);
                    put(&mut body, value);
                }
                body
            }
            Self::Signal { run, signal } => {
                let mut body = vec![1];
                body.extend(run.to_le_bytes());
                body.extend(signal.to_le_bytes());
                body
            }
            Self::Alone => vec![2],
            Self::Life { cgroup, ledger } => {
                let mut body = vec![3];
                put(&mut body, cgroup.as_os_str());
                put(&mut body, ledger.as_os_str());
                body
            }
        }
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = Rest(body.get(1..)?);
        match body[0] {
            0 => {
                let (run, group, words) = (rest.number()?, rest.number()? as i32, rest.number()?);
                let words = (0..words).map(|_| rest.text()).collect::<Option<_>>()?;
                let mut environment = Vec::new();
                while !rest.0.is_empty() {
                    environment.push((rest.text()?, rest.text()?));
                }
                Some(Self::Spawn(Spawn { run, group: (group != 0).then_some(group), words, environment }))
            }
            1 => Some(Self::Signal { run: rest.number()?, signal: rest.number()? as i32 }),
            2 => Some(Self::Alone),
            3 => Some(Self::Life { cgroup: rest.text()?.into(), ledger: rest.text()?.into() }),
            _ => None,
        }
    }

    /// Reads one from a socket that waits.
    ///
    /// # Errors
    /// When the other side is gone, or says something else.
    pub(crate) fn read(mut socket: &UnixStream) -> io::Result<(Self, Vec<OwnedFd>)> {
        let mut length = [0; 4];
        let mut files = Vec::new();
        let got = receive(socket, &mut length, &mut files)?;
        socket.read_exact(&mut length[got..])?;
        let length = u32::from_le_bytes(length);
        if length == 0 || length > LONGEST {
            return Err(io::Error::other("no request"));
        }
        let mut body = vec![0; length as usize];
        socket.read_exact(&mut body)?;
        let request = Self::decode(&body).ok_or_else(|| io::Error::other("no request"))?;
        Ok((request, files))
    }
}

fn receive(socket: impl AsFd, bytes: &mut [u8], files: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    match got.bytes {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        some => Ok(some),
    }
}

impl Reply {
    /// Writes it to a socket that waits.
    ///
    /// # Errors
    /// When the other side is gone.
    pub(crate) fn write(self, mut socket: &UnixStream) -> io::Result<()> {
        socket.write_all(&self.encode())
    }

    fn encode(self) -> [u8; REPLY] {
        let (kind, run, value): (u32, u32, i32) = match self {
            Self::Ready(value) => (0, 0, value),
            Self::Spawned { run, pid } => (1, run, pid),
            Self::NotSpawned { run, errno } => (2, run, errno),
            Self::Exited { run, status } => (3, run, status),
            Self::Alone(is_alone) => (4, 0, i32::from(is_alone)),
        };
        let mut bytes = [0; REPLY];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&run.to_le_bytes());
        bytes[8..].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    /// `None` for bytes that are no reply.
    pub(crate) fn decode(bytes: &[u8; REPLY]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let (kind, run, value) = (rest.number()?, rest.number()?, rest.number()? as i32);
        Some(match kind {
            0 => Self::Ready(value),
            1 => Self::Spawned { run, pid: value },
            2 => Self::NotSpawned { run, errno: value },
            3 => Self::Exited { run, status: value },
            4 => Self::Alone(value != 0),
            _ => return None,
        })
    }
}

fn put(body: &mut Vec<u8>, text: &OsStr) {
    body.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend(text.as_bytes());
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<OsString> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(OsString::from_vec(text.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_are_read_as_they_were_written_and_cut_ones_are_refused() {
        let spawn = Spawn {
            run: 7,
            group: Some(-3),
            words: vec!["sh".into(), "".into(), OsString::from_vec(vec![0xff, b'a'])],
            environment: vec![("A".into(), "b=c".into()), ("EMPTY".into(), "".into())],
        };
        let own_group = Spawn { group: None, environment: Vec::new(), ..spawn.clone() };
        for request in [
            Request::Spawn(spawn),
            Request::Spawn(own_group),
            Request::Signal { run: u32::MAX, signal: 15 },
            Request::Alone,
            Request::Life { cgroup: "/sys/fs/cgroup/x".into(), ledger: "/run/x".into() },
        ] {
            let body = request.encode();
            assert_eq!(Request::decode(&body), Some(request.clone()));
            if body.len() > 1 {
                assert_eq!(Request::decode(&body[..body.len() - 1]), None, "{request:?}");
            }
        }
        for reply in [
            Reply::Ready(-1),
            Reply::Spawned { run: 1, pid: 2 },
            Reply::NotSpawned { run: 1, errno: 2 },
            Reply::Exited { run: 9, status: 0x0100 },
            Reply::Alone(true),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
        assert_eq!((Request::decode(&[]), Request::decode(&[9])), (None, None));
    }
}
