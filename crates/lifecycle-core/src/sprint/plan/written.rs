//! The tables of a plan as they are written, with the place of every value.
//!
//! Only a text that is no TOML stops the reading. Unknown keys and values of the wrong type are noted, and then count
//! as absent, so that one reading of a file shows all that has to be mended. Required fields are optional here: the
//! check names the sprint, agent or task that lacks one.

use std::collections::BTreeMap;
use std::ops::Range;

use toml_edit::{ImDocument, Item, TableLike, Value};

use super::problems::{PlanErrors, PlanProblem, label};
use crate::text::spelling::nearest;

/// A value with its place in the text.
#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    value: T,
    place: Range<usize>,
}

impl<T> Spanned<T> {
    pub(super) fn span(&self) -> Range<usize> {
        self.place.clone()
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.value
    }

    pub(super) fn into_inner(self) -> T {
        self.value
    }
}

/// An id as it is written.
#[derive(Debug, Clone)]
pub(super) enum Id {
    Missing,
    /// Something that is no text, which was noted.
    Unfit,
    Text(Spanned<String>),
}

impl Id {
    pub(super) fn text(&self) -> Option<&Spanned<String>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Missing | Self::Unfit => None,
        }
    }

    /// The same without its place.
    pub(super) fn name(&self) -> Option<&str> {
        self.text().map(|id| id.get_ref().as_str())
    }
}

/// A duration or a size, as text or as a number.
#[derive(Debug, Clone)]
pub(super) enum Scalar {
    Text(String),
    Number(i64),
    Other,
}

/// The whole plan. A list is `None` where something else was written, which was noted.
pub(super) struct Plan {
    pub(super) epic: Id,
    pub(super) sprint: Option<Vec<Spanned<Sprint>>>,
}

pub(super) struct Sprint {
    pub(super) id: Id,
    pub(super) after: Vec<Spanned<String>>,
    pub(super) open: bool,
    pub(super) agent: Option<Vec<Spanned<Agent>>>,
    pub(super) task: Option<Vec<Spanned<Task>>>,
}

pub(super) struct Agent {
    pub(super) id: Id,
    pub(super) count: Option<Spanned<i64>>,
    pub(super) spawn: bool,
    pub(super) command: Option<Vec<Spanned<String>>>,
    pub(super) env: BTreeMap<String, Spanned<String>>,
    pub(super) task_timeout: Option<Spanned<Scalar>>,
    pub(super) memory_limit: Option<Spanned<Scalar>>,
    pub(super) memory_soft_limit: Option<Spanned<Scalar>>,
}

pub(super) struct Task {
    pub(super) id: Id,
    pub(super) input: Option<Spanned<String>>,
    pub(super) needs: Vec<Spanned<String>>,
    pub(super) attempts: Option<Spanned<i64>>,
    pub(super) max_crashes: Option<Spanned<i64>>,
    pub(super) retry_backoff: Option<Spanned<Scalar>>,
    pub(super) timeout: Option<Spanned<Scalar>>,
}

const PLAN: &[&str] = &["epic", "sprint"];
const EPIC: &[&str] = &["id"];
const SPRINT: &[&str] = &["id", "after", "open", "agent", "task"];
const AGENT: &[&str] =
    &["id", "count", "spawn", "command", "env", "task_timeout", "memory_limit", "memory_soft_limit"];
const TASK: &[&str] = &["id", "input", "needs", "attempts", "max_crashes", "retry_backoff", "timeout"];

const TEXT: &str = "write text in quotes";
const TRUTH: &str = "write true or false, without quotes";
const NUMBER: &str = "write a whole number without quotes";
const TEXTS: &str = "write a list of texts, such as [\"a\", \"b\"]";

/// Reads the tables of a plan, and what is wrong with their shape.
///
/// # Errors
/// When the text is no TOML: then the first mistake is all there is.
pub(super) fn read(text: &str) -> Result<(Plan, Vec<PlanProblem>), PlanErrors> {
    let document = ImDocument::parse(text).map_err(|error| {
        let line = error.span().map(|span| Lines::of(text).line(&span));
        let column = error.span().map(|span| column(text, span.start));
        let what = format!("not a plan in TOML: {}", one_line(error.message()));
        PlanErrors::new(vec![PlanProblem { line, column, what }])
    })?;
    let mut reader = Reader { text, lines: Lines::of(text), problems: Vec::new() };
    let plan = reader.plan(document.as_table());
    Ok((plan, reader.problems))
}

/// Takes tables apart. `of` names the table that a value belongs to, at the beginning of a message.
struct Reader<'t> {
    text: &'t str,
    lines: Lines,
    problems: Vec<PlanProblem>,
}

