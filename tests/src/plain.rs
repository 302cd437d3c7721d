//! An agent in some other language: RESP2 over TCP and nothing of ours.
//!
//! Tests use it to write what such an agent writes and to see what is really in the store. It shares no code
//! with the product, so a mistake in our client or in our key schema cannot hide from it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// One reply of the server, as RESP2 knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status such as `OK` or `PONG`.
    Simple(String),
    /// An error, with its code in front (`WRONGTYPE …`).
    Error(String),
    /// An integer.
    Int(i64),
    /// A string of any bytes.
    Bulk(Vec<u8>),
    /// No value: a nil string or a nil array.
    Nil,
    /// A list of replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// The reply as text; `None` for nil and for lists.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) | Self::Error(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Nil | Self::Array(_) => None,
        }
    }

    /// The text of every element of a list; nil elements are left out, and a reply that is no list has none.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Array(items) => items.iter().filter_map(Self::text).collect(),
            _ => Vec::new(),
        }
    }
}

/// A synchronous client with one connection.
#[derive(Debug)]
pub struct PlainClient {
    stream: BufReader<TcpStream>,
}

impl PlainClient {
    /// Connects to 127.0.0.1; every later wait is bounded by 10 s.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(port: u16) -> Result<Self> {
        Self::connect_within(port, DEFAULT_TIMEOUT)
    }

    /// Connects to 127.0.0.1 with `timeout` for the connection and for each reply.
    ///
    /// # Errors
    /// When nothing listens there or the connection is not made in time.
    pub fn connect_within(port: u16, timeout: Duration) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, timeout)
            .with_context(|| format!("no server could be reached at {address}"))?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and returns the server's reply, whatever it is: [`Reply::Error`] is a reply.
    ///
    /// # Errors
    /// When the connection fails or the reply does not come in time; the command may have run.
    pub fn command(&mut self, parts: &[&[u8]]) -> Result<Reply> {
        self.send(parts)?;
        self.receive()
    }

    /// Sends a command of text parts and returns the reply, with an error reply turned into an error.
    ///
    /// # Errors
    /// As [`command`](Self::command), and when the server refuses the command.
    pub fn run(&mut self, parts: &[&str]) -> Result<Reply> {
        let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        match self.command(&bytes)? {
            Reply::Error(error) => bail!("{} was refused: {error}", parts.join(" ")),
            reply => Ok(reply),
        }
    }

    /// The integer a command answers (`SCARD`, `EXISTS`, `PTTL` …).
    ///
    /// # Errors
    /// As [`run`](Self::run), and when the reply is no integer.
    pub fn int(&mut self, parts: &[&str]) -> Result<i64> {
        match self.run(parts)? {
            Reply::Int(number) => Ok(number),
            reply => bail!("{} answered {reply:?}, not an integer", parts.join(" ")),
        }
    }

    /// The text a command answers (`GET`, `HGET`, `TYPE` …), `None` for nil.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn text(&mut self, parts: &[&str]) -> Result<Option<String>> {
        Ok(self.run(parts)?.text())
    }

    /// The texts a command answers (`SMEMBERS`, `ZRANGE` …), sorted.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn texts(&mut self, parts: &[&str]) -> Result<Vec<String>> {
        let mut texts = self.run(parts)?.texts();
        texts.sort();
        Ok(texts)
    }

    /// The entries of a stream, newest first, by the names of their fields.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when the reply is no list of entries.
    pub fn entries(&mut self, stream: &str) -> Result<Vec<BTreeMap<String, String>>> {
        let reply = self.run(&["XREVRANGE", stream, "+", "-"])?;
        let Reply::Array(entries) = reply else { bail!("XREVRANGE {stream} answered {reply:?}") };
        entries.iter().map(fields).collect()
    }

    /// Whether `key` exists.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn exists(&mut self, key: &str) -> Result<bool> {
        Ok(self.int(&["EXISTS", key])? == 1)
    }

    /// Every key of the store, sorted.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn keys(&mut self) -> Result<Vec<String>> {
        self.texts(&["KEYS", "*"])
    }

    /// The server's clock in milliseconds since 1970: what to backdate heartbeats and leases from.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when the server's answer makes no sense.
    pub fn now_ms(&mut self) -> Result<i64> {
        let parts = self.run(&["TIME"])?.texts();
        let [seconds, micros] = parts.as_slice() else { bail!("TIME answered {parts:?}") };
        Ok(seconds.parse::<i64>()? * 1000 + micros.parse::<i64>()? / 1000)
    }

    /// Turns the connection into a listener on `channels`; returns when the server has confirmed all of them,
    /// so that nothing published afterwards is missed.
    ///
    /// # Errors
    /// When the connection fails or the server refuses.
    pub fn subscribe(mut self, channels: &[&str]) -> Result<Subscription> {
        let mut parts: Vec<&[u8]> = vec![b"SUBSCRIBE"];
        parts.extend(channels.iter().map(|channel| channel.as_bytes()));
        self.send(&parts)?;
        for channel in channels {
            if let Reply::Error(error) = self.receive()? {
                bail!("subscribing to {channel} was refused: {error}");
            }
        }
        Ok(Subscription { client: self })
    }

    fn send(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut request = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            request.extend_from_slice(part);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request).context("the server took no command")
    }

    fn receive(&mut self) -> Result<Reply> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).context("the server gave no reply")?;
        let Some(line) = line.strip_suffix(b"\r\n") else {
            bail!("the server closed the connection instead of replying");
        };
        let Some((kind, rest)) = line.split_first() else { bail!("the server sent an empty line") };
        let rest = String::from_utf8_lossy(rest).into_owned();
        match kind {
            b'+' => Ok(Reply::Simple(rest)),
            b'-' => Ok(Reply::Error(rest)),
            b':' => Ok(Reply::Int(rest.parse()?)),
            b'$' => self.receive_bulk(rest.parse()?),
            b'*' => self.receive_array(rest.parse()?),
            other => bail!("the server sent a reply of unknown type {:?}", char::from(*other)),
        }
    }

    fn receive_bulk(&mut self, length: i64) -> Result<Reply> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(Reply::Nil);
        };
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).context("the server's reply ended early")?;
        bytes.truncate(length);
        Ok(Reply::Bulk(bytes))
    }

    fn receive_array(&mut self, length: i64) -> Result<Reply> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(Reply::Nil);
        };
        (0..length).map(|_| self.receive()).collect::<Result<_>>().map(Reply::Array)
    }
}

