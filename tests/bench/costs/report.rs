//! The figures of a run, as a table for people and as JSON.

use lifecycle_cli::output::Table;
use serde::Serialize;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Better {
    Less,
    More,
}

/// One figure beside its baseline.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// `None` where it cannot be had here; the note says why.
    pub(crate) ours: Option<f64>,
    /// `None` where there is nothing to compare with.
    pub(crate) baseline: Option<f64>,
    /// How many times better ours is; below 1 it is worse.
    pub(crate) ratio: Option<f64>,
    /// What it is meant to be, at least or at most. Only shown.
    pub(crate) goal: Option<f64>,
    /// What the baseline is, or what else there is to say.
    pub(crate) note: String,
}

/// All figures of one run of this program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostReport {
    server: String,
    cores: usize,
    agents: u32,
    dead: u32,
    runs: u8,
    figures: Vec<Figure>,
}

impl CostReport {
    pub(crate) fn new(server: String, agents: u32, dead: u32, runs: u8) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { server, cores, agents, dead, runs, figures: Vec::new() }
    }

    /// Adds a figure; the ratio is worked out here.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        (unit, better): (&'static str, Better),
        ours: f64,
        baseline: Option<f64>,
        note: impl Into<String>,
    ) {
        let ratio = baseline.map(|baseline| match better {
            Better::Less => baseline / ours,
            Better::More => ours / baseline,
        });
        // A difference of two times may be nothing, or less.
        let ratio = ratio.filter(|ratio| ratio.is_finite() && *ratio >= 0.0);
        self.figures.push(Figure {
            name: name.into(),
            unit,
            better,
            ours: Some(ours),
            baseline,
            ratio,
            goal: None,
            note: note.into(),
        });
    }

    /// Adds a figure that cannot be had here.
    pub(crate) fn not_here(
        &mut self,
        name: impl Into<String>,
        (unit, better): (&'static str, Better),
        why: impl std::fmt::Display,
    ) {
        self.figures.push(Figure {
            name: name.into(),
            unit,
            better,
            ours: None,
            baseline: None,
            ratio: None,
            goal: None,
            note: format!("not here: {why}"),
        });
    }

    /// Sets the goal of the figure that was added last.
    pub(crate) fn goal(&mut self, goal: f64) {
        if let Some(figure) = self.figures.last_mut() {
            figure.goal = Some(goal);
        }
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(["FIGURE", "UNIT", "OURS", "GOAL", "BASELINE", "RATIO", "BASELINE IS"]);
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        for figure in &self.figures {
            let ratio = figure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{}x", number(ratio)));
            table.row([
                figure.name.clone(),
                figure.unit.to_owned(),
                shown(figure.ours),
                figure.goal.map_or_else(|| "-".to_owned(), |goal| aim(figure.better, goal)),
                shown(figure.baseline),
                ratio,
                figure.note.clone(),
            ]);
        }
        table
    }

    /// Where the figures come from, for below the table.
    pub(crate) fn origin(&self) -> String {
        let (server, cores, runs) = (&self.server, self.cores, self.runs);
        format!("Median of {runs} run(s); {server}; server and client share {cores} core(s).\n")
    }
}

fn aim(better: Better, goal: f64) -> String {
    let sign = if better == Better::Less { '≤' } else { '≥' };
    format!("{sign} {}", number(goal))
}

/// Three significant digits, and no fraction from 100 on.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let groups: Vec<&str> =
        whole.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    let whole = groups.join(",");
    fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}"))
}

/// The middle one; of an even number, the upper of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
