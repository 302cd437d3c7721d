//! The tables of a plan as they are written, with the place of every value; and what is wrong with a text that
//! has not their shape.
//!
//! Fields that must be present are optional here: the check names the sprint, agent or task that lacks one.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{PlanErrors, PlanProblem};
use crate::spelling::nearest;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    pub(super) epic: Option<Epic>,
    #[serde(default)]
    pub(super) sprint: Vec<Spanned<Sprint>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Epic {
    pub(super) id: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sprint {
    pub(super) id: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) after: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) agent: Vec<Spanned<Agent>>,
    #[serde(default)]
    pub(super) task: Vec<Spanned<Task>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agent {
    pub(super) id: Option<Spanned<String>>,
    pub(super) count: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) command: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, Spanned<String>>,
    pub(super) task_timeout: Option<Spanned<toml::Value>>,
    pub(super) memory_limit: Option<Spanned<toml::Value>>,
    pub(super) memory_soft_limit: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    pub(super) id: Option<Spanned<String>>,
    pub(super) input: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) needs: Vec<Spanned<String>>,
    pub(super) attempts: Option<Spanned<i64>>,
}

/// Reads the tables of a plan.
pub(super) fn read(text: &str) -> Result<Plan, PlanErrors> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| Lines::of(text).line(&span));
        let column = error.span().map(|span| column(text, span.start));
        PlanErrors::new(vec![PlanProblem { line, column, what: misshapen(error.message()) }])
    })
}

/// Where each line of a text begins, so that a place can be told by its line.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line a place begins on, from 1.
    pub(super) fn line(&self, place: &Range<usize>) -> usize {
        self.0.partition_point(|start| *start <= place.start)
    }
}

/// The column of a byte, from 1, counted in characters.
fn column(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1
}

/// The library's message in one line, with what would be right.
fn misshapen(message: &str) -> String {
    if let Some((key, known)) = unknown_key(message) {
        let shown: String = key.chars().take(40).collect();
        return match nearest(key, known.iter().copied()) {
            Some(meant) => format!("unknown key {shown:?}: did you mean {meant:?}?"),
            None => format!("unknown key {shown:?}: the keys here are {}", known.join(", ")),
        };
    }
    // A value that remembers its place is read through a struct of the library's own, and a table written with
    // dotted keys has no place: neither is anything its writer knows of.
    if message.contains("serde_spanned") || message.contains("expected a borrowed string") {
        return "a table stands where a single value belongs: look for a key with a dot in it".into();
    }
    let line = message.lines().collect::<Vec<_>>().join(", ").replace(char::is_control, " ");
    if line.contains("invalid type: map, expected a sequence") {
        return format!("{line}: write the header in double brackets, such as [[sprint]] or [[sprint.task]]");
    }
    format!("not a plan in TOML: {line}")
}

/// Takes ``unknown field `x`, expected one of `a`, `b` `` apart.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let (key, known) = message.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
    Some((key, known.split('`').skip(1).step_by(2).collect()))
}
