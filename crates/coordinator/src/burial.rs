//! What follows the exit of a child: evidence first, so that its work is handed on at once; then an end to whatever it
//! left running; then word to whoever cleans up, which goes into the audit log.

use std::time::Duration;

use agent_sdk::process::{Tree, end_tree, token};
use lifecycle_core::event::EventKind;
use lifecycle_core::ids::{AgentId, Incarnation};
use lifecycle_core::record::AgentRecord;
use lifecycle_redis::StoreError;
use tokio::time::sleep;

use crate::desk::{Desk, News};

/// Pause between two attempts to reach a store that is away.
const RETRY: Duration = Duration::from_millis(200);

/// An exit to be dealt with.
#[derive(Debug)]
pub(crate) struct Burial {
    pub(crate) sprint: usize,
    pub(crate) agent: usize,
    pub(crate) id: AgentId,
    pub(crate) pid: u32,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) status: String,
    /// It did not end by itself.
    pub(crate) forced: bool,
}

impl Burial {
    pub(crate) async fn perform(self, desk: Desk) {
        let life = self.process(&desk).await;
        // The loop has ended if nobody listens.
        let _ = desk.news.send(News::Buried { sprint: self.sprint, agent: self.agent, life });
    }

    async fn process(&self, desk: &Desk) -> Option<(Incarnation, &'static str)> {
        let life = self.life(desk).await?;
        let unclean = self.report(desk, life).await;
        if !unclean && !self.forced {
            return Some((life, "dead"));
        }
        // Whatever left the process's tree still has its token.
        let tree = Tree { supervisor: None, token: Some(token(self.id.as_str(), life)) };
        let ended = end_tree(&tree, desk.shutdown().kill_timeout).await;
        let process = if ended.told > 0 || self.forced { "killed" } else { "dead" };
        let by = desk.agent.id().as_str();
        if let Err(error) = desk.store().acknowledge(self.id.as_str(), life, process, by).await {
            tracing::debug!(%error, "could not acknowledge; the audit log will not know of the process");
        }
        Some((life, process))
    }

    /// The life that ended; none if it never registered.
    async fn life(&self, desk: &Desk) -> Option<Incarnation> {
        if self.incarnation.is_some() {
            return self.incarnation;
        }
        loop {
            match desk.store().record(self.id.as_str()).await {
                Ok(record) => {
                    let own = |record: &AgentRecord| {
                        record.pid == Some(self.pid) && record.host == agent_sdk::host()
                    };
                    return record.filter(own).map(|record| record.incarnation);
                }
                Err(error) => may_try_again(desk, &error).await.then_some(())?,
            }
        }
    }

    /// Says that the process ended; `false` if it had released itself.
    async fn report(&self, desk: &Desk, life: Incarnation) -> bool {
        let (id, seen_by) = (self.id.as_str(), desk.agent.id().as_str());
        loop {
            match desk.store().process_exited(id, life, &self.status, seen_by).await {
                Ok(was_there) => return was_there,
                Err(error) if may_try_again(desk, &error).await => {}
                Err(_) => return true,
            }
        }
    }
}

/// Pauses before the next try. `false` when that would not help: the store refuses for good, or this coordinator's own
/// life is over and nothing it says counts.
async fn may_try_again(desk: &Desk, error: &StoreError) -> bool {
    if !error.is_transient() {
        tracing::warn!(%error, "could not report the end of an agent; its lease ends by itself");
        return false;
    }
    tokio::select! {
        () = sleep(RETRY) => true,
        () = desk.agent.fenced() => false,
    }
}

/// Tells a sweeper that asks what is known of the agent's processes.
pub(crate) async fn acknowledge(desk: Desk, id: AgentId, life: Incarnation, process: &'static str) {
    let said = desk.store().announce(EventKind::CleanupAcknowledged, |event| {
        event.agent_id = Some(id.to_string());
        event.incarnation = Some(life);
        event.process = Some(process.into());
    });
    if let Err(error) = said.await {
        tracing::debug!(%error, "could not acknowledge; the audit entry will not know of the process");
    }
}
