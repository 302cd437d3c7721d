//! Which processes that are left on this host may be ended, by what their store says; and ending those.
//!
//! ```text
//!   process::find ──▶ judge ──▶ bear_witness ──▶ end_over ──▶ the audit log
//!   this host         the store  what the store   only what is
//!                     is asked   cannot know yet  proven over
//! ```
//!
//! What these lives own beside keys is undone in the same course: by `end_over` where processes were left, and by
//! [`undo_over`] where none was. Both acknowledge a life in one entry.

use std::collections::HashMap;
use std::time::Duration;

use lifecycle_core::agent::leftover::{
    Registered, Sayings, StoreWord, Supervisor, Verdict, is_left, judge as judge_life,
};
use lifecycle_core::agent::thing::Account;
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::process_fate::{Fate, Findings};
use lifecycle_redis::{AgentView, LogEntry, Store, StoreError};

use crate::process::{
    self, Ledger, Leftover, LifeName, Told, is_empty_for_sure, is_proven_gone, process_here,
};

/// Longest time between TERM and KILL: nobody records any more what these processes do.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// More entries than the audit log keeps.
const WHOLE_LOG: u64 = 50_000;

/// A process that is left, and whether its life is over.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The process.
    pub leftover: Leftover,
    /// Whether it may be ended, or why not.
    pub verdict: Verdict,
}

impl Judged {
    /// Whether it is proven that its life is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.verdict, Verdict::Over(_))
    }

    /// Whether its life is over, or would be if the store were told what this host knows.
    #[must_use]
    pub fn can_be_proven(&self) -> bool {
        !matches!(self.verdict, Verdict::Open(_))
    }
}

/// Judges each process by what the store says of its life. Without a store nothing is proven over. Processes that a
/// living agent may hold are left out.
///
/// # Errors
/// [`StoreError`] when the store does not answer any more.
pub async fn judge(store: Option<&Store>, leftovers: Vec<Leftover>) -> Result<Vec<Judged>, StoreError> {
    let words = match store {
        Some(store) => {
            let lives: Vec<_> =
                leftovers.iter().map(|leftover| (&leftover.life, address_of(leftover))).collect();
            ask(store, &lives).await?
        }
        None => HashMap::new(),
    };
    let judge = |leftover: Leftover| {
        let word = words.get(&leftover.life).unwrap_or(&StoreWord::NoAnswer);
        let word = if is_of_another_store(store, &leftover) { &StoreWord::AnotherStore } else { word };
        let supervisor = supervisor_of(&leftover);
        let verdict = judge_life(leftover.life.incarnation, supervisor, word);
        is_left(supervisor, &verdict).then_some(Judged { leftover, verdict })
    };
    Ok(leftovers.into_iter().filter_map(judge).collect())
}

/// Tells the store of lives whose supervisor is proven gone here, and which it takes for living. Returns whether there
/// was any: then its word is another one now.
///
/// # Errors
/// [`StoreError`] when the store does not answer or refuses.
pub async fn bear_witness(store: &Store, judged: &[Judged], by: &str) -> Result<bool, StoreError> {
    let unwitnessed = judged.iter().filter(|judged| matches!(judged.verdict, Verdict::Unwitnessed { .. }));
    let mut lives: Vec<&LifeName> = unwitnessed.map(|judged| &judged.leftover.life).collect();
    lives.dedup();
    for life in &lives {
        store.host(by).process_exited(life.id.as_str(), life.incarnation, "gone").await?;
    }
    Ok(!lives.is_empty())
}

/// Ends those that are proven over, and what they start meanwhile, and puts on record what came of it.
pub async fn end_over(store: &Store, judged: &[Judged], by: &str) -> Vec<Told> {
    let over: Vec<Leftover> =
        judged.iter().filter(|judged| judged.is_over()).map(|judged| judged.leftover.clone()).collect();
    let kill_after = store.settings().shutdown.kill_timeout.min(LAST_WORDS);
    let listed = over.clone();
    // Without an answer nothing is known of what was told.
    let told =
        tokio::task::spawn_blocking(move || process::end(&listed, kill_after)).await.unwrap_or_default();
    acknowledge(store, &over, &told, by).await;
    told
}

/// Undoes what lives own of which no process is left, if they are proven over; and puts on record what came of it. What
/// is of another user stays. Ledgers that own nothing are left alone.
///
/// # Errors
/// [`StoreError`] when the store does not answer any more.
pub async fn undo_over(
    store: &Store,
    empty: &[Ledger],
    by: &str,
) -> Result<Vec<(LifeName, Account)>, StoreError> {
    let mut undone = Vec::new();
    // A ledger may have been read before its last thing was written down.
    for ledger in empty.iter().filter(|ledger| !ledger.things_now().is_empty()) {
        if !is_over(store, ledger, by).await? {
            continue;
        }
        let things = undo(store, ledger).await;
        if things.is_empty() {
            continue;
        }
        let is_complete = is_empty_for_sure(ledger);
        let fate = Findings { is_complete, ..Findings::default() }.fate(true);
        say(store, &LifeName::of(ledger), (&fate, &things), by).await;
        undone.push((LifeName::of(ledger), things));
    }
    Ok(undone)
}

