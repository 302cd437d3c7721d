//! What follows the exit of a child: evidence, so that its work is handed on at once; beside it an end to whatever it left
//! running; then word to whoever cleans up, which goes into the audit log.
//!
//! Whatever a child left behind comes to this process, its subreaper, and is ended, whatever exit status the child had and
//! whatever the store says: "gone" is also the answer of a store that lost its memory, and of one where a sweeper was
//! quicker. Whoever carries the token of its life and went elsewhere is looked for after every end that was not clean.

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

/// An exit to be dealt with.
#[derive(Debug)]
pub(crate) struct ChildExit {
    pub(crate) sprint: usize,
    pub(crate) agent: usize,
    pub(crate) id: AgentId,
    pub(crate) process: ProcessId,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) status: String,
    pub(crate) how: Exit,
    /// It did not end by itself.
    pub(crate) forced: bool,
}

impl ChildExit {
    pub(crate) async fn perform(self, context: Context) {
        let ended = self.process(&context).await;
        // The loop has ended if nobody listens.
        let _ = context.child_events.send(ChildEvent::EndedLife {
            sprint: self.sprint,
            agent: self.agent,
            ended,
        });
    }

    /// The store may be away for long: what was left running does not wait for it.
    async fn process(&self, context: &Context) -> Option<EndedLife> {
        let (reported, mut found) = tokio::join!(self.report(context), self.end(context, self.incarnation));
        if let (Some((life, _)), None, false) = (reported, self.incarnation, self.is_clean()) {
            // Only now its token is known.
            found = found.and(self.end(context, Some(life)).await);
        }
        let fate = found.fate(self.forced);
        self.tell(&fate);
        let (life, was_there) = reported?;
        // After a clean release there is nothing to say.
        if was_there || !self.is_clean() || fate.process != ProcessFate::Dead {
            let by = context.agent.id().as_str();
            if let Err(error) = context.store().host(by).acknowledge(self.id.as_str(), life, &fate).await {
                tracing::debug!(%error, "could not acknowledge; the audit log will not know of the process");
            }
        }
        Some(EndedLife { life, fate })
    }

    /// A supervisor that ends by itself has ended its tree before.
    fn is_clean(&self) -> bool {
        !matches!(self.how, Exit::Crashed | Exit::Fenced) && !self.forced
    }

    async fn end(&self, context: &Context, life: Option<Incarnation>) -> Findings {
        let token = life.filter(|_| !self.is_clean()).map(|life| token(self.id.as_str(), life));
        let tree = Tree { descent: Descent::LeftBy(self.process), token };
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

    /// Says that the process ended. The life that did, and whether the store still knew of it; `None` if it never
    /// registered, or nobody knows under which life.
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

    /// The life that ended.
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

/// Pauses before the next try. `false` when that would not help: the store refuses for good, or this coordinator's own
/// life is over and nothing it says counts.
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

/// Tells a sweeper that asks what was proven of the agent's processes.
pub(crate) async fn acknowledge(context: Context, id: AgentId, ended: EndedLife) {
    let store = context.store();
    let fate = Payload::CleanupAcknowledged { process: Some(ended.fate.process), pids: ended.fate.pids };
    if let Err(error) = store.announce(id.as_str(), Some(ended.life), fate).await {
        tracing::debug!(%error, "could not acknowledge; the audit entry will not know of the process");
    }
}
