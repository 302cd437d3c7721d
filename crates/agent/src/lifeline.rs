//! The pipe from the coordinator. Its end means that the coordinator died.
//!
//! The coordinator holds the write end of our standard input. It writes one line, which tells how to reach the store (a
//! [`Handover`]), and nothing after that. The kernel closes the pipe however the coordinator ends, so we notice within
//! a moment and without a network. Then we stop, and bear witness: on this host a process can be *proven* gone, which
//! ends the coordinator's lease at once instead of minutes later.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use agent_sdk::Agent;
use agent_sdk::process::is_proven_gone;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::settings::Override;
use lifecycle_core::agent::lifeline::{Handover, MOST_BYTES};
use lifecycle_core::wire::ids::AgentId;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How long the first line may take. It is normally written before this process starts.
const HANDING_OVER: Duration = Duration::from_secs(10);

/// How long the coordinator's process may take to vanish after its pipe closed.
const VANISHING: Duration = Duration::from_secs(2);

/// Reads the first line. Its settings win over files and variables.
///
/// # Errors
/// When there is no such line. Nothing was started then.
pub(crate) fn handed_over() -> Result<Vec<Override>, Failure> {
    let refuse = |problem: &str| {
        Failure::new(
            exit::USAGE,
            format!("--lifeline: {problem}; it is for coordinators, leave it out otherwise"),
        )
    };
    let line = first_line().map_err(|error| refuse(&error.to_string()))?;
    let handed =
        Handover::parse(&line).ok_or_else(|| refuse("the first line does not say how to reach the store"))?;
    let setting = |setting, value| Override { flag: "--lifeline", setting, value };
    let password = handed.password.map(|password| setting("redis.password", password));
    Ok([setting("redis.url", handed.url)].into_iter().chain(password).collect())
}

/// Limited in length and time, so that a `--lifeline` started by hand does not wait for ever.
fn first_line() -> io::Result<Vec<u8>> {
    let began = Instant::now();
    let input = io::stdin();
    let mut line = Vec::new();
    while !line.contains(&b'\n') {
        let left = HANDING_OVER.saturating_sub(began.elapsed());
        let left = left.try_into().map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::Error::other("no line came over standard input"));
        }
        // Reads without the standard library's buffer, which would wait for more.
        let mut part = [0; MOST_BYTES];
        match rustix::io::read(&input, &mut part)? {
            0 => return Err(io::Error::other("standard input ended before its first line did")),
            read => line.extend_from_slice(&part[..read]),
        }
        if line.len() > MOST_BYTES {
            return Err(io::Error::other("the first line is too long"));
        }
    }
    Ok(line)
}

pub(crate) fn watch(agent: &Agent, parent: AgentId) {
    let (closed, end) = oneshot::channel();
    // This thread exists because a blocking read cannot be cancelled. It ends with the process.
    std::thread::spawn(move || {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        let _ = closed.send(());
    });
    let agent = agent.clone();
    tokio::spawn(async move {
        if end.await.is_ok() {
            agent.coordinator_is_gone();
            bear_witness(&agent, &parent).await;
        }
    });
}

/// Reports that the parent's process ended, if that can be proven. Several children may report it; it counts once.
pub(crate) async fn bear_witness(agent: &Agent, parent: &AgentId) {
    let Ok(Some(record)) = agent.store().record(parent.as_str()).await else { return };
    for _ in 0..VANISHING.as_millis() / 20 {
        if is_proven_gone(&record) {
            let store = agent.store();
            let host = store.host(agent.id().as_str());
            if let Err(error) = host.process_exited(parent.as_str(), record.incarnation, "gone").await {
                tracing::warn!(%parent, %error, "could not report that the coordinator is gone; its lease ends by itself");
            }
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