/// The fields of an entry of a stream, which comes as its id and a list of names and values in turn.
fn fields(entry: &Reply) -> Result<BTreeMap<String, String>> {
    let words = match entry {
        Reply::Array(parts) => parts.get(1).map(Reply::texts),
        _ => None,
    };
    let words = words.with_context(|| format!("{entry:?} is no entry of a stream"))?;
    Ok(words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

/// A connection that listens to channels.
#[derive(Debug)]
pub struct Subscription {
    client: PlainClient,
}

impl Subscription {
    /// The next message as (channel, payload), or `None` when none comes within `timeout`.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<(String, Vec<u8>)>> {
        if !self.readable(timeout)? {
            return Ok(None);
        }
        match self.client.receive()? {
            Reply::Array(parts) => match <[Reply; 3]>::try_from(parts) {
                Ok([_, Reply::Bulk(channel), Reply::Bulk(payload)]) => {
                    Ok(Some((String::from_utf8_lossy(&channel).into_owned(), payload)))
                }
                other => bail!("expected a message, got {other:?}"),
            },
            other => bail!("expected a message, got {other:?}"),
        }
    }

    /// Waits for the first byte only, so that a timeout never leaves half a message behind.
    fn readable(&mut self, timeout: Duration) -> Result<bool> {
        let stream = &mut self.client.stream;
        let usual = stream.get_ref().read_timeout()?;
        // A zero timeout would be refused by the system as "for ever".
        stream.get_ref().set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let first = stream.fill_buf().map(|bytes| !bytes.is_empty());
        stream.get_ref().set_read_timeout(usual)?;
        match first {
            Ok(true) => Ok(true),
            Ok(false) => bail!("the server closed the subscription"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error).context("the subscription failed"),
        }
    }
}