/// Whether the life of a ledger is over by its store, which is told that its supervisor is gone if it does not know.
async fn is_over(store: &Store, ledger: &Ledger, by: &str) -> Result<bool, StoreError> {
    let life = LifeName::of(ledger);
    let verdict = async || {
        let words = ask(store, &[(&life, Some(&ledger.store))]).await?;
        let word = words.get(&life).unwrap_or(&StoreWord::AnotherStore);
        Ok::<_, StoreError>(judge_life(life.incarnation, Supervisor::Gone, word))
    };
    match verdict().await? {
        Verdict::Unwitnessed { .. } => {
            store.host(by).process_exited(life.id.as_str(), life.incarnation, "gone").await?;
            Ok(matches!(verdict().await?, Verdict::Over(_)))
        }
        verdict => Ok(matches!(verdict, Verdict::Over(_))),
    }
}

/// Undoes what the life of this ledger owns, and takes it off its list in the store, if it still has one.
async fn undo(store: &Store, ledger: &Ledger) -> Account {
    let (ledger, limit) = (ledger.clone(), store.settings().shutdown.kill_timeout);
    let (id, life) = (ledger.id.clone(), ledger.incarnation);
    // Without an answer it is not known what was undone, and what was not stays on the ledger.
    let things = tokio::task::spawn_blocking(move || ledger.undo(limit)).await.unwrap_or_default();
    if let Err(error) = store.host(id.as_str()).drop_things(id.as_str(), life, things.names()).await {
        tracing::debug!(agent = %id, %error, "the store still lists things of this life that were dealt with");
    }
    things
}

async fn say(store: &Store, life: &LifeName, (fate, things): (&Fate, &Account), by: &str) {
    let said = store.host(by).acknowledge_all(life.id.as_str(), life.incarnation, fate, things).await;
    if let Err(error) = said {
        tracing::warn!(agent = %life.id, %error, "the audit log will not know what became of what this life left");
    }
}

/// The audit entry of each life. `killed` is said only where nothing can have escaped. What the life owns is undone first,
/// unless some of its processes would not go.
async fn acknowledge(store: &Store, over: &[Leftover], told: &[Told], by: &str) {
    for of_life in told.chunk_by(|one, other| one.life == other.life) {
        let Some(life) = of_life.first().map(|told| &told.life) else { continue };
        let ledger = over
            .iter()
            .filter(|leftover| leftover.life == *life)
            .find_map(|leftover| leftover.ledger.clone());
        let findings = Findings {
            told: of_life.len(),
            left: of_life.iter().filter(|told| !told.is_gone).map(|told| told.process.pid).collect(),
            doubtful: Vec::new(),
            is_complete: ledger.as_ref().is_some_and(|ledger| is_empty_for_sure(ledger)),
        };
        let things = match ledger {
            Some(ledger) if findings.left.is_empty() => undo(store, &ledger).await,
            _ => Account::default(),
        };
        say(store, life, (&findings.fate(true), &things), by).await;
    }
}

fn supervisor_of(leftover: &Leftover) -> Supervisor {
    match (&leftover.ledger, leftover.is_orphan) {
        (Some(_), _) => Supervisor::Gone,
        (None, true) => Supervisor::NoneAbove,
        (None, false) => Supervisor::NotKnown,
    }
}

fn is_of_another_store(store: Option<&Store>, leftover: &Leftover) -> bool {
    store.is_some_and(|store| is_another(store, address_of(leftover)))
}

/// The store of which the life's ledger tells.
fn address_of(leftover: &Leftover) -> Option<&str> {
    leftover.ledger.as_ref().map(|ledger| ledger.store.as_str())
}

fn is_another(store: &Store, address: Option<&str>) -> bool {
    address.is_some_and(|address| address != store.settings().redis.address())
}

/// What the store says of each life that is of it, as far as the address beside it tells. A record that it cannot read
/// proves nothing.
async fn ask(
    store: &Store,
    lives: &[(&LifeName, Option<&str>)],
) -> Result<HashMap<LifeName, StoreWord>, StoreError> {
    let mut words = HashMap::new();
    if lives.iter().all(|(_, address)| is_another(store, *address)) {
        return Ok(words);
    }
    let now = store.server_time().await?;
    let log = match store.log(WHOLE_LOG).await {
        // A log that is none proves nothing.
        Err(StoreError::WrongType { .. }) => Vec::new(),
        log => log?,
    };
    let removals = removals(&log);
    for (life, address) in lives.iter().copied() {
        if words.contains_key(life) || is_another(store, address) {
            continue;
        }
        let word = match store.view(life.id.as_str()).await {
            Ok(view) => {
                let registered = view.and_then(registered);
                let key = (life.id.to_string(), life.incarnation.to_string());
                StoreWord::Says(Sayings { now, registered, removal: removals.get(&key).copied() })
            }
            Err(error @ StoreError::WrongType { .. }) => {
                tracing::warn!(agent = %life.id, %error, "nothing is known of this life");
                StoreWord::NoAnswer
            }
            Err(error) => return Err(error),
        };
        words.insert(life.clone(), word);
    }
    Ok(words)
}

fn registered(view: AgentView) -> Option<Registered> {
    let lease_end = view.lease_end.or(view.heartbeat_until);
    let record = view.record?;
    let process_runs =
        if process_here(&record).is_some() { Some(true) } else { is_proven_gone(&record).then_some(false) };
    Some(Registered { incarnation: record.incarnation, ended: record.ended, lease_end, process_runs })
}

/// How lives were removed, by id and incarnation.
fn removals(log: &[LogEntry]) -> HashMap<(String, String), AuditKind> {
    let removal = |entry: &LogEntry| {
        let field = |name: &str| entry.fields.get(name).cloned();
        let kind: AuditKind = field("type")?.parse().ok()?;
        let is_removal = matches!(kind, AuditKind::Cleanup | AuditKind::Release);
        is_removal.then_some(((field("agentId")?, field("incarnation")?), kind))
    };
    log.iter().filter_map(removal).collect()
}
