//! Which processes that are left on this host may be ended, by what their store says; and ending those.
//!
//! ```text
//!   process::find ──▶ judge ──▶ bear_witness ──▶ end_over ──▶ the audit log
//!   this host         the store  what the store   only what is
//!                     is asked   cannot know yet  proven over
//! ```

use std::collections::HashMap;

use lifecycle_core::agent::leftover::{
    Registered, Sayings, StoreWord, Supervisor, Verdict, is_left, judge as judge_life,
};
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::process_fate::Findings;
use lifecycle_redis::{AgentView, LogEntry, Store, StoreError};

use crate::process::{self, Leftover, LifeName, Told, is_empty_for_sure, is_proven_gone, process_here};

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
        Some(store) => ask(store, &leftovers).await?,
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
    let kill_after = store.settings().shutdown.kill_timeout;
    let listed = over.clone();
    // Without an answer nothing is known of what was told.
    let told =
        tokio::task::spawn_blocking(move || process::end(&listed, kill_after)).await.unwrap_or_default();
    acknowledge(store, &over, &told, by).await;
    told
}

/// The audit entry of each life. `killed` is said only where nothing can have escaped.
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
            is_complete: ledger.is_some_and(|ledger| is_empty_for_sure(&ledger)),
        };
        let said = store.host(by).acknowledge(life.id.as_str(), life.incarnation, &findings.fate(true)).await;
        if let Err(error) = said {
            tracing::warn!(agent = %life.id, %error, "the audit log will not know that what this life left was ended");
        }
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
    let (Some(store), Some(ledger)) = (store, &leftover.ledger) else { return false };
    ledger.store != store.settings().redis.address()
}

/// What the store says of each life. A record that it cannot read proves nothing.
async fn ask(store: &Store, leftovers: &[Leftover]) -> Result<HashMap<LifeName, StoreWord>, StoreError> {
    let mut words = HashMap::new();
    if leftovers.iter().all(|leftover| is_of_another_store(Some(store), leftover)) {
        return Ok(words);
    }
    let now = store.server_time().await?;
    let removals = removals(&store.log(WHOLE_LOG).await?);
    for leftover in leftovers {
        let life = &leftover.life;
        if words.contains_key(life) || is_of_another_store(Some(store), leftover) {
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
