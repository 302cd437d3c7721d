//! Tasks that are added to a sprint while its epic runs: read from lines of JSON with the keys of a plan, and checked
//! against what the sprint has already.
//!
//! All of them are added, or none. A task that is there already with the same content is no mistake, so the same lines
//! may be sent again after a failure.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;

use super::command::results_named;
use super::order;
use super::types::{
    DEFAULT_ATTEMPTS, MAX_ATTEMPTS, MAX_INPUT_LEN, MAX_MAX_CRASHES, MAX_TASK_TIMEOUT, TaskPlan,
};
use crate::text::units::parse_duration;
use crate::wire::ids::TaskId;
use crate::wire::task::{DEFAULT_MAX_CRASHES, MAX_RETRY_BACKOFF};

/// A task as it is written in a line of JSON.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// Its id, unique in the sprint.
    pub id: String,
    /// What to do.
    #[serde(default)]
    pub input: String,
    /// Tasks of the same sprint that must be complete first.
    #[serde(default)]
    pub needs: Vec<String>,
    /// How often it may run and fail.
    pub attempts: Option<u32>,
    /// How many of its runs may end with a crash.
    pub max_crashes: Option<u32>,
    /// Pause after its first failed run, such as `10s`.
    pub retry_backoff: Option<String>,
    /// How long an attempt may take, such as `20m`.
    pub timeout: Option<String>,
}

/// A task that is to be added, and the line that it stands on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The line; absent for one that was given by arguments.
    pub line: Option<usize>,
    /// The task.
    pub task: TaskPlan,
}

/// Why nothing was added. Shown on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdditionProblem {
    /// The line that is at fault, from 1.
    pub line: Option<usize>,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl fmt::Display for AdditionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl NewTask {
    /// The task, if everything in it is in its range.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn checked(self) -> Result<TaskPlan, String> {
        let id: TaskId = self.id.parse().map_err(|invalid| format!("{invalid}"))?;
        let of = |what: String| format!("task {id}: {what}");
        if self.input.len() > MAX_INPUT_LEN {
            let len = self.input.len();
            let mend = "put it in a file and name the file";
            return Err(of(format!("input has {len} bytes, over the {MAX_INPUT_LEN} allowed: {mend}")));
        }
        if self.input.contains('\0') {
            return Err(of("input has a NUL, which no argument can hold: remove it".into()));
        }
        let mut needs: Vec<TaskId> = Vec::with_capacity(self.needs.len());
        for name in &self.needs {
            let need: TaskId = name.parse().map_err(|invalid| of(format!("needs: {invalid}")))?;
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
        if let Some(named) = results_named(&self.input).find(|named| !needs.contains(named)) {
            return Err(of(unneeded(&named)));
        }
        let number = |key: &str, given: Option<u32>, default: u32, most: u32| match given.unwrap_or(default) {
            number if (1..=most).contains(&number) => Ok(number),
            number => Err(of(format!("{key} is {number}: use 1 to {most}"))),
        };
        let time = |key: &str, given: Option<&str>, most| match given.map(parse_duration).transpose() {
            Ok(Some(time)) if time.is_zero() || time > most => {
                let most = humantime::format_duration(most);
                Err(of(format!("{key} is out of range: use more than nothing, and up to {most}")))
            }
            Ok(time) => Ok(time),
            Err(wrong) => Err(of(format!("{key} {wrong}"))),
        };
        Ok(TaskPlan {
            attempts: number("attempts", self.attempts, DEFAULT_ATTEMPTS, MAX_ATTEMPTS)?,
            max_crashes: number("max_crashes", self.max_crashes, DEFAULT_MAX_CRASHES, MAX_MAX_CRASHES)?,
            retry_backoff: time("retry_backoff", self.retry_backoff.as_deref(), MAX_RETRY_BACKOFF)?
                .unwrap_or_default(),
            timeout: time("timeout", self.timeout.as_deref(), MAX_TASK_TIMEOUT)?,
            input: self.input,
            needs,
            id,
        })
    }
}

/// The problem of an input that names the result of a task it does not need.
pub(super) fn unneeded(named: &TaskId) -> String {
    format!("input names the result of {named}, which it does not need: add {named} to needs")
}

/// Reads tasks, a line of JSON each. Empty lines are skipped.
///
/// # Errors
/// The first line that is no task.
pub fn read_lines(text: &str) -> Result<Vec<Addition>, AdditionProblem> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |what: String| AdditionProblem { line: Some(index + 1), what };
        let task: NewTask = serde_json::from_str(line)
            .map_err(|error| at(format!("no task in JSON: {}", without_place(&error.to_string()))))?;
        found.push(Addition { line: Some(index + 1), task: task.checked().map_err(at)? });
    }
    Ok(found)
}

/// The reader counts lines within the line that it was given.
fn without_place(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message)
}

