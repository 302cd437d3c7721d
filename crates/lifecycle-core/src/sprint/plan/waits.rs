//! Checks what sprints and tasks wait for (`after`, `needs`). Every id has to be unique, every name has to lead to one,
//! and nothing may wait for itself, directly or through others.

use std::collections::HashMap;

use super::checker::Checker;
use super::order;
use super::problems::{label, shown};
use super::written::Spanned;
use crate::text::spelling::nearest;

/// A sprint or task, with the names it waits for.
pub(super) struct Waiter<'a> {
    pub(super) id: Option<&'a Spanned<String>>,
    pub(super) waits: &'a [Spanned<String>],
}

impl Waiter<'_> {
    fn name(&self) -> Option<&str> {
        self.id.map(|id| id.get_ref().as_str())
    }
}

/// The words by which messages call one kind of waiting.
pub(super) struct Waiting {
    thing: &'static str,
    key: &'static str,
    home: &'static str,
}

pub(super) const SPRINTS: Waiting = Waiting { thing: "sprint", key: "after", home: "the plan" };
pub(super) const TASKS: Waiting = Waiting { thing: "task", key: "needs", home: "its sprint" };

impl Checker {
    /// Checks the ids of one kind and their references. `of` begins each message.
    pub(super) fn waits(&mut self, waiting: &Waiting, of: &str, waiters: &[Waiter<'_>]) {
        let known = self.unique(waiting, of, waiters);
        let mut edges = Vec::with_capacity(waiters.len());
        for (index, waiter) in waiters.iter().enumerate() {
            let of = joined(of, &label(waiting.thing, waiter.name(), index));
            let found = waiter.waits.iter().filter_map(|name| {
                let found = known.get(name.get_ref().as_str()).copied();
                match found {
                    None => self.leads_nowhere(waiting, &of, name, &known),
                    Some(found) if found == index => {
                        let what = format!("{of}{} names itself: remove it", waiting.key);
                        self.refuse(&name.span(), what);
                        return None;
                    }
                    Some(_) => {}
                }
                found
            });
            edges.push(found.collect());
        }
        for ring in order::sort(&edges).cycles {
            self.ring(waiting, of, waiters, &ring);
        }
    }

    /// The position of each id. Of several that are the same the first one counts, and the others are refused.
    fn unique<'a>(&mut self, waiting: &Waiting, of: &str, waiters: &[Waiter<'a>]) -> HashMap<&'a str, usize> {
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(waiters.len());
        for (index, waiter) in waiters.iter().enumerate() {
            let Some(id) = waiter.id else { continue };
            let first = *known.entry(id.get_ref().as_str()).or_insert(index);
            if let Some(taken) = waiters[first].id.filter(|_| first != index) {
                let of = joined(of, &label(waiting.thing, Some(id.get_ref()), index));
                let (thing, line, home) = (waiting.thing, self.line(&taken.span()), waiting.home);
                let what = format!("{of}the {thing} on line {line} has this id: it must be unique in {home}");
                self.refuse(&id.span(), what);
            }
        }
        known
    }

    fn leads_nowhere(
        &mut self,
        waiting: &Waiting,
        of: &str,
        name: &Spanned<String>,
        known: &HashMap<&str, usize>,
    ) {
        let Waiting { thing, key, home } = waiting;
        let mend = match nearest(name.get_ref(), known.keys().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("name a {thing} of {home} or remove it"),
        };
        let what =
            format!("{of}{key} names {:?}, which is no {thing} of {home}: {mend}", shown(name.get_ref()));
        self.refuse(&name.span(), what);
    }

    fn ring(&mut self, waiting: &Waiting, of: &str, waiters: &[Waiter<'_>], ring: &[usize]) {
        // A thing without an id cannot be waited for, so every member of a ring has one.
        let ids: Vec<_> = ring.iter().filter_map(|index| waiters[*index].id).collect();
        let Some(first) = ids.first() else { return };
        let names: Vec<_> = ids.iter().chain([first]).map(|id| shown(id.get_ref())).collect();
        let what = format!(
            "{of}{}s wait for each other, so none of them could start: {}: remove one of these {:?}",
            waiting.thing,
            names.join(" → ").replace(char::is_control, "?"),
            waiting.key
        );
        self.refuse(&first.span(), what);
    }
}

/// `of` is empty or ends in a colon: `sprint "api": ` and `task "login"` become `sprint "api", task "login": `.
fn joined(of: &str, label: &str) -> String {
    match of.strip_suffix(": ") {
        Some(of) => format!("{of}, {label}: "),
        None => format!("{label}: "),
    }
}
