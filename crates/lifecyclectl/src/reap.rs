//! `reap`: removes an agent and everything it owns, on an operator's word.

use anyhow::{Context as _, bail};
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, printable};
use lifecycle_core::sweep::observation::Suspect;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::orphan::Reason;
use lifecycle_redis::{AgentView, OperatorStore, ReapOutcome, Removed, is_usable};
use serde::Serialize;

use crate::{errors, ps};

/// The name of the reaper in the audit log.
const BY: &str = "lifecyclectl";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl reap coder-1
  lifecyclectl reap coder-1 --force --output json

Its tasks in flight are handed back to its sprint. Its process is not touched: where it still runs it is fenced, so it \
can write nothing more and stops with exit code 70. To let a living agent finish, use `drain`; to end it, `stop`.

Of an id that cannot stand in a key name (empty, with a `:`, or not UTF-8), --force removes the entries in \
agents:active and agents:leases alone: keys named after it may be another's.")]
pub(crate) struct Arguments {
    /// The agent
    #[arg(value_name = "ID")]
    id: String,
    /// Reap it even though it is alive
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReapReport {
    agent_id: String,
    outcome: &'static str,
    keys_deleted: u64,
    tasks_requeued: u64,
    /// Only where nothing but index entries could be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    index_entries: Option<u64>,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let id = arguments.id.as_str();
    if !is_usable(id) {
        return unlist(arguments, store, output).await;
    }
    let Some(view) = store.view(id).await? else {
        return Err(errors::no_such_agent(store, id).await);
    };
    let suspect = judge(store, &view, arguments.force).await?;
    last_call(store, &view).await?;
    let outcome = remove(store, &view, &suspect, arguments.force).await?;
    let (word, removed) = match outcome {
        ReapOutcome::Reaped(removed) => ("reaped", removed),
        ReapOutcome::AlreadyGone => ("alreadyGone", Removed { keys_deleted: 0, tasks_requeued: 0 }),
        ReapOutcome::Refuted => {
            store.announce(id, None, Payload::CleanupAborted { reason: None }).await?;
            bail!("{id} answered the last call, so it is alive: nothing was reaped; use `stop`, or --force");
        }
    };
    let report = ReapReport {
        agent_id: id.into(),
        outcome: word,
        keys_deleted: removed.keys_deleted,
        tasks_requeued: removed.tasks_requeued,
        index_entries: None,
    };
    report.show(output)
}

/// Removes an id that cannot stand in a key name from the indexes. Its keys cannot be told from another agent's, so
/// they stay.
async fn unlist(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let id = arguments.id.as_str();
    if !arguments.force {
        bail!(
            "{id:?} can be no agent's id, so keys named after it may be another's: nothing was reaped; --force removes \
             its entries in agents:active and agents:leases, and touches no other key"
        );
    }
    let entries = store.unlist(id).await?;
    if entries == 0 {
        return Err(errors::no_such_agent(store, id).await);
    }
    let report = ReapReport {
        agent_id: id.into(),
        outcome: "unlisted",
        keys_deleted: 0,
        tasks_requeued: 0,
        index_entries: Some(entries),
    };
    report.show(output)
}

/// The suspect by which the agent is judged. The reap script compares it again.
async fn judge(store: &OperatorStore, view: &AgentView, force: bool) -> anyhow::Result<Suspect> {
    let now = store.server_time().await?;
    let row = ps::Row::of(view, now);
    if row.alive() && !force {
        let place = row.place().unwrap_or_else(|| "a place it does not tell".into());
        bail!(
            "{} is alive at {place}, its lease ends {}: nothing was reaped; use `drain` or `stop`, or --force",
            view.id,
            row.lease()
        );
    }
    let due = (view.id.clone(), view.lease_end.unwrap_or(now));
    store.suspect(due, now).await?.context("the store told nothing of this agent: nothing was reaped")
}

async fn last_call(store: &OperatorStore, view: &AgentView) -> anyhow::Result<()> {
    let life = view.record.as_ref().map(|record| record.incarnation);
    let last_call = Payload::CleanupStarted { reason: Some(Reason::Operator.to_string()) };
    store.announce(&view.id, life, last_call).await?;
    tokio::time::sleep(store.settings().sweep.grace).await;
    Ok(())
}

async fn remove(
    store: &OperatorStore,
    view: &AgentView,
    suspect: &Suspect,
    force: bool,
) -> anyhow::Result<ReapOutcome> {
    // A registered agent without a lease has no lease that could be over.
    let has_no_lease = suspect.record.is_some() && view.lease_end.is_none();
    Ok(store.reap(suspect, force || has_no_lease, BY).await?)
}

impl ReapReport {
    fn show(&self, output: Output) -> anyhow::Result<u8> {
        match output {
            Output::Json => output::print_json(self)?,
            Output::Table => output::print_stdout(&self.text())?,
        };
        Ok(exit::OK)
    }

    fn text(&self) -> String {
        let id = printable(&self.agent_id);
        if let Some(entries) = self.index_entries {
            let entries = match entries {
                1 => "1 index entry".into(),
                many => format!("{many} index entries"),
            };
            return format!(
                "removed {entries} of {id:?} and touched no other key: those named after it may be another's\n"
            );
        }
        if self.outcome == "alreadyGone" {
            return format!("{id} was gone already: nothing was left to reap\n");
        }
        let keys = output::count(self.keys_deleted, "key");
        let tasks = output::count(self.tasks_requeued, "task");
        format!("reaped {id}: {keys} deleted, {tasks} handed back\n")
    }
}
