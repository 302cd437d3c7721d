//! From tables as they are written to a plan that can be run: names, ranges and what must not be missing.
//!
//! Nothing stops at the first problem. A part with a problem becomes `None` and the check goes on, so that one
//! reading of a file shows all there is to mend.

use std::collections::HashSet;
use std::ops::Range;
use std::str::FromStr;

use super::agents::Roster;
use super::waits::{SPRINTS, TASKS, Waiter};
use super::written::{self, Id, Lines, Spanned};
use super::{
    DEFAULT_ATTEMPTS, DEFAULT_MAX_CRASHES, MAX_ATTEMPTS, MAX_INPUT_LEN, MAX_MAX_CRASHES, Plan, PlanErrors,
    PlanProblem, SprintPlan, TaskPlan,
};
use crate::ids::{EpicId, InvalidName, MAX_NAME_LEN, SprintId, SprintName};

/// The problems found so far, and how a place in the text becomes a line.
pub(super) struct Check {
    lines: Lines,
    problems: Vec<PlanProblem>,
}

/// Checks the tables of a plan written in `text`, whose shape has these problems.
pub(super) fn plan(
    text: &str,
    written: written::Plan,
    problems: Vec<PlanProblem>,
) -> Result<Plan, PlanErrors> {
    let mut check = Check { lines: Lines::of(text), problems };
    let epic = check.epic(&written.epic);
    if written.sprint.as_ref().is_some_and(Vec::is_empty) {
        check.refuse_whole("the plan has no sprint: add [[sprint]], [[sprint.agent]] and [[sprint.task]]");
    }
    let written = written.sprint.unwrap_or_default();
    let waiters: Vec<Waiter<'_>> = written.iter().map(sprint_waits).collect();
    check.waits(&SPRINTS, "", &waiters);
    let mut roster = Roster::default();
    let mut sprints = Vec::new();
    for (index, sprint) in written.into_iter().enumerate() {
        sprints.push(check.sprint(epic.as_ref(), index, sprint, &mut roster));
    }
    match (epic, sprints.into_iter().collect()) {
        (Some(epic), Some(sprints)) if check.problems.is_empty() => Ok(Plan { epic, sprints }),
        _ => Err(PlanErrors::new(check.problems)),
    }
}

impl Check {
    /// Notes a problem of what stands at `place`.
    pub(super) fn refuse(&mut self, place: &Range<usize>, what: String) {
        self.problems.push(PlanProblem { line: Some(self.line(place)), column: None, what });
    }

    fn refuse_whole(&mut self, what: &str) {
        self.problems.push(PlanProblem { line: None, column: None, what: what.into() });
    }

    pub(super) fn line(&self, place: &Range<usize>) -> usize {
        self.lines.line(place)
    }

    fn epic(&mut self, epic: &Id) -> Option<EpicId> {
        let id = match epic {
            Id::Text(id) => id,
            Id::Unfit => return None,
            Id::Missing => {
                self.refuse_whole("the plan's epic has no id: begin the plan with [epic] and id = \"NAME\"");
                return None;
            }
        };
        let epic: EpicId = self.id("", id)?;
        if let Err(invalid) = epic.coordinator() {
            let what = format!(
                "{invalid}, in \"{epic}.coordinator\", as the epic's coordinator is called: shorten the epic's id"
            );
            self.refuse(&id.span(), what);
            return None;
        }
        Some(epic)
    }

    /// A valid id; `of` is what it belongs to, as a beginning of the line.
    fn id<T: FromStr<Err = InvalidName>>(&mut self, of: &str, id: &Spanned<String>) -> Option<T> {
        id.get_ref().parse().map_err(|invalid| self.refuse(&id.span(), format!("{of}{invalid}"))).ok()
    }

    /// As [`Check::id`], for a table that may lack it.
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

    /// A number in its range.
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

