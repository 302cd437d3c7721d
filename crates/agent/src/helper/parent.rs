//! The agent that a helper helps: which one it is, and when its life is over.

use agent_sdk::Agent;
use agent_sdk::process::{LifeName, ProcessId, TOKEN_VARIABLE, is_proven_gone, process_here};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::wire::record::AgentRecord;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The life whose token is in the environment.
///
/// # Errors
/// When there is none. It says how to do without.
pub(super) fn of_environment() -> Result<LifeName, Failure> {
    let refuse = |problem: &str| {
        let how = "start it from an agent's command and hand LIFECYCLE_TOKEN on to it, or leave --with-parent out and give --id";
        Failure::new(exit::USAGE, format!("--with-parent: {problem}: {how}"))
    };
    let token = std::env::var_os(TOKEN_VARIABLE)
        .ok_or_else(|| refuse("no agent's token (LIFECYCLE_TOKEN) is in the environment"))?;
    token
        .to_str()
        .and_then(LifeName::of_token)
        .ok_or_else(|| refuse("LIFECYCLE_TOKEN in the environment is no agent's token, <id>:<incarnation>"))
}

/// The parent as it was when the helper began.
#[derive(Debug)]
pub(super) struct Parent {
    name: LifeName,
    /// Its record, unless the store did not tell.
    record: Option<AgentRecord>,
}

/// What can be said of the parent's life by the store.
enum Word {
    Lives(Box<AgentRecord>),
    /// It has ended, or another life has its id.
    Over,
    /// There is no record of its id.
    Missing,
    NoAnswer,
}

impl Parent {
    /// `None` if its life is over already.
    pub(super) async fn find(agent: &Agent, name: &LifeName) -> Option<Self> {
        let record = match word(agent, name).await {
            Word::Lives(record) => Some(*record),
            Word::NoAnswer => None,
            Word::Over | Word::Missing => return None,
        };
        Some(Self { name: name.clone(), record })
    }

    /// Whether its process is proven to have ended, while its record may not say so.
    pub(super) fn is_gone(&self) -> bool {
        self.record.as_ref().is_some_and(is_proven_gone)
    }

    /// Resolves once its life is over: its process has ended, where that can be seen from here, or the store says so.
    pub(super) async fn lost(&self, agent: &Agent) {
        tokio::select! {
            () = self.process_ended() => {}
            () = self.over_by_store(agent) => {}
        }
    }

    /// In the PID namespace of its parent's command a helper does not see its parent. It ends with the namespace.
    async fn process_ended(&self) {
        if self.is_gone() {
            return;
        }
        match self.record.as_ref().and_then(process_here) {
            Some(process) => ended(process).await,
            None => std::future::pending().await,
        }
    }

    /// Whoever removes an agent tells its children, so this is for what went wrong. It is looked as often as an order is
    /// asked for.
    ///
    /// No record proves nothing yet: a store that lost its memory is told of the parent within a moment.
    async fn over_by_store(&self, agent: &Agent) {
        let store = agent.store();
        let settings = store.settings();
        let mut missing_since: Option<Instant> = None;
        loop {
            sleep(settings.heartbeat.interval).await;
            match word(agent, &self.name).await {
                Word::Over => return,
                Word::Lives(_) => missing_since = None,
                Word::NoAnswer => {}
                Word::Missing => {
                    let since = *missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= settings.sweep.orphan_threshold {
                        return;
                    }
                }
            }
        }
    }
}

/// Resolves once the process has ended. Costs nothing while it runs.
async fn ended(process: ProcessId) {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let opened = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // Only after that: before, its number could become another's.
    if !process.is_alive() {
        return;
    }
    // Without a handle the store will say so.
    let Some(handle) = opened else { return std::future::pending().await };
    let (tell, end) = oneshot::channel();
    // A thread, because the runtime waits for no such handle. It ends with the process.
    let waiting = std::thread::Builder::new().name("parent".into()).spawn(move || {
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&handle, PollFlags::IN)], None) {}
        let _ = tell.send(());
    });
    match waiting {
        Ok(_) => drop(end.await),
        Err(_) => std::future::pending().await,
    }
}

async fn word(agent: &Agent, name: &LifeName) -> Word {
    match agent.store().record(name.id.as_str()).await {
        Ok(Some(record)) if record.incarnation == name.incarnation && record.ended.is_none() => {
            Word::Lives(Box::new(record))
        }
        Ok(Some(_)) => Word::Over,
        Ok(None) => Word::Missing,
        Err(_) => Word::NoAnswer,
    }
}
