//! What follows the exit of a child. Evidence is given at once, so that its work is handed on. Beside that, the
//! processes it left running are ended. Then the result is reported to the agent that cleans up, and stands in the
//! audit log.
//!
//! Processes that a child left behind come to this process, its subreaper. They are ended whatever exit status the
//! child had and whatever the store says. "Gone", for example, is also the answer of a store that lost its memory, or
//! of one where a sweeper was quicker. After every end that was not clean, processes that went elsewhere are looked for
//! by the token of the life.

use std::time::Duration;

use agent_sdk::process::{Descent, ProcessId, Tree, token};
use lifecycle_core::sprint::decide::Exit;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use lifecycle_core::wire::process_fate::{Fate, Findings, ProcessFate};
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_redis::StoreError;
use tokio::time::sleep;

use crate::child_events::{ChildEvent, EndedLife};
use crate::context::Context;

/// Pause between two attempts to reach a store that is away.
const RETRY: Duration = Duration::from_millis(200);

/// An exit that has to be dealt with.
#[derive(Debug)]
pub(crate) struct ChildExit {
    pub(crate) sprint: usize,
    pub(crate) agent: usize,
    pub(crate) id: AgentId,
    pub(crate) process: ProcessId,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) status: String,
    pub(crate) how: Exit,
    /// Whether it was made to end.
    pub(crate) forced: bool,
    /// An earlier coordinator started it, so what it left behind has not come to this process.
    pub(crate) is_adopted: bool,
}

impl ChildExit {
    pub(crate) async fn perform(self, context: Context) {
        let ended = self.process(&context).await;
        // Nothing listens any more once the loop has ended.
        let _ = context.child_events.send(ChildEvent::EndedLife {
            sprint: self.sprint,
            agent: self.agent,
            ended,
        });
    }

    /// The store may be away for long, so the processes that were left running are ended without waiting for it.
    async fn process(&self, context: &Context) -> Option<EndedLife> {
        let (reported, mut found) = tokio::join!(self.report(context), self.end(context, self.incarnation));
        if let (Some((life, _)), None, false) = (reported, self.incarnation, self.is_clean()) {
            // The token is known only now.
            found = found.and(self.end(context, Some(life)).await);
        }
        let fate = found.fate(self.forced);
        self.tell(&fate);
        let (life, was_there) = reported?;
        // After a clean release there is nothing to report.
        if was_there || !self.is_clean() || fate.process != ProcessFate::Dead {
            let by = context.agent.id().as_str();
            if let Err(error) = context.store().host(by).acknowledge(self.id.as_str(), life, &fate).await {
                tracing::debug!(%error, "could not acknowledge; the audit log will not know of the process");
            }
        }
        Some(EndedLife { life, fate })
    }

    /// Whether the supervisor ended by itself: then it has ended its tree before.
    fn is_clean(&self) -> bool {
        !matches!(self.how, Exit::Crashed | Exit::Fenced) && !self.forced
    }

    async fn end(&self, context: &Context, life: Option<Incarnation>) -> Findings {
        let token = life.filter(|_| !self.is_clean()).map(|life| token(self.id.as_str(), life));
        let descent = if self.is_adopted { Descent::Unknown } else { Descent::LeftBy(self.process) };
        let tree = Tree { descent, token };
        context.launcher.ender.end(tree, context.shutdown().kill_timeout).await
    }

    fn tell(&self, fate: &Fate) {
        match fate.process {
            ProcessFate::Left => {
                tracing::error!(agent = %self.id, pids = ?fate.pids, "left: processes of the agent could not be ended");
            }
            ProcessFate::Unknown => {
                tracing::warn!(agent = %self.id, pids = ?fate.pids, "unknown: whether anything of the agent still runs cannot be told");
            }
            ProcessFate::Killed | ProcessFate::Dead => {}
        }
    }

    /// Reports that the process ended. Returns the life that ended, and whether the store still knew it. `None` if the
    /// child never registered, or if its life is not known.
    async fn report(&self, context: &Context) -> Option<(Incarnation, bool)> {
        let life = self.life(context).await?;
        let (id, seen_by) = (self.id.as_str(), context.agent.id().as_str());
        loop {
            match context.store().host(seen_by).process_exited(id, life, &self.status).await {
                Ok(was_there) => return Some((life, was_there)),
                Err(error) if may_try_again(context, &error).await => {}
                Err(_) => return Some((life, true)),
            }
        }
    }

    /// The life that ended; `None` if it is not known.
    async fn life(&self, context: &Context) -> Option<Incarnation> {
        if self.incarnation.is_some() {
            return self.incarnation;
        }
        loop {
            match context.store().record(self.id.as_str()).await {
                Ok(record) => {
                    let own = |record: &AgentRecord| {
                        record.pid == Some(self.process.pid) && record.host == agent_sdk::host()
                    };
                    return record.filter(own).map(|record| record.incarnation);
                }
                Err(error) => may_try_again(context, &error).await.then_some(())?,
            }
        }
    }
}

/// Pauses before the next try. `false` if another try would not help: the store refuses for good, or this coordinator's
/// own life is over and its reports do not count.
async fn may_try_again(context: &Context, error: &StoreError) -> bool {
    if !error.is_transient() {
        tracing::warn!(%error, "could not report the end of an agent; its lease ends by itself");
        return false;
    }
    tokio::select! {
        () = sleep(RETRY) => true,
        () = context.agent.fenced() => false,
    }
}

/// Answers a sweeper's last call with what was proven of the agent's processes.
pub(crate) async fn acknowledge(context: Context, id: AgentId, ended: EndedLife) {
    let store = context.store();
    let fate = Payload::CleanupAcknowledged { process: Some(ended.fate.process), pids: ended.fate.pids };
    if let Err(error) = store.announce(id.as_str(), Some(ended.life), fate).await {
        tracing::debug!(%error, "could not acknowledge; the audit entry will not know of the process");
    }
}
