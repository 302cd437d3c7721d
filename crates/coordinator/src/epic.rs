//! The epic as the store has it: taken at the start, by the plan it was run with; ended at the end.
//!
//! The records of an epic outlive its coordinators. Whatever ends a coordinator, the step that removes it leaves the epic
//! waiting, and the next coordinator goes on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use agent_sdk::{Agent, StopCause};
use anyhow::Context as _;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::difference::{differences, merged};
use lifecycle_core::sprint::plan::Plan;
use lifecycle_core::wire::epic_record::{EpicOutcome, EpicRecord, PLACE_FOLDER, PLACE_HOST, PLACE_RUNS};
use lifecycle_core::wire::ids::{EpicId, SprintId};
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::sprint_record::SprintOutcome;
use lifecycle_redis::{CoordinatorStore, EpicClaim, EpicTaken, Fenced, Store, StoreError};

use tokio::time::sleep;

use crate::context::{Context, Trouble, written};
use crate::register::LatestEnd;
use crate::taken::{EarlierSprint, Epic};
use crate::ui::progress::line;
use crate::ui::summary::Summary;

/// Most differences that are shown.
const SHOWN: usize = 20;

/// What to do where the epic waits with another plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDifference {
    /// Refuse, and say what is different.
    #[default]
    Refuse,
    /// Go on by the new plan: tasks with the same id and input keep their result, changed ones wait again, and what is not
    /// planned any more is dropped.
    Merge,
    /// Forget all that was done, and begin anew.
    Fresh,
}

/// What a coordinator begins with.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) epic: Epic,
    /// Sprints that have started before.
    pub(crate) earlier: BTreeMap<SprintId, EarlierSprint>,
}

/// Takes the epic of this plan. One that waited for the coordinator before does not begin anew what that one has ended.
///
/// # Errors
/// As [`take`]; and a [`Failure`] with the code of the epic's own end (0 is no failure, but nothing is left to do).
pub(crate) async fn take_after(
    agent: &Agent,
    plan: &Plan,
    text: &str,
    how: OnDifference,
    waited_since: Option<LatestEnd>,
) -> anyhow::Result<Taken> {
    let store = agent.store();
    if let Some(before) = waited_since
        && store.epic(&plan.epic).await.map_err(of_store)?.is_none()
        && let Some(entry) = store.operator().latest_end(&plan.epic).await.map_err(of_store)?
        && Some(&entry.id) != before.as_ref()
    {
        let outcome = entry.fields.get("outcome").map_or("", String::as_str);
        let code = if outcome == EpicOutcome::Completed.as_str() { exit::OK } else { exit::FAILED };
        let text = format!("epic {} has ended meanwhile ({outcome}): nothing is left to do", plan.epic);
        return Err(Failure::new(code, text).into());
    }
    take(agent, plan, text, how).await
}

/// Takes the epic of this plan: begins it, or goes on with it.
///
/// # Errors
/// A [`Failure`] (code 1) where it waits with another plan and `how` refuses that: then nothing was changed. Code 70 where
/// this coordinator's own life is over.
pub(crate) async fn take(agent: &Agent, plan: &Plan, text: &str, how: OnDifference) -> anyhow::Result<Taken> {
    let store = agent.store().coordinator(&agent.life());
    loop {
        let known = store.epic(&plan.epic).await.map_err(of_store)?;
        let is_cancelled = known.as_ref().is_some_and(|record| record.cancelled_at.is_some());
        if is_cancelled && how != OnDifference::Fresh {
            return Err(end_cancelled(&store, plan, known.as_ref()).await);
        }
        let other = known.as_ref().filter(|record| record.plan != text);
        let is_other = other.map_or(Vec::new(), |record| differences_to(record, plan));
        if !is_other.is_empty() && how == OnDifference::Refuse {
            return Err(refusal(&plan.epic, &is_other).into());
        }
        let epoch = known.as_ref().map_or(0, |record| record.epoch);
        let place = place(store.settings());
        let claim = EpicClaim { epic: &plan.epic, plan: text, epoch, place: &place, again: false };
        match alive(store.take_epic(claim).await.map_err(of_store)?)? {
            EpicTaken::Changed => {}
            EpicTaken::Ok(_) if how == OnDifference::Fresh && known.is_some() => {
                begin_anew(&store, &plan.epic, "started afresh").await?;
            }
            EpicTaken::Ok(epoch) => {
                let before = match &known {
                    Some(record) => store.server_time().await.map_err(of_store)?.since(record.started_at),
                    None => Duration::ZERO,
                };
                let epic = Epic { id: plan.epic.clone(), plan: text.to_owned(), place, epoch, before };
                if let (OnDifference::Merge, Some(record)) =
                    (how, known.as_ref().filter(|_| !is_other.is_empty()))
                {
                    merge(&store, record, plan).await?;
                }
                let earlier =
                    if known.is_some() { read_sprints(&store, &plan.epic).await? } else { BTreeMap::new() };
                return Ok(Taken { epic, earlier });
            }
        }
    }
}

