//! What is wrong with a plan, and how a message names the table at fault.

use std::fmt;

use crate::wire::ids::MAX_NAME_LEN;

/// Why a plan was refused: every problem found, in the order of the file. Shown with one problem per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors(Vec<PlanProblem>);

impl PlanErrors {
    pub(super) fn new(mut problems: Vec<PlanProblem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self(problems)
    }

    /// The problems, those of the plan as a whole first; never empty.
    #[must_use]
    pub fn problems(&self) -> &[PlanProblem] {
        &self.0
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

/// One thing wrong with a plan. Shown on one line, which begins with the place where it is known:
/// `line 12: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The line of the file, from 1; absent for what concerns no place in it, such as a missing `[epic]`.
    pub line: Option<usize>,
    /// The column, in characters from 1; absent unless the text has not the shape of a plan.
    pub column: Option<usize>,
    /// Which sprint, agent or task is at fault, what is wrong with it, and what would be right.
    pub what: String,
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: {}", self.what),
            (Some(line), None) => write!(f, "line {line}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}

/// How a message names a table: by its id, else by its number.
pub(super) fn label(thing: &str, id: Option<&str>, index: usize) -> String {
    match id {
        Some(id) => format!("{thing} {:?}", shown(id)),
        None => format!("{thing} {}", index + 1),
    }
}

/// A name, shortened to the room that a line has for it.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME_LEN).collect()
}