    fn sprint(
        &mut self,
        epic: Option<&EpicId>,
        index: usize,
        sprint: Spanned<written::Sprint>,
        roster: &mut Roster,
    ) -> Option<SprintPlan> {
        let (place, sprint) = (sprint.span(), sprint.into_inner());
        let label = label("sprint", sprint.id.text(), index);
        let of = format!("{label}: ");
        let (lacks_tasks, lacks_agents) = (lacks(&sprint.task), lacks(&sprint.agent));
        if lacks_tasks {
            let mend = "add [[sprint.task]] with an id, or remove the sprint";
            self.refuse(&place, format!("{of}has no task, so there is nothing to do: {mend}"));
        } else if lacks_agents {
            let mend = "add [[sprint.agent]] with an id and a command";
            self.refuse(&place, format!("{of}has tasks and no agent to do them: {mend}"));
        }
        let tasks = sprint.task.unwrap_or_default();
        let waiters: Vec<Waiter<'_>> = tasks.iter().map(task_waits).collect();
        self.waits(&TASKS, &of, &waiters);
        let name: Option<SprintName> = self.id_of("", &place, (&label, &sprint.id));
        let place = sprint.id.text().map_or(place, Spanned::span);
        let id = name.as_ref().zip(epic).and_then(|(name, epic)| self.scoped(&of, &place, epic.sprint(name)));
        let agents = self.agents((&label, epic), &sprint.agent.unwrap_or_default(), roster);
        let tasks: Vec<_> =
            tasks.into_iter().enumerate().map(|(index, task)| self.task(&label, index, task)).collect();
        Some(SprintPlan {
            id: id?,
            name: name?,
            after: sprints_of(epic?, &sprint.after)?,
            agents: agents?,
            tasks: tasks.into_iter().collect::<Option<_>>()?,
        })
    }

    fn task(&mut self, sprint: &str, index: usize, task: Spanned<written::Task>) -> Option<TaskPlan> {
        let (place, task) = (task.span(), task.into_inner());
        let of = format!("{sprint}, ");
        let label = label("task", task.id.text(), index);
        let id = self.id_of(&of, &place, (&label, &task.id));
        let of = format!("{of}{label}: ");
        if let Some(input) = &task.input {
            self.no_nul(&of, "input", input);
            let len = input.get_ref().len();
            if len > MAX_INPUT_LEN {
                let mend = "put it in a file and name the file";
                let what = format!("{of}input has {len} bytes, over the {MAX_INPUT_LEN} allowed: {mend}");
                self.refuse(&input.span(), what);
            }
        }
        let attempts = self.number(&of, "attempts", task.attempts.as_ref(), (DEFAULT_ATTEMPTS, MAX_ATTEMPTS));
        let crashes = (DEFAULT_MAX_CRASHES, MAX_MAX_CRASHES);
        let max_crashes = self.number(&of, "max_crashes", task.max_crashes.as_ref(), crashes);
        Some(TaskPlan {
            id: id?,
            input: task.input.map(Spanned::into_inner).unwrap_or_default(),
            needs: each_once(&task.needs)?,
            attempts: attempts?,
            max_crashes: max_crashes?,
        })
    }

    /// An id put together of the epic's and a name of the plan.
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

    /// Refuses what the system could not hand to a program.
    pub(super) fn no_nul(&mut self, of: &str, what: &str, text: &Spanned<String>) {
        if text.get_ref().contains('\0') {
            let what = format!("{of}{what} has a NUL character, which no program can be given: remove it");
            self.refuse(&text.span(), what);
        }
    }
}

/// Whether a list is there and has nothing in it, or was left out.
fn lacks<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(Vec::is_empty)
}

/// How a line calls a table: by its id, else by its number.
pub(super) fn label(thing: &str, id: Option<&Spanned<String>>, index: usize) -> String {
    match id {
        Some(id) => format!("{thing} {:?}", shown(id.get_ref())),
        None => format!("{thing} {}", index + 1),
    }
}

/// A name as far as a line has room for it.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME_LEN).collect()
}

/// The names referred to; `None` when one is invalid, which was reported where it was found to lead nowhere.
fn each_once<T: FromStr>(names: &[Spanned<String>]) -> Option<Vec<T>> {
    let mut seen = HashSet::new();
    names
        .iter()
        .map(|name| name.get_ref().as_str())
        .filter(|name| seen.insert(*name))
        .map(|name| name.parse().ok())
        .collect()
}

/// The sprints referred to, by the ids they have in the store.
fn sprints_of(epic: &EpicId, names: &[Spanned<String>]) -> Option<Vec<SprintId>> {
    each_once::<SprintName>(names)?.iter().map(|name| epic.sprint(name).ok()).collect()
}

fn sprint_waits(sprint: &Spanned<written::Sprint>) -> Waiter<'_> {
    Waiter { id: sprint.get_ref().id.text(), waits: &sprint.get_ref().after }
}

fn task_waits(task: &Spanned<written::Task>) -> Waiter<'_> {
    Waiter { id: task.get_ref().id.text(), waits: &task.get_ref().needs }
}
