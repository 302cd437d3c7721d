//! How two plans of one epic differ, in words.
//!
//! An epic that waits goes on only by the plan it was run with, unless somebody says otherwise: a changed task may be done
//! already, and a removed one may be in hand.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::sprint::plan::{AgentPlan, Plan, SprintPlan, TaskPlan};
use crate::wire::ids::TaskId;
use crate::wire::task::TaskRecord;

/// What is different in `new`, a line each; empty where both say the same. Layout and comments do not count.
#[must_use]
pub fn differences(old: &Plan, new: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let (before, after) = (&old.sprints, &new.sprints);
    compare(
        before,
        after,
        |sprint| sprint.name.as_str(),
        |change| match change {
            Change::Removed(sprint) => found.push(format!("sprint {} is removed", sprint.name)),
            Change::Added(sprint) => found.push(format!("sprint {} is new", sprint.name)),
            Change::Both(was, is) => of_sprint(was, is, &mut found),
        },
    );
    found
}

/// What becomes of a sprint's records when its plan changes: the new record of each task whose record does not fit any more,
/// `None` for a task that is no longer planned. A task with the same input keeps its result, its attempts and its run. One
/// with another input waits again; what an agent still makes of the old input does not count.
#[must_use]
pub fn merged(
    old: &SprintPlan,
    new: Option<&SprintPlan>,
    records: &BTreeMap<String, TaskRecord>,
) -> Vec<(TaskId, u32, Option<TaskRecord>)> {
    let tasks = by_id(new.map_or(&[][..], |new| &new.tasks));
    let before = by_id(&old.tasks);
    let replaced = records.iter().filter_map(|(id, seen)| {
        let id = TaskId::new(id.as_str()).ok()?;
        let Some(is) = tasks.get(&id) else {
            return Some((id, seen.run, None));
        };
        let record = if before.get(&id).is_some_and(|was| was.input == is.input) {
            let TaskRecord { max_attempts, max_crashes, retry_backoff_ms, .. } = is.record();
            TaskRecord { max_attempts, max_crashes, retry_backoff_ms, ..seen.clone() }
        } else {
            TaskRecord { run: seen.run, ..is.record() }
        };
        (record != *seen).then_some((id, seen.run, Some(record)))
    });
    replaced.collect()
}

fn by_id(tasks: &[TaskPlan]) -> HashMap<&TaskId, &TaskPlan> {
    tasks.iter().map(|task| (&task.id, task)).collect()
}

fn of_sprint(was: &SprintPlan, is: &SprintPlan, found: &mut Vec<String>) {
    let name = &is.name;
    if was.after.iter().collect::<BTreeSet<_>>() != is.after.iter().collect::<BTreeSet<_>>() {
        found.push(format!("sprint {name} waits for other sprints (after)"));
    }
    if was.is_open != is.is_open {
        let now = if is.is_open { "stays open for tasks" } else { "does not stay open for tasks" };
        found.push(format!("sprint {name} {now} (open)"));
    }
    compare(
        &was.pools,
        &is.pools,
        |pool| pool.name.as_str(),
        |change| match change {
            Change::Removed(pool) => found.push(format!("sprint {name}: pool {} is removed", pool.name)),
            Change::Added(pool) => found.push(format!("sprint {name}: pool {} is new", pool.name)),
            Change::Both(was, is) if was != is => {
                found.push(format!("sprint {name}: pool {} has another task_timeout", is.name));
            }
            Change::Both(..) => {}
        },
    );
    compare(
        &was.agents,
        &is.agents,
        |agent| agent.name.as_str(),
        |change| match change {
            Change::Removed(agent) => found.push(format!("sprint {name}: agent {} is removed", agent.name)),
            Change::Added(agent) => found.push(format!("sprint {name}: agent {} is new", agent.name)),
            Change::Both(was, is) if was != is => {
                found.push(format!("sprint {name}: agent {} has {}", is.name, of_agent(was, is)));
            }
            Change::Both(..) => {}
        },
    );
    compare(
        &was.tasks,
        &is.tasks,
        |task| task.id.as_str(),
        |change| match change {
            Change::Removed(task) => found.push(format!("sprint {name}: task {} is removed", task.id)),
            Change::Added(task) => found.push(format!("sprint {name}: task {} is new", task.id)),
            Change::Both(was, is) if was != is => {
                found.push(format!("sprint {name}: task {} has {}", is.id, of_task(was, is)));
            }
            Change::Both(..) => {}
        },
    );
}

