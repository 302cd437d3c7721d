//! A task put into the command of an agent.

use crate::wire::ids::TaskId;

/// Whether an argument says something else for each task.
#[must_use]
pub fn depends_on_task(argument: &str) -> bool {
    argument.contains("{task}") || argument.contains("{input}")
}

/// Puts a task into one argument of a command: `{task}` becomes its id, `{input}` its input, everything else
/// stays as it is, other braces included.
///
/// What was put in is not looked at again, so an input that contains `{task}` arrives as it was written.
#[must_use]
pub fn substitute(argument: &str, task: &TaskId, input: &str) -> String {
    let mut filled = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(behind) = rest.strip_prefix("{task}") {
            filled.push_str(task.as_str());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("{input}") {
            filled.push_str(input);
            rest = behind;
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}
