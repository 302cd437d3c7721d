//! GET, and nothing else, from a server on this machine.
//!
//! HTTP/1.0, so that the answer is its headers, its body and the end of the connection: no library is needed for that.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// Status and body.
///
/// # Errors
/// When nobody answers at `address` (`127.0.0.1:9464`) in time, or not in HTTP.
pub(crate) fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("{address} does not answer"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{address} did not finish its answer"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer is not HTTP")?;
    Ok((status, body.to_owned()))
}

/// A text as a part of a query: `a="b"` is `a%3D%22b%22`.
pub(crate) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;

    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_means_something_in_an_address_is_escaped() {
        assert_eq!(super::escaped("a{b=\"ü +&\"}"), "a%7Bb%3D%22%C3%BC%20%2B%26%22%7D");
    }
}
