//! Checks the tables as they are written, and makes a plan that can be run: names, ranges, and parts that must be
//! there.
//!
//! The check does not stop at the first problem. A part with a problem becomes `None` and the check goes on, so that
//! one reading of a file shows all that has to be mended.

use std::collections::HashSet;
use std::str::FromStr;

use super::addition::unneeded;
use super::agents::Roster;
use super::checker::Checker;
use super::command::results_named;
use super::problems::{PlanErrors, PlanProblem, label};
use super::types::{
    DEFAULT_ATTEMPTS, MAX_ATTEMPTS, MAX_INPUT_LEN, MAX_MAX_CRASHES, MAX_TASK_TIMEOUT, Plan, SprintPlan,
    TaskPlan,
};
use super::waits::{SPRINTS, TASKS, Waiter};
use super::written::{self, Id, Spanned};
use crate::wire::ids::{EpicId, SprintId, SprintName, TaskId};
use crate::wire::task::{DEFAULT_MAX_CRASHES, MAX_RETRY_BACKOFF};

/// Checks the tables of a plan. They were read from `text`, and these problems were found in their shape.
pub(super) fn plan(
    text: &str,
    written: written::Plan,
    problems: Vec<PlanProblem>,
) -> Result<Plan, PlanErrors> {
    let mut check = Checker::new(text, problems);
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
    let sprints: Option<Vec<SprintPlan>> = sprints.into_iter().collect();
    check.end(epic.zip(sprints).map(|(epic, sprints)| Plan { epic, sprints }))
}

impl Checker {
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

    fn sprint(
        &mut self,
        epic: Option<&EpicId>,
        index: usize,
        sprint: Spanned<written::Sprint>,
        roster: &mut Roster,
    ) -> Option<SprintPlan> {
        let (place, sprint) = (sprint.span(), sprint.into_inner());
        let label = label("sprint", sprint.id.name(), index);
        let of = format!("{label}: ");
        let (lacks_tasks, lacks_agents) = (lacks(&sprint.task) && !sprint.open, lacks(&sprint.agent));
        if lacks_tasks {
            let mend = "add [[sprint.task]] with an id, say open = true, or remove the sprint";
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
        let written = sprint.agent.unwrap_or_default();
        let agents = self.agents((&label, epic), &written, roster);
        let pools = self.pools(&label, &written, roster);
        let tasks: Vec<_> =
            tasks.into_iter().enumerate().map(|(index, task)| self.task(&label, index, task)).collect();
        Some(SprintPlan {
            id: id?,
            name: name?,
            after: sprints_of(epic?, &sprint.after)?,
            is_open: sprint.open,
            agents: agents?,
            pools: pools?,
            tasks: tasks.into_iter().collect::<Option<_>>()?,
        })
    }

    fn task(&mut self, sprint: &str, index: usize, task: Spanned<written::Task>) -> Option<TaskPlan> {
        let (place, task) = (task.span(), task.into_inner());
        let of = format!("{sprint}, ");
        let label = label("task", task.id.name(), index);
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
        let needs: Option<Vec<TaskId>> = each_once(&task.needs);
        if let (Some(input), Some(needs)) = (&task.input, &needs)
            && let Some(named) = results_named(input.get_ref()).find(|named| !needs.contains(named))
        {
            self.refuse(&input.span(), format!("{of}{}", unneeded(&named)));
        }
        let attempts = self.number(&of, "attempts", task.attempts.as_ref(), (DEFAULT_ATTEMPTS, MAX_ATTEMPTS));
        let crashes = (DEFAULT_MAX_CRASHES, MAX_MAX_CRASHES);
        let max_crashes = self.number(&of, "max_crashes", task.max_crashes.as_ref(), crashes);
        let retry_backoff =
            self.duration(&of, "retry_backoff", task.retry_backoff.as_ref(), MAX_RETRY_BACKOFF);
        let timeout = self.duration(&of, "timeout", task.timeout.as_ref(), MAX_TASK_TIMEOUT);
        Some(TaskPlan {
            id: id?,
            input: task.input.map(Spanned::into_inner).unwrap_or_default(),
            needs: needs?,
            attempts: attempts?,
            max_crashes: max_crashes?,
            retry_backoff: retry_backoff?.unwrap_or_default(),
            timeout: timeout?,
        })
    }
}

/// Whether a list is empty or was left out. `None` is something else than a list, which was noted already.
fn lacks<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(Vec::is_empty)
}

/// The names that are referred to. `None` when one is invalid; it was reported as a reference that leads nowhere.
fn each_once<T: FromStr>(names: &[Spanned<String>]) -> Option<Vec<T>> {
    let mut seen = HashSet::new();
    names
        .iter()
        .map(|name| name.get_ref().as_str())
        .filter(|name| seen.insert(*name))
        .map(|name| name.parse().ok())
        .collect()
}

/// The sprints that are referred to, by their ids in the store.
fn sprints_of(epic: &EpicId, names: &[Spanned<String>]) -> Option<Vec<SprintId>> {
    each_once::<SprintName>(names)?.iter().map(|name| epic.sprint(name).ok()).collect()
}

fn sprint_waits(sprint: &Spanned<written::Sprint>) -> Waiter<'_> {
    Waiter { id: sprint.get_ref().id.text(), waits: &sprint.get_ref().after }
}

fn task_waits(task: &Spanned<written::Task>) -> Waiter<'_> {
    Waiter { id: task.get_ref().id.text(), waits: &task.get_ref().needs }
}
