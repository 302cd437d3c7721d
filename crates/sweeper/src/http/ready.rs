//! `sweeper ready`: the question of a health check, for places without a program that could ask it.
//!
//! It asks `/readyz` of the sweeper on this machine, at the address that the settings give to both.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::print_stdout;

/// Longest wait for the connection, and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes: whoever says more is no sweeper.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Prints what the sweeper at `listen` says of itself; exit code 0 if orphans are being found.
///
/// # Errors
/// Exit code 1 when nobody answers there, or something else does.
pub fn ask(listen: SocketAddr) -> anyhow::Result<u8> {
    let address = reachable(listen);
    let failed = |problem: String| {
        let advice = "is `sweeper run` at work here, with this http.listen?";
        Failure::new(exit::FAILED, format!("no sweeper answers at {address}: {problem}; {advice}"))
    };
    let answer = get_readyz(address).map_err(|error| failed(error.to_string()))?;
    let (ready, body) = read(&answer).ok_or_else(|| failed("what answers is no HTTP server".into()))?;
    print_stdout(body)?;
    Ok(if ready { exit::OK } else { exit::FAILED })
}

/// A server that listens on every address is asked on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn get_readyz(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            std::io::Error::new(ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()))
        }
        _ => error,
    })?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether the status is 200, and the body.
fn read(answer: &str) -> Option<(bool, &str)> {
    let status = answer.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status == "200", body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_ready_or_says_why_not() {
        assert_eq!(read("HTTP/1.0 200 OK\r\na: b\r\n\r\nok\n"), Some((true, "ok\n")));
        let not = "HTTP/1.1 503 Service Unavailable\r\n\r\nno pass was made yet\n";
        assert_eq!(read(not), Some((false, "no pass was made yet\n")));
        assert_eq!(read("-ERR unknown command 'GET'\r\n"), None);
    }

    #[test]
    fn one_that_listens_everywhere_is_asked_on_this_machine() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reached("[::]:9464"), "[::1]:9464");
        assert_eq!(reached("10.1.2.3:80"), "10.1.2.3:80");
    }
}
