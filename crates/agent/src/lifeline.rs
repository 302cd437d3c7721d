//! The coordinator's pipe: its end is the coordinator's death.
//!
//! The coordinator holds the write end of our standard input and never writes. The kernel closes it however the
//! coordinator ends, so we know within a moment, without a network. We stop, and we bear witness: on this host a process
//! can be *proven* gone, which ends the coordinator's lease at once instead of minutes later.

use std::io::Read as _;
use std::time::Duration;

use agent_sdk::process::is_proven_gone;
use agent_sdk::{Agent, StopCause, Urgency};
use lifecycle_core::ids::AgentId;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How long the coordinator may take to vanish after its pipe closed.
const VANISHING: Duration = Duration::from_secs(2);

pub(crate) fn watch(agent: &Agent, parent: AgentId) {
    let (closed, end) = oneshot::channel();
    // A thread of its own, because a blocking read cannot be cancelled; it ends with the process.
    std::thread::spawn(move || {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        let _ = closed.send(());
    });
    let agent = agent.clone();
    tokio::spawn(async move {
        if end.await.is_ok() {
            agent.request_stop(Urgency::Terminate, StopCause::CoordinatorLost);
            bear_witness(&agent, &parent).await;
        }
    });
}

/// Says that the parent's process ended, if that can be proven. Several children may say so; it counts once.
async fn bear_witness(agent: &Agent, parent: &AgentId) {
    let Ok(Some(record)) = agent.store().record(parent.as_str()).await else { return };
    for _ in 0..VANISHING.as_millis() / 20 {
        if is_proven_gone(&record) {
            let said = agent.store().process_exited(
                parent.as_str(),
                record.incarnation,
                "gone",
                agent.id().as_str(),
            );
            if let Err(error) = said.await {
                tracing::warn!(%parent, %error, "could not report that the coordinator is gone; its lease ends by itself");
            }
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
