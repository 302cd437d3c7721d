//! How a task is put into an agent's command.

use std::collections::BTreeMap;

use crate::wire::ids::TaskId;

/// What the placeholders of a command stand for.
#[derive(Debug, Clone, Copy)]
pub struct Substitutes<'a> {
    /// The task's id: `{task}`.
    pub task: &'a TaskId,
    /// Its input: `{input}`.
    pub input: &'a str,
    /// The results of the tasks that it needed: `{result:TASK}`.
    pub results: &'a BTreeMap<TaskId, String>,
}

/// Whether an argument differs from task to task.
#[must_use]
pub fn depends_on_task(argument: &str) -> bool {
    ["{task}", "{input}", "{result:"].iter().any(|placeholder| argument.contains(placeholder))
}

/// Puts a task into one argument of a command: `{task}` becomes its id, `{input}` its input, `{result:TASK}` the result
/// of a task that it needed, without line breaks at its end. Everything else stays as it is, other braces included.
///
/// In the input only results are put in. Other inserted text is not searched again: an input that contains `{task}`
/// arrives as it was written, and so does a result, whatever is in it.
#[must_use]
pub fn substitute(argument: &str, with: &Substitutes<'_>) -> String {
    replace(argument, |behind| {
        if let Some(rest) = behind.strip_prefix("{task}") {
            return Some((with.task.to_string(), rest));
        }
        if let Some(rest) = behind.strip_prefix("{input}") {
            return Some((with.filled_input(), rest));
        }
        with.result(behind)
    })
}

impl Substitutes<'_> {
    /// The input, with the results that it names.
    #[must_use]
    pub fn filled_input(&self) -> String {
        replace(self.input, |behind| self.result(behind))
    }

    fn result<'t>(&self, behind: &'t str) -> Option<(String, &'t str)> {
        let (name, rest) = behind.strip_prefix("{result:")?.split_once('}')?;
        let task = TaskId::new(name).ok()?;
        Some((self.results.get(&task)?.trim_end_matches('\n').to_owned(), rest))
    }
}

/// Replaces what `placeholder` finds at an opening brace: it returns the text, and what follows the placeholder.
fn replace<'t>(text: &'t str, placeholder: impl Fn(&'t str) -> Option<(String, &'t str)>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some((inserted, behind)) = placeholder(rest) {
            filled.push_str(&inserted);
            rest = behind;
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

/// The tasks whose results a text names.
pub(super) fn results_named(text: &str) -> impl Iterator<Item = TaskId> + '_ {
    text.split("{result:").skip(1).filter_map(|behind| TaskId::new(behind.split_once('}')?.0).ok())
}
