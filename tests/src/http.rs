//! GET, and nothing else, from a server on this machine.
//!
//! HTTP/1.0, so that the answer is its headers, its body and the end of the connection: no library is needed for that.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Status and body.
///
/// # Errors
/// When nobody answers at `address` (`127.0.0.1:9464`), for longer than `patience` not, or not in HTTP and UTF-8.
pub fn get(address: &str, path: &str, patience: Duration) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("{address} does not answer"))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{address} did not finish its answer"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer is not HTTP")?;
    Ok((status, body.to_owned()))
}