/// Ends an epic that an operator cancelled while it had no coordinator that could obey.
async fn end_cancelled(store: &CoordinatorStore, plan: &Plan, known: Option<&EpicRecord>) -> anyhow::Error {
    let ended = async {
        let (epoch, text) = known.map_or((0, ""), |record| (record.epoch, record.plan.as_str()));
        let place = place(store.settings());
        let claim = EpicClaim { epic: &plan.epic, plan: text, epoch, place: &place, again: false };
        alive(store.take_epic(claim).await.map_err(of_store)?)?;
        begin_anew(store, &plan.epic, "cancelled by an operator").await
    };
    match ended.await {
        Ok(()) => {
            let text = format!(
                "an operator has cancelled epic {} while no coordinator was there to obey: it is ended now, and nothing was \
                 started; run it again to begin it anew",
                plan.epic
            );
            Failure::new(exit::FAILED, text).into()
        }
        Err(error) => error,
    }
}

/// Makes the records fit the new plan.
async fn merge(store: &CoordinatorStore, record: &EpicRecord, plan: &Plan) -> anyhow::Result<()> {
    let Ok(known) = Plan::parse(&record.plan) else {
        let text = "the plan that the store has cannot be read by this version: nothing to merge with (--fresh begins anew)";
        return Err(Failure::new(exit::FAILED, text).into());
    };
    for was in &known.sprints {
        let records = store.task_records(&was.id).await.map_err(of_store)?.readable;
        // Tasks that were added are in neither plan, and stay.
        let added = store.added_tasks(&was.id).await.map_err(of_store)?;
        let was = &was.clone().with_added(added.iter().cloned());
        let is = plan.sprints.iter().find(|is| is.id == was.id);
        let is = is.map(|is| is.clone().with_added(added));
        let is = is.as_ref();
        let is_open_again =
            is.is_some_and(|is| is.tasks.iter().any(|task| !records.contains_key(task.id.as_str())));
        let replaced = merged(was, is, &records);
        if !records.is_empty() && (is_open_again || !replaced.is_empty()) {
            alive(store.replace_tasks(&plan.epic, &was.id, &replaced).await.map_err(of_store)?)?;
        }
    }
    Ok(())
}

/// Where this coordinator runs, as fields of the epic's record.
fn place(settings: &Settings) -> BTreeMap<&'static str, String> {
    let mut place = BTreeMap::from([(PLACE_HOST, agent_sdk::host())]);
    if let Ok(folder) = std::env::current_dir() {
        let runs = folder.join(&settings.coordinator.runs_dir);
        place.insert(PLACE_RUNS, runs.display().to_string());
        place.insert(PLACE_FOLDER, folder.display().to_string());
    }
    place
}

/// Removes what an earlier coordinator has recorded. The epic is taken again after that.
async fn begin_anew(store: &CoordinatorStore, epic: &EpicId, why: &str) -> anyhow::Result<()> {
    let sprints = store.sprints_of(epic).await.map_err(of_store)?;
    end_agents(store, &sprints).await?;
    let sprints: Vec<&SprintId> = sprints.iter().collect();
    let ended = store.end_epic(epic, &sprints, EpicOutcome::Cancelled, why, &BTreeMap::new()).await;
    alive(ended.map_err(of_store)?)?;
    Ok(())
}

