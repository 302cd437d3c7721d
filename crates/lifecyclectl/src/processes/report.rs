//! What `processes` shows: a table for people, JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_sdk::leftovers::Judged;
use agent_sdk::process::{Leftover, LifeName, Stranger, Told};
use lifecycle_cli::output::{self, Output, Table, age, size};
use lifecycle_core::agent::leftover::{Doubt, Proof, Verdict};
use lifecycle_core::agent::thing::Account;
use serde::Serialize;

/// What was found, and what came of it.
pub(super) struct Report<'a> {
    pub(super) judged: &'a [Judged],
    pub(super) strangers: &'a [Stranger],
    /// What was told to end; `None` if nothing was to be.
    pub(super) told: Option<&'a [Told]>,
    /// What was undone of lives of which no process was left.
    pub(super) things: &'a [(LifeName, Account)],
    /// Whether a store answered, or none had to be asked.
    pub(super) is_answered: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    processes: Vec<Row<'a>>,
    strangers: Vec<StrangerRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Vec<ToldRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Vec<ToldRow>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    things: Vec<ThingsRow<'a>>,
    store_answered: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThingsRow<'a> {
    agent_id: String,
    incarnation: String,
    undone: &'a [String],
    parked: &'a BTreeMap<String, String>,
    left: &'a BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    uid: u32,
    user: Option<&'a str>,
    agent_id: String,
    incarnation: String,
    pid: u32,
    start: u64,
    age_ms: Option<u64>,
    rss: u64,
    recognised_by: &'static str,
    supervisor: &'static str,
    store: Option<&'a str>,
    over: bool,
    verdict: &'static str,
    command: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StrangerRow<'a> {
    uid: u32,
    user: Option<&'a str>,
    kind: &'static str,
    pid: u32,
    start: u64,
    age_ms: Option<u64>,
    rss: u64,
    command: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldRow {
    agent_id: String,
    incarnation: String,
    pid: u32,
    start: u64,
}

impl Report<'_> {
    pub(super) fn show(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json => output::print_json(&self.document())?,
            Output::Table => output::print_stdout(&self.text())?,
        };
        Ok(())
    }

    fn document(&self) -> Document<'_> {
        let told = |is_gone: bool| {
            let rows = self.told?.iter().filter(|told| told.is_gone == is_gone);
            Some(rows.map(ToldRow::of).collect())
        };
        Document {
            processes: self.judged.iter().map(Row::of).collect(),
            strangers: self.strangers.iter().map(StrangerRow::of).collect(),
            ended: told(true),
            left: told(false),
            things: self.things.iter().map(ThingsRow::of).collect(),
            store_answered: self.is_answered,
        }
    }

    fn text(&self) -> String {
        let mut text = self.processes();
        if let Some(told) = self.told {
            text += &ended(told);
        }
        for (life, things) in self.things {
            text += &format!("of what {} owned: {things}\n", life.id);
        }
        if !self.is_answered && !self.judged.is_empty() {
            text += "no store answered: nothing can be proven over without it, so --end would end nothing\n";
        }
        if !self.strangers.is_empty() {
            text += &format!("\n{}", strangers(self.strangers));
        }
        text
    }

    fn processes(&self) -> String {
        if self.judged.is_empty() {
            return "no process of a life that is over is left on this host\n".into();
        }
        let mut table =
            Table::new(["OWNER", "AGENT", "INCARNATION", "PID", "AGE", "MEMORY", "BY", "OVER", "COMMAND"])
                .drop_first(&["INCARNATION", "MEMORY", "BY", "AGE"]);
        for Judged { leftover, verdict } in self.judged {
            table.row([
                owner(leftover.user.as_deref(), leftover.uid),
                leftover.life.id.to_string(),
                leftover.life.incarnation.to_string(),
                leftover.process.pid.to_string(),
                shown_age(leftover.age),
                size(leftover.rss),
                leftover.recognised_by.as_str().into(),
                in_words(verdict, leftover),
                leftover.command.clone(),
            ]);
        }
        let over = self.judged.iter().filter(|judged| judged.can_be_proven()).count();
        let hint = match over {
            0 => "none of them is proven over".into(),
            _ if self.told.is_some() => format!("{over} of them over"),
            over => format!("{over} of them over: `lifecyclectl processes --end` ends those"),
        };
        let all = processes(self.judged.len());
        format!("{table}{all} of {} left on this host, {hint}\n", lives(self.judged.iter()))
    }
}

impl<'a> Row<'a> {
    fn of(judged: &'a Judged) -> Self {
        let Judged { leftover, verdict } = judged;
        Self {
            uid: leftover.uid,
            user: leftover.user.as_deref(),
            agent_id: leftover.life.id.to_string(),
            incarnation: leftover.life.incarnation.to_string(),
            pid: leftover.process.pid,
            start: leftover.process.start,
            age_ms: leftover.age.map(millis),
            rss: leftover.rss,
            recognised_by: leftover.recognised_by.as_str(),
            supervisor: if leftover.ledger.is_some() { "gone" } else { "unknown" },
            store: leftover.ledger.as_ref().map(|ledger| ledger.store.as_str()),
            over: judged.is_over(),
            verdict: word(verdict),
            command: &leftover.command,
        }
    }
}