impl Reader<'_> {
    fn plan(&mut self, table: &dyn TableLike) -> Plan {
        self.only(table, "", PLAN);
        let epic = match self.table(table, "", "epic") {
            Some(epic) => {
                self.only(epic, "epic: ", EPIC);
                self.id(epic, "epic: ")
            }
            None if table.contains_key("epic") => Id::Unfit,
            None => Id::Missing,
        };
        let sprints = self.tables(table, "", ("sprint", "[[sprint]]"));
        Plan { epic, sprint: each(sprints, |index, table, place| self.sprint(index, table, place)) }
    }

    fn sprint(&mut self, index: usize, table: &dyn TableLike, place: Range<usize>) -> Spanned<Sprint> {
        let id = self.id(table, "");
        let label = label("sprint", id.name(), index);
        let of = format!("{label}: ");
        self.only(table, &of, SPRINT);
        let after = self.texts(table, &of, "after").unwrap_or_default();
        let agents = self.tables(table, &of, ("agent", "[[sprint.agent]]"));
        let agent = each(agents, |index, table, place| self.agent(&label, index, table, place));
        let tasks = self.tables(table, &of, ("task", "[[sprint.task]]"));
        let task = each(tasks, |index, table, place| self.task(&label, index, table, place));
        let open = self.truth(table, &of, "open").unwrap_or(false);
        Spanned { value: Sprint { id, after, open, agent, task }, place }
    }

    fn agent(
        &mut self,
        sprint: &str,
        index: usize,
        table: &dyn TableLike,
        place: Range<usize>,
    ) -> Spanned<Agent> {
        let id = self.id(table, &format!("{sprint}, "));
        let of = format!("{sprint}, {}: ", label("agent", id.name(), index));
        self.only(table, &of, AGENT);
        let value = Agent {
            id,
            count: self.number(table, &of, "count"),
            spawn: self.truth(table, &of, "spawn").unwrap_or(true),
            command: self.texts(table, &of, "command"),
            env: self.env(table, &of),
            task_timeout: scalar(table, "task_timeout"),
            memory_limit: scalar(table, "memory_limit"),
            memory_soft_limit: scalar(table, "memory_soft_limit"),
        };
        Spanned { value, place }
    }

    fn task(
        &mut self,
        sprint: &str,
        index: usize,
        table: &dyn TableLike,
        place: Range<usize>,
    ) -> Spanned<Task> {
        let id = self.id(table, &format!("{sprint}, "));
        let of = format!("{sprint}, {}: ", label("task", id.name(), index));
        self.only(table, &of, TASK);
        let value = Task {
            id,
            input: self.text(table, &of, "input"),
            needs: self.texts(table, &of, "needs").unwrap_or_default(),
            attempts: self.number(table, &of, "attempts"),
            max_crashes: self.number(table, &of, "max_crashes"),
            retry_backoff: scalar(table, "retry_backoff"),
            timeout: scalar(table, "timeout"),
        };
        Spanned { value, place }
    }

    fn env(&mut self, table: &dyn TableLike, of: &str) -> BTreeMap<String, Spanned<String>> {
        let Some(env) = self.table(table, of, "env") else { return BTreeMap::new() };
        let names = env.iter().map(|(name, _)| name.to_owned());
        let of = format!("{of}env ");
        names.filter_map(|name| Some((name.clone(), self.text(env, &of, &name)?))).collect()
    }

    /// Refuses keys that nobody knows.
    fn only(&mut self, table: &dyn TableLike, of: &str, known: &[&str]) {
        for (key, item) in table.iter().filter(|(key, _)| !known.contains(key)) {
            let place = table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
            let shown: String = key.chars().take(40).collect();
            let what = match nearest(key, known.iter().copied()) {
                Some(meant) => format!("{of}unknown key {shown:?}: did you mean {meant:?}?"),
                None => format!("{of}unknown key {shown:?}: the keys here are {}", known.join(", ")),
            };
            self.refuse(place, what);
        }
    }

    fn id(&mut self, table: &dyn TableLike, of: &str) -> Id {
        match self.text(table, of, "id") {
            Some(text) => Id::Text(text),
            None if table.contains_key("id") => Id::Unfit,
            None => Id::Missing,
        }
    }

    fn text(&mut self, table: &dyn TableLike, of: &str, key: &str) -> Option<Spanned<String>> {
        let item = table.get(key)?;
        match item.as_str() {
            Some(text) => {
                Some(Spanned { value: text.to_owned(), place: place(table, key).unwrap_or_default() })
            }
            None => self.unfit(table, of, key, TEXT),
        }
    }

    fn number(&mut self, table: &dyn TableLike, of: &str, key: &str) -> Option<Spanned<i64>> {
        let item = table.get(key)?;
        match item.as_integer() {
            Some(value) => Some(Spanned { value, place: place(table, key).unwrap_or_default() }),
            None => self.unfit(table, of, key, NUMBER),
        }
    }

    fn truth(&mut self, table: &dyn TableLike, of: &str, key: &str) -> Option<bool> {
        match table.get(key)?.as_bool() {
            Some(truth) => Some(truth),
            None => self.unfit(table, of, key, TRUTH),
        }
    }

    fn texts(&mut self, table: &dyn TableLike, of: &str, key: &str) -> Option<Vec<Spanned<String>>> {
        let Some(item) = table.get(key) else { return Some(Vec::new()) };
        let Some(list) = item.as_array() else { return self.unfit(table, of, key, TEXTS) };
        let mut texts = Vec::with_capacity(list.len());
        for value in list {
            match value.as_str() {
                Some(text) => {
                    texts.push(Spanned { value: text.to_owned(), place: value.span().unwrap_or_default() })
                }
                None => {
                    let what = format!("{of}{key} has {} in it: {TEXTS}", described(value));
                    self.refuse(value.span(), what);
                }
            }
        }
        (texts.len() == list.len()).then_some(texts)
    }

    /// The table at a key that exists.
    fn table<'a>(&mut self, table: &'a dyn TableLike, of: &str, key: &str) -> Option<&'a dyn TableLike> {
        let inner = table.get(key)?.as_table_like();
        inner.or_else(|| self.unfit(table, of, key, &format!("write a table, such as [{key}]")))
    }

    /// The tables of a list, each with its place; `[[header]]` and `key = [{ … }]` are both one.
    fn tables<'a>(
        &mut self,
        table: &'a dyn TableLike,
        of: &str,
        (key, header): (&str, &str),
    ) -> Option<Vec<Placed<'a>>> {
        let mend = format!("write the header in double brackets, such as {header}");
        Some(match table.get(key) {
            None => Vec::new(),
            Some(Item::ArrayOfTables(tables)) => tables
                .iter()
                .map(|table| (table as &dyn TableLike, table.span().unwrap_or_default()))
                .collect(),
            Some(Item::Value(Value::Array(list))) => {
                let mut tables = Vec::with_capacity(list.len());
                for value in list {
                    match value.as_inline_table() {
                        Some(table) => {
                            tables.push((table as &dyn TableLike, value.span().unwrap_or_default()));
                        }
                        None => {
                            self.refuse(
                                value.span(),
                                format!("{of}{key} has {} in it: {mend}", described(value)),
                            );
                        }
                    }
                }
                tables
            }
            Some(_) => return self.unfit(table, of, key, &mend),
        })
    }

    /// Notes a value that is of another type than its key wants.
    fn unfit<T>(&mut self, table: &dyn TableLike, of: &str, key: &str, mend: &str) -> Option<T> {
        let item = table.get(key)?;
        let found = match item {
            Item::Value(value) => described(value),
            Item::Table(table) if table.is_dotted() => "a table (look for a key with a dot in it)".into(),
            _ => "a table".into(),
        };
        self.refuse(place(table, key), format!("{of}{} is {found}: {mend}", shown_key(key)));
        None
    }

    fn refuse(&mut self, place: Option<Range<usize>>, what: String) {
        let line = place.as_ref().map(|place| self.lines.line(place));
        let column = place.map(|place| column(self.text, place.start));
        self.problems.push(PlanProblem { line, column, what });
    }
}

