//! The list of problems that every check adds to, and the checks of single values.

use std::ops::Range;
use std::str::FromStr;

use super::problems::{PlanErrors, PlanProblem};
use super::types::Plan;
use super::written::{Id, Lines, Spanned};
use crate::wire::ids::InvalidName;

/// The problems found so far, and how a place in the text becomes a line.
pub(super) struct Checker {
    lines: Lines,
    problems: Vec<PlanProblem>,
}

impl Checker {
    /// Begins with the problems that were found in the shape of `text`.
    pub(super) fn new(text: &str, problems: Vec<PlanProblem>) -> Self {
        Self { lines: Lines::of(text), problems }
    }

    /// The plan, if there is no problem; else all of them.
    pub(super) fn end(self, plan: Option<Plan>) -> Result<Plan, PlanErrors> {
        match plan {
            Some(plan) if self.problems.is_empty() => Ok(plan),
            _ => Err(PlanErrors::new(self.problems)),
        }
    }

    /// Notes a problem of the value at `place`.
    pub(super) fn refuse(&mut self, place: &Range<usize>, what: String) {
        self.problems.push(PlanProblem { line: Some(self.line(place)), column: None, what });
    }

    /// Notes a problem of the plan as a whole.
    pub(super) fn refuse_whole(&mut self, what: &str) {
        self.problems.push(PlanProblem { line: None, column: None, what: what.into() });
    }

    /// The line on which a place begins.
    pub(super) fn line(&self, place: &Range<usize>) -> usize {
        self.lines.line(place)
    }

    /// A valid id. `of` names the table that it belongs to, at the beginning of the line.
    pub(super) fn id<T: FromStr<Err = InvalidName>>(&mut self, of: &str, id: &Spanned<String>) -> Option<T> {
        id.get_ref().parse().map_err(|invalid| self.refuse(&id.span(), format!("{of}{invalid}"))).ok()
    }

    /// As [`Checker::id`], for a table that may lack its id.
    pub(super) fn id_of<T: FromStr<Err = InvalidName>>(
        &mut self,
        of: &str,
        table: &Range<usize>,
        (label, id): (&str, &Id),
    ) -> Option<T> {
        match id {
            Id::Text(id) => self.id(of, id),
            Id::Unfit => None,
            Id::Missing => {
                self.refuse(table, format!("{of}{label}: has no id: add id = \"NAME\""));
                None
            }
        }
    }

    /// A number, if it is in its range.
    pub(super) fn number(
        &mut self,
        of: &str,
        key: &str,
        written: Option<&Spanned<i64>>,
        (default, most): (u32, u32),
    ) -> Option<u32> {
        let Some(written) = written else { return Some(default) };
        let number = u32::try_from(*written.get_ref()).ok().filter(|number| (1..=most).contains(number));
        if number.is_none() {
            let what = format!("{of}{key} is {}: use 1 to {most}", written.get_ref());
            self.refuse(&written.span(), what);
        }
        number
    }

    /// An id made of the epic's id and a name of the plan.
    pub(super) fn scoped<T>(
        &mut self,
        of: &str,
        place: &Range<usize>,
        id: Result<T, InvalidName>,
    ) -> Option<T> {
        id.map_err(|invalid| {
            self.refuse(
                place,
                format!("{of}{invalid}, together with the epic's id and a dot: shorten either"),
            );
        })
        .ok()
    }

    /// Refuses a NUL character: the system could not hand such a text to a program.
    pub(super) fn no_nul(&mut self, of: &str, what: &str, text: &Spanned<String>) {
        if text.get_ref().contains('\0') {
            let what = format!("{of}{what} has a NUL character, which no program can be given: remove it");
            self.refuse(&text.span(), what);
        }
    }
}