fn of_agent(was: &AgentPlan, is: &AgentPlan) -> String {
    parts(&[
        ("another command", was.command != is.command),
        ("another env", was.env != is.env),
        ("another task_timeout", was.task_timeout != is.task_timeout),
        ("another memory_limit", was.memory_limit != is.memory_limit),
        ("another memory_soft_limit", was.memory_soft_limit != is.memory_soft_limit),
    ])
}

fn of_task(was: &TaskPlan, is: &TaskPlan) -> String {
    parts(&[
        ("another input", was.input != is.input),
        ("other needs", was.needs != is.needs),
        ("other attempts", was.attempts != is.attempts),
        ("another max_crashes", was.max_crashes != is.max_crashes),
        ("another retry_backoff", was.retry_backoff != is.retry_backoff),
        ("another timeout", was.timeout != is.timeout),
    ])
}

fn parts(all: &[(&str, bool)]) -> String {
    let changed: Vec<&str> = all.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    changed.join(", ")
}

enum Change<'a, T> {
    Removed(&'a T),
    Added(&'a T),
    Both(&'a T, &'a T),
}

/// Pairs items by name, in the order of `after`; what is removed comes first.
fn compare<'a, T>(
    before: &'a [T],
    after: &'a [T],
    name: impl Fn(&T) -> &str,
    mut tell: impl FnMut(Change<'a, T>),
) {
    let is_there: HashSet<&str> = after.iter().map(&name).collect();
    for was in before.iter().filter(|was| !is_there.contains(name(was))) {
        tell(Change::Removed(was));
    }
    let known: HashMap<&str, &'a T> = before.iter().map(|was| (name(was), was)).collect();
    for is in after {
        tell(known.get(name(is)).map_or(Change::Added(is), |was| Change::Both(was, is)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sprint::plan::DEFAULT_ATTEMPTS;
    use crate::wire::task::{DEFAULT_MAX_CRASHES, TaskState};

    fn plan(body: &str) -> Plan {
        Plan::parse(&format!("[epic]\nid = \"e\"\n{body}")).unwrap()
    }

    fn sprint(tasks: &[(&str, &str)]) -> String {
        let tasks =
            tasks.iter().map(|(id, input)| format!("[[sprint.task]]\nid = \"{id}\"\ninput = \"{input}\"\n"));
        format!(
            "[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"w\"\ncommand = [\"true\"]\n{}",
            tasks.collect::<String>()
        )
    }

    #[test]
    fn layout_and_comments_are_no_difference() {
        let text = sprint(&[("a", "x")]);
        assert_eq!(differences(&plan(&text), &plan(&format!("# again\n{text}\n\n"))), Vec::<String>::new());
    }

    #[test]
    fn the_same_input_keeps_its_result_another_waits_again_and_what_is_not_planned_goes() {
        let old = plan(&sprint(&[("same", "x"), ("changed", "x"), ("removed", "x")]));
        let new = plan(&sprint(&[("same", "x"), ("changed", "y"), ("added", "x")]));
        let done = |run| TaskRecord {
            state: TaskState::Completed,
            run,
            attempt: 1,
            ..TaskRecord::pending(DEFAULT_ATTEMPTS, DEFAULT_MAX_CRASHES)
        };
        let records = ["same", "changed", "removed"].map(|id| (id.to_owned(), done(7))).into();
        let found = merged(&old.sprints[0], new.sprints.first(), &records);
        let again = TaskRecord { run: 7, ..TaskRecord::pending(DEFAULT_ATTEMPTS, DEFAULT_MAX_CRASHES) };
        let task = |id: &str| TaskId::new(id).unwrap();
        assert_eq!(found, [(task("changed"), 7, Some(again)), (task("removed"), 7, None)]);
        assert_eq!(merged(&old.sprints[0], None, &records).len(), 3, "a sprint that is not planned");
    }

    #[test]
    fn what_changed_is_named_with_its_sprint() {
        let old = plan(&sprint(&[("a", "x"), ("b", "y")]));
        let new = plan(
            &(sprint(&[("a", "z"), ("c", "y")]).replace("true", "false")
                + &sprint(&[("a", "x")]).replace("\"s\"", "\"t\"").replace("\"w\"", "\"v\"")),
        );
        assert_eq!(
            differences(&old, &new),
            [
                "sprint s: agent w has another command",
                "sprint s: task b is removed",
                "sprint s: task a has another input",
                "sprint s: task c is new",
                "sprint t is new",
            ]
        );
    }
}