/// Those of the new tasks that a sprint does not have yet.
///
/// # Errors
/// The first one that does not fit: its id is taken by a task with another content, it needs a task that is not there, or
/// some of them wait for each other.
pub fn additions(known: &[TaskPlan], new: Vec<Addition>) -> Result<Vec<TaskPlan>, AdditionProblem> {
    let known: HashMap<&TaskId, &TaskPlan> = known.iter().map(|task| (&task.id, task)).collect();
    let mut fresh: Vec<Addition> = Vec::with_capacity(new.len());
    let mut places: HashMap<TaskId, usize> = HashMap::with_capacity(new.len());
    for addition in new {
        let task = &addition.task;
        let there = known.get(&task.id).copied().or_else(|| Some(&fresh[*places.get(&task.id)?].task));
        match there {
            Some(there) if there == task => {}
            Some(_) => {
                let id = &task.id;
                let what = format!("there is a task {id} already, with another content: choose another id");
                return Err(AdditionProblem { line: addition.line, what });
            }
            None => {
                places.insert(task.id.clone(), fresh.len());
                fresh.push(addition);
            }
        }
    }
    let mut edges = Vec::with_capacity(fresh.len());
    for Addition { line, task } in &fresh {
        let missing = |need: &&TaskId| !known.contains_key(*need) && !places.contains_key(*need);
        if let Some(need) = task.needs.iter().find(missing) {
            let what = format!("task {}: needs {need}, which is no task of the sprint", task.id);
            return Err(AdditionProblem { line: *line, what });
        }
        edges.push(task.needs.iter().filter_map(|need| places.get(need).copied()).collect());
    }
    if let Some(ring) = order::sort(&edges).cycles.first() {
        let names: Vec<&str> = ring.iter().map(|index| fresh[*index].task.id.as_str()).collect();
        let line = ring.first().and_then(|index| fresh[*index].line);
        let what = format!("tasks wait for each other, so none of them could start: {}", names.join(" → "));
        return Err(AdditionProblem { line, what });
    }
    Ok(fresh.into_iter().map(|addition| addition.task).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Addition> {
        read_lines(text).unwrap()
    }

    fn refused(text: &str) -> String {
        let read = read_lines(text);
        read.and_then(|new| additions(&[], new).map(drop)).unwrap_err().to_string()
    }

    #[test]
    fn the_line_that_is_broken_is_named_and_nothing_is_read() {
        let second = |line: &str| refused(&format!("{{\"id\":\"a\"}}\n{line}\n{{\"id\":\"c\"}}\n"));
        assert!(
            second("{\"id\":").starts_with("line 2: no task in JSON: EOF while parsing"),
            "{}",
            second("{")
        );
        assert!(
            second("{\"id\":\"b\",\"inputs\":\"x\"}")
                .contains("line 2: no task in JSON: unknown field `inputs`")
        );
        assert!(second("{\"id\":\"b c\"}").starts_with("line 2: "));
        assert!(
            second("{\"id\":\"b\",\"attempts\":0}").contains("line 2: task b: attempts is 0: use 1 to 100")
        );
        assert!(second("{\"id\":\"b\",\"timeout\":\"soon\"}").contains("line 2: task b: timeout"));
        assert!(second("{\"id\":\"b\",\"input\":\"{result:a}\"}").contains("add a to needs"));
    }

    #[test]
    fn what_is_needed_has_to_be_there_before_or_beside_and_not_in_a_circle() {
        assert_eq!(
            refused("{\"id\":\"a\",\"needs\":[\"z\"]}"),
            "line 1: task a: needs z, which is no task of the sprint"
        );
        let ring = "{\"id\":\"a\",\"needs\":[\"b\"]}\n\n{\"id\":\"b\",\"needs\":[\"a\"]}";
        assert!(refused(ring).contains("tasks wait for each other"), "{}", refused(ring));
        assert!(refused("{\"id\":\"a\",\"needs\":[\"a\"]}").contains("tasks wait for each other"));
        let later = lines("{\"id\":\"a\",\"needs\":[\"b\"]}\n{\"id\":\"b\"}");
        assert_eq!(additions(&[], later).unwrap().len(), 2);
    }

    #[test]
    fn the_same_again_is_no_mistake_and_another_content_under_the_same_id_is() {
        let known: Vec<TaskPlan> =
            lines("{\"id\":\"a\",\"input\":\"x\"}").into_iter().map(|new| new.task).collect();
        assert_eq!(additions(&known, lines("{\"id\":\"a\",\"input\":\"x\"}")).unwrap(), []);
        let other = additions(&known, lines("{\"id\":\"b\"}\n{\"id\":\"a\",\"input\":\"y\"}")).unwrap_err();
        assert_eq!(
            other.to_string(),
            "line 2: there is a task a already, with another content: choose another id"
        );
    }
}
