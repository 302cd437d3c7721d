//! The matrix as a table for people and as JSON, and which cells are wrong.

use std::fmt::Write as _;
use std::time::Duration;

use lifecycle_cli::output::Table;
use serde_json::{Value, json};

use crate::cell::{BOUND, CellResult, Refusal, Run};
use crate::matrix::Cell;
use crate::tree::KINDS;

/// What the time is meant to be, in ms, where the kernel holds the processes together. Only shown.
const GOAL_MS: u128 = 100;

/// All cells of one run of this program.
pub(crate) struct Report {
    store: String,
    seed: u64,
    cells: Vec<CellResult>,
}

/// What is to be said of a cell.
enum Verdict {
    Held,
    Wrong(String),
    /// Something has survived, where nothing could hold it.
    Excused(&'static str),
    NotHere(String),
}

impl Report {
    pub(crate) fn new(store: String, seed: u64, cells: Vec<CellResult>) -> Self {
        Self { store, seed, cells }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// How many cells were possible here.
    pub(crate) fn tried(&self) -> usize {
        self.cells.iter().filter(|cell| cell.refusal.is_none()).count()
    }

    pub(crate) fn not_here(&self) -> Option<&str> {
        self.cells.iter().find_map(|cell| cell.refusal.as_ref()).map(Refusal::reason)
    }

    /// The cells that are wrong, and why.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let wrong = |result: &CellResult| match verdict(result) {
            Verdict::Wrong(why) => Some(format!("{}: {why}", result.cell)),
            _ => None,
        };
        self.cells.iter().filter_map(wrong).collect()
    }

    pub(crate) fn table(&self) -> Table {
        let mut table =
            Table::new(["RUN BY", "MODE", "SIGNAL", "HIT", "LEFT", "GONE AFTER", "GOAL", "AUDIT", ""]).wide();
        for result in &self.cells {
            let cell = result.cell;
            table.row([
                cell.who.name().to_owned(),
                cell.mode.name().to_owned(),
                cell.blow.name().to_owned(),
                cell.target.name().to_owned(),
                left(result),
                gone_after(result),
                goal(cell).map_or_else(|| "-".to_owned(), |goal| format!("{goal} ms")),
                audit(result),
                verdict(result).words(),
            ]);
        }
        table
    }

    /// For below the table: how many cells held, and the times where there is a goal.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "\nLEFT of {} after {} s; the worst of all runs. {}; --seed {}.\n",
            KINDS.len(),
            BOUND.as_secs(),
            self.store,
            self.seed
        );
        let count = |wanted: fn(&Verdict) -> bool| self.cells.iter().map(verdict).filter(wanted).count();
        let _ = writeln!(
            text,
            "{} cells: {} held, {} wrong, {} excused, {} not here.",
            self.len(),
            count(|verdict| matches!(verdict, Verdict::Held)),
            count(|verdict| matches!(verdict, Verdict::Wrong(_))),
            count(|verdict| matches!(verdict, Verdict::Excused(_))),
            count(|verdict| matches!(verdict, Verdict::NotHere(_))),
        );
        let times = self.times_with_goal();
        if let (Some(median), Some(p99), Some(max)) =
            (quantile(&times, 50), quantile(&times, 99), times.last())
        {
            let _ = writeln!(
                text,
                "Where the kernel holds them: median {median} ms, p99 {p99} ms (goal {GOAL_MS} ms), max {max} ms, of {} kills.",
                times.len()
            );
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let times = self.times_with_goal();
        json!({
            "store": self.store,
            "seed": self.seed,
            "boundMs": BOUND.as_millis(),
            "goalMs": GOAL_MS,
            "p99Ms": quantile(&times, 99),
            "cells": self.cells.iter().map(cell_json).collect::<Vec<_>>(),
        })
    }

    fn times_with_goal(&self) -> Vec<u128> {
        let cells = self.cells.iter().filter(|result| goal(result.cell).is_some());
        let mut times: Vec<u128> = cells.flat_map(times).collect();
        times.sort_unstable();
        times
    }
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Wrong(_) => "wrong",
            Self::Excused(_) => "excused",
            Self::NotHere(_) => "notHere",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Held => None,
            Self::Excused(why) => Some(why),
            Self::Wrong(why) | Self::NotHere(why) => Some(why),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Held => "ok".to_owned(),
            Self::Wrong(why) => format!("WRONG: {why}"),
            Self::Excused(why) => format!("excused: {why}"),
            Self::NotHere(why) => format!("not here: {why}"),
        }
    }
}

fn verdict(result: &CellResult) -> Verdict {
    if let Some(refusal) = &result.refusal {
        return not_tried(result.cell, refusal);
    }
    if let Some(lie) = result.runs.iter().find_map(lie) {
        return Verdict::Wrong(lie);
    }
    match (result.runs.iter().find_map(fault), result.cell.excuse()) {
        (None, _) => Verdict::Held,
        (Some(Fault::Survivors(_)), Some(excuse)) => Verdict::Excused(excuse),
        (Some(Fault::Survivors(why) | Fault::Other(why)), _) => Verdict::Wrong(why),
    }
}

