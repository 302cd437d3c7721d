//! The agent that a helper helps: which one it is, and when its life is over.

use std::time::Duration;

use agent_sdk::Agent;
use agent_sdk::process::{LifeName, TOKEN_VARIABLE, is_proven_gone};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::wire::record::AgentRecord;
use tokio::time::{Instant, sleep};

/// Pause between two looks at its process, where that can be seen.
const LOOK: Duration = Duration::from_millis(250);
/// Pause between two looks at its record. Whoever removes it tells its children, so this is for what went wrong.
const ASK: Duration = Duration::from_secs(5);

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

    /// Resolves once its life is over: by the store, or because its process is proven gone.
    ///
    /// Without a record nothing is proven: a store that lost its memory is told of the parent within a moment.
    pub(super) async fn lost(&self, agent: &Agent) {
        let mut known = self.record.clone();
        let mut asked = Instant::now();
        let mut missing_since = None;
        loop {
            if known.as_ref().is_some_and(is_proven_gone) {
                return;
            }
            sleep(LOOK).await;
            if asked.elapsed() < ASK {
                continue;
            }
            match word(agent, &self.name).await {
                Word::Over => return,
                Word::Lives(record) => (known, missing_since) = (Some(*record), None),
                Word::NoAnswer => {}
                Word::Missing => {
                    let since: Instant = *missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= agent.store().settings().sweep.orphan_threshold {
                        return;
                    }
                }
            }
            asked = Instant::now();
        }
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