impl<'a> StrangerRow<'a> {
    pub(super) fn of(stranger: &'a Stranger) -> Self {
        Self {
            uid: stranger.uid,
            user: stranger.user.as_deref(),
            kind: stranger.kind,
            pid: stranger.process.pid,
            start: stranger.process.start,
            age_ms: stranger.age.map(millis),
            rss: stranger.rss,
            command: &stranger.command,
        }
    }
}

impl<'a> ThingsRow<'a> {
    fn of((life, things): &'a (LifeName, Account)) -> Self {
        Self {
            agent_id: life.id.to_string(),
            incarnation: life.incarnation.to_string(),
            undone: &things.undone,
            parked: &things.parked,
            left: &things.left,
        }
    }
}

impl ToldRow {
    fn of(told: &Told) -> Self {
        Self {
            agent_id: told.life.id.to_string(),
            incarnation: told.life.incarnation.to_string(),
            pid: told.process.pid,
            start: told.process.start,
        }
    }
}

/// `3 processes of 2 lives that are over are left on this host: lifecyclectl processes`.
pub(super) fn sentence(over: &[Judged]) -> String {
    let (are, are_left) = (lives(over.iter()), if over.len() == 1 { "is" } else { "are" });
    let is_over = if are == "1 life" { "is" } else { "are" };
    format!(
        "{} of {are} that {is_over} over {are_left} left on this host: lifecyclectl processes",
        processes(over.len())
    )
}

fn ended(told: &[Told]) -> String {
    if told.is_empty() {
        return "ended nothing\n".into();
    }
    let gone: Vec<&Told> = told.iter().filter(|told| told.is_gone).collect();
    let pids: Vec<String> = gone.iter().map(|told| told.process.pid.to_string()).collect();
    format!("ended {}: {}\n", processes(gone.len()), pids.join(" "))
}

fn strangers(strangers: &[Stranger]) -> String {
    let mut table =
        Table::new(["OWNER", "KIND", "PID", "AGE", "MEMORY", "COMMAND"]).drop_first(&["MEMORY", "AGE"]);
    for stranger in strangers {
        table.row([
            owner(stranger.user.as_deref(), stranger.uid),
            stranger.kind.into(),
            stranger.process.pid.to_string(),
            shown_age(stranger.age),
            size(stranger.rss),
            stranger.command.clone(),
        ]);
    }
    format!(
        "{table}{} seem left of other agents' programs: `lifecyclectl processes --strangers --end PID` ends those that you name\n",
        processes(strangers.len())
    )
}

pub(super) fn processes(number: usize) -> String {
    if number == 1 { "1 process".into() } else { format!("{number} processes") }
}

fn lives<'a>(judged: impl Iterator<Item = &'a Judged>) -> String {
    let lives: BTreeSet<_> = judged.map(|judged| &judged.leftover.life).collect();
    if lives.len() == 1 { "1 life".into() } else { format!("{} lives", lives.len()) }
}

fn owner(user: Option<&str>, uid: u32) -> String {
    user.map_or_else(|| uid.to_string(), str::to_owned)
}

fn shown_age(lasted: Option<Duration>) -> String {
    lasted.map_or_else(|| "unknown".into(), |lasted| age(millis(lasted)))
}

fn millis(lasted: Duration) -> u64 {
    u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX)
}

/// Over, or why not.
fn in_words(verdict: &Verdict, leftover: &Leftover) -> String {
    match verdict {
        Verdict::Over(Proof::Reaped) => "over: it was reaped".into(),
        Verdict::Over(Proof::Released) => "over: it left by itself".into(),
        Verdict::Over(Proof::Ended) => "over: its end is on record".into(),
        Verdict::Over(Proof::Replaced) => "over: another life has its id".into(),
        Verdict::Over(Proof::Unregistered) => "over: it is not registered".into(),
        Verdict::Unwitnessed { lease_runs: true } => "over here, but its lease still runs".into(),
        Verdict::Unwitnessed { lease_runs: false } => "over here, and not yet cleaned up".into(),
        Verdict::Open(Doubt::NoStore) => "not proven: no store".into(),
        Verdict::Open(Doubt::AnotherStore) => {
            let store = leftover.ledger.as_ref().map_or("another store", |ledger| ledger.store.as_str());
            format!("not proven: it is of {store}")
        }
        Verdict::Open(Doubt::Lives) => "no: it lives".into(),
        Verdict::Open(Doubt::Silent) => "not proven: it is only silent".into(),
        Verdict::Open(Doubt::MayBeHeld) => "not proven: its supervisor may run".into(),
        Verdict::Open(Doubt::Unknown) => "not proven: the store does not know it".into(),
    }
}

/// The same for programs.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Over(Proof::Reaped) => "reaped",
        Verdict::Over(Proof::Released) => "released",
        Verdict::Over(Proof::Ended) => "ended",
        Verdict::Over(Proof::Replaced) => "replaced",
        Verdict::Over(Proof::Unregistered) => "unregistered",
        Verdict::Unwitnessed { .. } => "unwitnessed",
        Verdict::Open(Doubt::NoStore) => "noStore",
        Verdict::Open(Doubt::AnotherStore) => "anotherStore",
        Verdict::Open(Doubt::Lives) => "lives",
        Verdict::Open(Doubt::Silent) => "silent",
        Verdict::Open(Doubt::MayBeHeld) => "mayBeHeld",
        Verdict::Open(Doubt::Unknown) => "unknown",
    }
}