type Placed<'a> = (&'a dyn TableLike, Range<usize>);

/// Reads each of the tables, and hands over its number.
fn each<'a, T>(
    tables: Option<Vec<Placed<'a>>>,
    mut read: impl FnMut(usize, &'a dyn TableLike, Range<usize>) -> T,
) -> Option<Vec<T>> {
    let tables = tables?.into_iter().enumerate();
    Some(tables.map(|(index, (table, place))| read(index, table, place)).collect())
}

/// A key as it is, or in quotes if it holds an unusual character.
fn shown_key(key: &str) -> String {
    let is_plain = key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'));
    if is_plain && !key.is_empty() {
        key.into()
    } else {
        format!("{:?}", key.chars().take(40).collect::<String>())
    }
}

/// The place of a key's value. A table that is written with dotted keys has no place of its own, so its key's is used.
fn place(table: &dyn TableLike, key: &str) -> Option<Range<usize>> {
    table.get(key)?.span().or_else(|| table.key(key)?.span())
}

fn scalar(table: &dyn TableLike, key: &str) -> Option<Spanned<Scalar>> {
    let item = table.get(key)?;
    let value = match (item.as_str(), item.as_integer()) {
        (Some(text), _) => Scalar::Text(text.to_owned()),
        (_, Some(number)) => Scalar::Number(number),
        _ => Scalar::Other,
    };
    Some(Spanned { value, place: place(table, key).unwrap_or_default() })
}

fn described(value: &Value) -> String {
    match value {
        Value::String(_) => "text".into(),
        Value::Integer(number) => format!("the number {}", number.value()),
        Value::Float(number) => format!("the number {}", number.value()),
        Value::Boolean(truth) => truth.value().to_string(),
        Value::Datetime(_) => "a date".into(),
        Value::Array(_) => "a list".into(),
        Value::InlineTable(table) if table.is_dotted() => "a table (look for a key with a dot in it)".into(),
        Value::InlineTable(_) => "a table".into(),
    }
}

/// Where each line of a text begins; turns a place into a line number.
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

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ").replace(char::is_control, " ")
}
