//! How a task is put into an agent's command.

use crate::wire::ids::TaskId;

/// Whether an argument differs from task to task.
#[must_use]
pub fn depends_on_task(argument: &str) -> bool {
    argument.contains("{task}") || argument.contains("{input}")
}

/// Puts a task into one argument of a command: `{task}` becomes its id, `{input}` its input, everything else
/// stays as it is, other braces included.
///
/// Inserted text is not searched again: an input that contains `{task}` arrives as it was written.
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