/// Has the living agents of these sprints end: what they still do belongs to the run that is forgotten. Those that do not
/// leave in time keep their ids, and are named when these are wanted.
pub(crate) async fn end_agents(store: &CoordinatorStore, sprints: &[SprintId]) -> anyhow::Result<()> {
    let shutdown = store.settings().shutdown.clone();
    let patience = shutdown.kill_timeout * 2 + Duration::from_secs(2);
    let begun = Instant::now();
    let mut told = BTreeSet::new();
    loop {
        let mut left = 0;
        for sprint in sprints {
            for id in store.sprint_agents(sprint).await.map_err(of_store)? {
                let Some(record) = store.record(&id).await.map_err(of_store)? else { continue };
                if record.ended.is_some() {
                    continue;
                }
                left += 1;
                if told.insert(id.clone()) {
                    let why = StopCause::EpicCancelled;
                    store.order(&id, record.incarnation, Order::Terminate, why).await.map_err(of_store)?;
                }
            }
        }
        if left == 0 || begun.elapsed() > patience {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn read_sprints(
    store: &CoordinatorStore,
    epic: &EpicId,
) -> anyhow::Result<BTreeMap<SprintId, EarlierSprint>> {
    let mut earlier = BTreeMap::new();
    for sprint in store.sprints_of(epic).await.map_err(of_store)? {
        let record = store.sprint_record(&sprint).await.map_err(of_store)?;
        let records = store.task_records(&sprint).await.map_err(of_store)?.readable;
        let added = store.added_tasks(&sprint).await.map_err(of_store)?;
        earlier.insert(sprint, EarlierSprint { record, added, records });
    }
    Ok(earlier)
}

fn differences_to(record: &EpicRecord, plan: &Plan) -> Vec<String> {
    match Plan::parse(&record.plan) {
        Ok(known) => differences(&known, plan),
        Err(_) => vec!["the plan that the store has cannot be read by this version".into()],
    }
}

/// Shows the differences, a line each; the error itself is one line.
fn refusal(epic: &EpicId, differences: &[String]) -> Failure {
    let more = differences.len().saturating_sub(SHOWN);
    differences.iter().take(SHOWN).for_each(|difference| line(&format!("different: {difference}")));
    if more > 0 {
        line(&format!("different: {more} more"));
    }
    let text = format!(
        "epic {epic} waits with another plan: nothing was started and nothing changed; go on with the plan it has (coordinator \
         resume {epic}), take over what is the same (--merge), or forget all that it has done (--fresh)"
    );
    Failure::new(exit::FAILED, text)
}

#[allow(clippy::needless_pass_by_value)] // For map_err.
fn of_store(error: StoreError) -> Failure {
    Failure::new(exit::of_store(&error), error.to_string())
}

fn alive<T>(reply: Fenced<T>) -> Result<T, Failure> {
    match reply {
        Fenced::Ok(value) => Ok(value),
        Fenced::Fenced | Fenced::Unknown => Err(Failure::new(
            exit::FENCED,
            "this coordinator was reaped or replaced at its start: nothing was started",
        )),
    }
}

/// The epic's record, with the plan by which it waits or runs.
///
/// # Errors
/// A [`Failure`]: code 1 where there is no such epic, 69 when no store answers.
pub async fn stored(settings: &Settings, epic: &EpicId) -> anyhow::Result<EpicRecord> {
    let store = Store::connect(settings).await.map_err(of_store)?;
    store.check_deployment().await.map_err(of_store)?;
    let record = store.epic(epic).await.map_err(of_store)?;
    if let Some(record) = record {
        return Ok(record);
    }
    let ended = store.operator().latest_end(epic).await.map_err(of_store)?;
    let text = match ended.and_then(|entry| entry.fields.get("outcome").cloned()) {
        Some(outcome) => format!(
            "epic {epic} has ended ({outcome}), so there is nothing to go on with: lifecyclectl history {epic}"
        ),
        None => format!("there is no epic {epic} to go on with: lifecyclectl epics lists those that wait"),
    };
    Err(Failure::new(exit::FAILED, text).into())
}

impl Context {
    /// Takes the epic again, in a store that lost it.
    pub(crate) async fn take_again(&self) -> Result<(), Trouble> {
        let Epic { id, plan, place, epoch, .. } = &self.epic;
        let claim = EpicClaim { epic: id, plan, epoch: *epoch, place, again: true };
        match written(self.store().take_epic(claim).await?)? {
            EpicTaken::Ok(_) => Ok(()),
            // Another life has it, so ours is over.
            EpicTaken::Changed => Err(Trouble::Fenced),
        }
    }

    /// Ends the epic: nothing of it stays but its entry in the history.
    pub(crate) async fn end_epic(&self, sprints: &[&SprintId], summary: &Summary) -> Result<(), Trouble> {
        let outcome = match summary.outcome {
            SprintOutcome::Completed => EpicOutcome::Completed,
            SprintOutcome::Interrupted => EpicOutcome::Cancelled,
            SprintOutcome::Failed | SprintOutcome::NotRun => EpicOutcome::Failed,
        };
        let reason =
            summary.stopped.as_deref().filter(|_| outcome == EpicOutcome::Cancelled).unwrap_or_default();
        let entry = BTreeMap::from([
            ("tasksCompleted", summary.tasks_completed.to_string()),
            ("tasksFailed", summary.tasks_failed.to_string()),
            ("tasksCancelled", summary.tasks_cancelled.to_string()),
            ("agentRestarts", summary.agent_restarts.to_string()),
            ("elapsedMs", summary.elapsed_ms.to_string()),
        ]);
        let store = self.store();
        // Sprints that a changed plan has dropped are still there.
        let started = store.sprints_of(&self.epic.id).await?;
        let sprints: BTreeSet<&SprintId> = sprints.iter().copied().chain(&started).collect();
        let sprints: Vec<&SprintId> = sprints.into_iter().collect();
        let ended = store.end_epic(&self.epic.id, &sprints, outcome, reason, &entry).await?;
        let keys = written(ended)?.ok_or(Trouble::NoEpic)?;
        tracing::debug!(epic = %self.epic.id, keys, "epic ended");
        Ok(())
    }
}

/// Writes `summary.json` into the epic's folder.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_summary(folder: &std::path::Path, summary: &Summary) -> anyhow::Result<()> {
    // Renamed into its place: a link or a FIFO that somebody put there is replaced, and never written to.
    let (path, new) =
        (folder.join("summary.json"), folder.join(format!(".summary.json.{}", std::process::id())));
    let text = serde_json::to_string_pretty(summary)? + "\n";
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, &path));
    if written.is_err() {
        // Nothing was put in its place; what is left of ours goes.
        let _ = std::fs::remove_file(&new);
    }
    written.with_context(|| format!("{} cannot be written", path.display()))
}
