//! `sweeper ready`: the question of a health check, for containers without another program that could ask it.
//!
//! It asks `/readyz` of the sweeper on this machine, at the address that the settings give to both.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::print_stdout;
use ureq::Agent;

/// Longest wait for the whole answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes. A sweeper's is shorter.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Prints the answer of the sweeper at `listen`. Exit code 0 if it finds orphans.
///
/// # Errors
/// Exit code 1 when no server answers there, or one that is no sweeper.
pub fn ask(listen: SocketAddr) -> anyhow::Result<u8> {
    let address = reachable(listen);
    let failed = |problem: String| {
        let advice = "is `sweeper run` at work here, with this http.listen?";
        Failure::new(exit::FAILED, format!("no sweeper answers at {address}: {problem}; {advice}"))
    };
    let (ready, body) = get_readyz(address).map_err(|error| failed(problem(&error)))?;
    print_stdout(&body)?;
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

/// Whether the status is 200, and the body.
fn get_readyz(address: SocketAddr) -> Result<(bool, String), ureq::Error> {
    // A proxy named in the environment is not meant for this machine's sweeper. And 503 is an answer, not an error.
    let config = Agent::config_builder().proxy(None).max_redirects(0).http_status_as_error(false);
    let agent = Agent::new_with_config(config.timeout_global(Some(TIMEOUT)).build());
    let mut answer = agent.get(format!("http://{address}/readyz")).call()?;
    let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).lossy_utf8(true).read_to_string()?;
    Ok((answer.status() == 200, body))
}

fn problem(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        ureq::Error::Protocol(_) => "what answers is no HTTP server".into(),
        // A Redis closes the connection at the word `Host:`, without an answer.
        ureq::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "what answers is no HTTP server".into()
        }
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// What is made of this answer, whatever is asked.
    fn asked(answer: &'static str) -> Result<(bool, String), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of the question is taken in: closing with some of it left would reset the connection.
            let mut question = BufReader::new(stream.try_clone().unwrap()).lines();
            while question.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let read = get_readyz(address).map_err(|error| problem(&error));
        server.join().unwrap();
        read
    }

    #[test]
    fn an_answer_is_ready_or_says_why_not() {
        assert_eq!(asked("HTTP/1.0 200 OK\r\na: b\r\n\r\nok\n"), Ok((true, "ok\n".into())));
        let not = "HTTP/1.1 503 Service Unavailable\r\n\r\nno pass was made yet\n";
        assert_eq!(asked(not), Ok((false, "no pass was made yet\n".into())));
        let redis = asked("-ERR unknown command 'GET'\r\n");
        assert_eq!(redis, Err("what answers is no HTTP server".into()));
    }

    #[test]
    fn one_that_listens_everywhere_is_asked_on_this_machine() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reached("[::]:9464"), "[::1]:9464");
        assert_eq!(reached("10.1.2.3:80"), "10.1.2.3:80");
    }
}
