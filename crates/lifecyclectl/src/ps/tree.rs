//! `ps --tree`: each agent below the one that is its parent.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal as _};

/// The strokes that a tree is drawn with, all of one width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strokes {
    /// Before one that others follow.
    more: &'static str,
    /// Before the last one.
    last: &'static str,
    /// Below one that others follow.
    past: &'static str,
    /// Below the last one.
    nothing: &'static str,
}

/// For a person's terminal.
const DRAWN: Strokes = Strokes { more: "├─ ", last: "└─ ", past: "│  ", nothing: "   " };
/// For a file, a pipe, or somebody who wants no decoration.
const PLAIN: Strokes = Strokes { more: "|- ", last: "`- ", past: "|  ", nothing: "   " };

impl Strokes {
    /// Those for stdout.
    pub(super) fn for_stdout() -> Self {
        let wants_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !wants_plain { DRAWN } else { PLAIN }
    }
}

/// The order in which agents are listed as trees: the place of each in `agents` (id and parent), and what is drawn before
/// its id.
///
/// Everyone is listed exactly once. An agent whose parent is not listed is a root. Records may say anything: of agents
/// that are each other's ancestors the first one is a root.
pub(super) fn arranged(agents: &[(&str, Option<&str>)], strokes: Strokes) -> Vec<(usize, String)> {
    let listed: HashSet<&str> = agents.iter().map(|(id, _)| *id).collect();
    let mut forest =
        Forest { agents, children: BTreeMap::new(), strokes, arranged: Vec::new(), seen: HashSet::new() };
    let mut roots = Vec::new();
    for (place, (id, parent)) in agents.iter().enumerate() {
        match parent.filter(|parent| parent != id && listed.contains(parent)) {
            Some(parent) => forest.children.entry(parent).or_default().push(place),
            None => roots.push(place),
        }
    }
    // The last ones are in a circle, or below one.
    for root in roots.into_iter().chain(0..agents.len()) {
        forest.list(root, "", String::new());
    }
    forest.arranged
}

struct Forest<'a> {
    agents: &'a [(&'a str, Option<&'a str>)],
    children: BTreeMap<&'a str, Vec<usize>>,
    strokes: Strokes,
    arranged: Vec<(usize, String)>,
    seen: HashSet<usize>,
}

impl Forest<'_> {
    /// Lists one with everybody below it. `stroke` stands before its id, and `margin` before that.
    fn list(&mut self, place: usize, stroke: &str, margin: String) {
        // Without recursion: records may say that the chain is as long as the fleet.
        let mut open = vec![(place, stroke.to_owned(), margin)];
        while let Some((place, stroke, margin)) = open.pop() {
            if !self.seen.insert(place) {
                continue;
            }
            let below = match stroke.as_str() {
                "" => String::new(),
                stroke if stroke == self.strokes.last => format!("{margin}{}", self.strokes.nothing),
                _ => format!("{margin}{}", self.strokes.past),
            };
            self.arranged.push((place, margin + &stroke));
            let children = self.children.get(self.agents[place].0).cloned().unwrap_or_default();
            let unseen: Vec<usize> =
                children.into_iter().filter(|child| !self.seen.contains(child)).collect();
            let last = unseen.len().saturating_sub(1);
            // The first one is to be taken first.
            for (number, child) in unseen.into_iter().enumerate().rev() {
                let stroke = if number == last { self.strokes.last } else { self.strokes.more };
                open.push((child, stroke.to_owned(), below.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(agents: &[(&str, Option<&str>)], strokes: Strokes) -> Vec<String> {
        arranged(agents, strokes).into_iter().map(|(place, before)| before + agents[place].0).collect()
    }

    const FLEET: [(&str, Option<&str>); 6] = [
        ("boss", None),
        ("boss.coder", Some("boss")),
        ("boss.coder.helper", Some("boss.coder")),
        ("boss.tester", Some("boss")),
        ("boss.tester.helper", Some("boss.tester")),
        ("single", Some("somebody-who-left")),
    ];

    #[test]
    fn children_stand_below_their_parents_with_a_stroke_for_each_level() {
        assert_eq!(
            drawn(&FLEET, DRAWN),
            [
                "boss",
                "├─ boss.coder",
                "│  └─ boss.coder.helper",
                "└─ boss.tester",
                "   └─ boss.tester.helper",
                "single"
            ]
        );
        assert_eq!(
            drawn(&FLEET, PLAIN)[1..4],
            ["|- boss.coder", "|  `- boss.coder.helper", "`- boss.tester"]
        );
    }

    #[test]
    fn agents_that_are_each_others_ancestors_are_listed_once_each() {
        let circle = [("a", Some("b")), ("b", Some("a")), ("c", Some("c")), ("d", Some("b"))];
        assert_eq!(drawn(&circle, PLAIN), ["c", "a", "`- b", "   `- d"]);
        assert!(drawn(&[], PLAIN).is_empty());
    }
}
