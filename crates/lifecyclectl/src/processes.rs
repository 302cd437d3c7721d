//! `processes`: what lives that are over left on this host, and ending it.
//!
//! It asks the host first, and the store only what it has on record of what was found: so it works without a store, and
//! then says that nothing can be proven.

mod report;
mod strangers;

use std::collections::HashSet;

use agent_sdk::leftovers::{self, Judged};
use agent_sdk::process::{self, LifeName, Told};
use anyhow::Context as _;
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::Output;
use lifecycle_core::agent::thing::Account;
use lifecycle_core::settings::Settings;
use lifecycle_redis::{OperatorStore, Store, StoreError};

use report::Report;

/// Who ended it, in the audit log.
const BY: &str = "lifecyclectl";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl processes
  lifecyclectl processes --end
  lifecyclectl processes --output json | jq '.processes[] | select(.over)'
  lifecyclectl processes --strangers
  lifecyclectl processes --strangers --end 4711 4712

A process is left when the one that held it is gone. It is recognised by its cgroup, its PID namespace, its life's ledger \
or its token. Those of other users are found by root alone. --end ends exactly those whose life is proven over: its \
supervisor is gone, and its store says so. A store that does not know of it yet is told.

--strangers also lists what seems left of other agents' programs and of servers for their tools: nobody's children, \
without a terminal. Nothing proves that, so --end ends only those whose pids are named, and then nothing else.

Exits 0 when nothing is left, 1 when something is; with --end 0 when all that is over was ended, 1 when some would not \
go, 69 when no store answered, so that nothing can be proven. Strangers alone do not count.")]
pub(crate) struct Arguments {
    /// End those whose life is proven over
    #[arg(long)]
    end: bool,
    /// List leftovers of other agents' programs too
    #[arg(long)]
    strangers: bool,
    /// With --strangers --end: the strangers to end
    #[arg(value_name = "PID", requires = "strangers", requires = "end")]
    pids: Vec<u32>,
}

/// Asks this host, and the store where one answers.
pub(crate) async fn run(arguments: &Arguments, settings: &Settings, output: Output) -> anyhow::Result<u8> {
    if !arguments.pids.is_empty() {
        return strangers::end(&arguments.pids, settings.shutdown.kill_timeout, output).await;
    }
    let found = process::find();
    let strangers = if arguments.strangers { process::strangers() } else { Vec::new() };
    if arguments.end {
        return end(found.leftovers, strangers, settings, output).await;
    }
    let (judged, is_answered) = if found.leftovers.is_empty() {
        (Vec::new(), true)
    } else {
        match look(settings, found.leftovers.clone()).await {
            Ok(judged) => (judged, true),
            Err(error) => {
                tracing::debug!(%error, "no store was asked");
                (leftovers::judge(None, found.leftovers).await?, false)
            }
        }
    };
    let report = Report { judged: &judged, strangers: &strangers, told: None, things: &[], is_answered };
    report.show(output)?;
    Ok(if judged.is_empty() { exit::OK } else { exit::FAILED })
}

async fn look(settings: &Settings, found: Vec<process::Leftover>) -> Result<Vec<Judged>, StoreError> {
    let store = connect(settings).await?;
    leftovers::judge(Some(&store), found).await
}

async fn connect(settings: &Settings) -> Result<OperatorStore, StoreError> {
    let store = Store::connect(settings).await?.operator();
    store.check_deployment().await?;
    Ok(store)
}

/// Undoes what lives own of which no process is left. Of those that had some it is undone by now.
async fn undo(empty: &[process::Ledger], settings: &Settings) -> anyhow::Result<Vec<(LifeName, Account)>> {
    if empty.iter().all(|ledger| ledger.things.is_empty()) {
        return Ok(Vec::new());
    }
    let nothing = "nothing can be proven over without the store, so nothing was undone";
    let store = connect(settings).await.context(nothing)?;
    Ok(leftovers::undo_over(&store, empty, BY).await?)
}

async fn end(
    found: Vec<process::Leftover>,
    strangers: Vec<process::Stranger>,
    settings: &Settings,
    output: Output,
) -> anyhow::Result<u8> {
    let (mut judged, mut told) = (Vec::new(), Vec::new());
    if !found.is_empty() {
        let nothing = "nothing can be proven over without the store, so nothing was ended";
        let store = connect(settings).await.context(nothing)?;
        judged = leftovers::judge(Some(&store), found.clone()).await.context(nothing)?;
        if leftovers::bear_witness(&store, &judged, BY).await.context(nothing)? {
            judged = leftovers::judge(Some(&store), found).await.context(nothing)?;
        }
        told = leftovers::end_over(&store, &judged, BY).await;
    }
    let empty = process::find().empty;
    let things = undo(&empty, settings).await?;
    tidy(&empty);
    let report = Report {
        judged: &judged,
        strangers: &strangers,
        told: Some(&told),
        things: &things,
        is_answered: true,
    };
    report.show(output)?;
    failure(&told)
}

/// Removes the ledgers of which nothing is left now. Those of another user stay, which does no harm.
fn tidy(empty: &[process::Ledger]) {
    process::remove_left_cgroups();
    if let Err(error) = process::tidy(empty) {
        tracing::warn!(%error, "the ledger of a life of which nothing is left could not be removed");
    }
}

fn failure(told: &[Told]) -> anyhow::Result<u8> {
    let stuck: Vec<String> =
        told.iter().filter(|told| !told.is_gone).map(|told| told.process.pid.to_string()).collect();
    if stuck.is_empty() {
        return Ok(exit::OK);
    }
    let (number, pids) = (report::processes(stuck.len()), stuck.join(" "));
    anyhow::bail!(
        "{number} did not end: {pids}; end what is of another user as root, and see what holds the others in /proc/PID/stack"
    )
}

/// What is left of lives of this store that are over, at two looks; `None` if nothing is. One line for people.
pub(crate) async fn left(store: &OperatorStore) -> Result<Option<String>, StoreError> {
    let first = over(store).await?;
    if first.is_empty() {
        return Ok(None);
    }
    // Whoever held them may be about to end them.
    tokio::time::sleep(store.settings().sweep.grace).await;
    let known: HashSet<_> = first.iter().map(|judged| judged.leftover.process).collect();
    let still: Vec<Judged> =
        over(store).await?.into_iter().filter(|judged| known.contains(&judged.leftover.process)).collect();
    Ok((!still.is_empty()).then(|| report::sentence(&still)))
}

async fn over(store: &OperatorStore) -> Result<Vec<Judged>, StoreError> {
    let judged = leftovers::judge(Some(store), process::find().leftovers).await?;
    Ok(judged.into_iter().filter(Judged::can_be_proven).collect())
}