fn not_tried(cell: Cell, refusal: &Refusal) -> Verdict {
    match refusal {
        Refusal::Trouble(why) => Verdict::Wrong(why.clone()),
        Refusal::Product(reason) if cell.mode.is_everywhere() => {
            Verdict::Wrong(format!("this needs nothing of the host, and was refused: {reason}"))
        }
        Refusal::Host(reason) | Refusal::Product(reason) => Verdict::NotHere(reason.clone()),
    }
}

enum Fault {
    Survivors(String),
    Other(String),
}

fn fault(run: &Run) -> Option<Fault> {
    if let Some(trouble) = &run.trouble {
        return Some(Fault::Other(trouble.clone()));
    }
    if !run.end.is_clean() {
        return Some(Fault::Survivors(format!("{} survived", survivors(run))));
    }
    if !run.idlers.is_empty() {
        return Some(Fault::Other(format!("those who looked after it do not leave: {:?}", run.idlers)));
    }
    (!run.is_reaped()).then(|| Fault::Other("the life was not reaped".to_owned()))
}

fn survivors(run: &Run) -> String {
    let kinds: Vec<&str> = run.end.kinds.iter().copied().collect();
    let kinds = if kinds.len() == KINDS.len() { "all seven".to_owned() } else { kinds.join(", ") };
    match (run.end.kinds.len(), run.end.others) {
        (_, 0) => kinds,
        (0, others) => format!("{others} that they had started"),
        (_, others) => format!("{kinds} and {others} that they had started"),
    }
}

/// An audit that says of living processes that they are not.
fn lie(run: &Run) -> Option<String> {
    let seen = run.end.last_seen.as_ref()?;
    let entry = run.audit.iter().find(|entry| entry.is_untrue(Some(seen)))?;
    let ms = entry.ms_before(seen.at);
    Some(format!("the audit said `{entry}`, and {} was alive {ms} ms later", seen.who))
}

fn goal(cell: Cell) -> Option<u128> {
    cell.has_goal().then_some(GOAL_MS)
}

fn left(result: &CellResult) -> String {
    let runs = result.runs.iter().filter(|run| run.trouble.is_none());
    let worst = runs.max_by_key(|run| (run.end.kinds.len(), run.end.others));
    worst.map_or_else(
        || "-".to_owned(),
        |run| match run.end.others {
            0 => run.end.kinds.len().to_string(),
            others => format!("{} (+{others})", run.end.kinds.len()),
        },
    )
}

/// The times of runs that left nothing, in ms.
fn times(result: &CellResult) -> impl Iterator<Item = u128> {
    let clean = result.runs.iter().filter(|run| run.trouble.is_none() && run.end.is_clean());
    clean.filter_map(|run| run.end.took).map(|took: Duration| took.as_millis())
}

fn gone_after(result: &CellResult) -> String {
    let mut times: Vec<u128> = times(result).collect();
    times.sort_unstable();
    match (quantile(&times, 50), times.last()) {
        (Some(median), Some(max)) if times.len() > 1 => format!("{median} ms, at most {max}"),
        (_, Some(only)) => format!("{only} ms"),
        _ => "-".to_owned(),
    }
}

/// What was said, each way to say it once.
fn audit(result: &CellResult) -> String {
    let mut said: Vec<String> = result.runs.iter().map(audit_of).collect();
    said.sort();
    said.dedup();
    if said.is_empty() { "-".to_owned() } else { said.join(" / ") }
}

fn audit_of(run: &Run) -> String {
    let said: Vec<String> = run.audit.iter().map(ToString::to_string).collect();
    if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
}

fn cell_json(result: &CellResult) -> Value {
    let (cell, verdict) = (result.cell, verdict(result));
    json!({
        "runBy": cell.who.name(),
        "mode": cell.mode.name(),
        "signal": cell.blow.name(),
        "hit": cell.target.name(),
        "goalMs": goal(cell),
        "verdict": verdict.word(),
        "why": verdict.why(),
        "runs": result.runs.iter().map(run_json).collect::<Vec<_>>(),
    })
}

fn run_json(run: &Run) -> Value {
    let audit = run.audit.iter().map(|entry| json!({"type": entry.kind, "process": entry.process}));
    json!({
        "left": run.end.kinds,
        "othersLeft": run.end.others,
        "goneAfterMs": run.end.took.filter(|_| run.end.is_clean()).map(|took| took.as_millis()),
        "idlers": run.idlers,
        "audit": audit.collect::<Vec<_>>(),
        "trouble": run.trouble,
    })
}

/// The smallest of the sorted times that so many percent are not over.
fn quantile(times: &[u128], percent: usize) -> Option<u128> {
    times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}
