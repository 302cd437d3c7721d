//! What the audit log says of the processes of a life, and whether that was true when it was said.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::plain::{PlainClient, Reply};

use crate::watch::Seen;

/// One entry on a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    agent: String,
    incarnation: u64,
    /// By the store's clock, which is this machine's.
    at_ms: u128,
    /// `cleanup`, `acknowledge` or `release`.
    pub(crate) kind: String,
    /// `dead`, `killed`, `left` or `unknown`.
    pub(crate) process: String,
}

impl Entry {
    /// Whether the life is over for the store.
    pub(crate) fn removes(&self) -> bool {
        self.kind != "acknowledge"
    }

    /// Whether it says that nothing is left, although something was still alive after that.
    pub(crate) fn is_untrue(&self, last_seen: Option<&Seen>) -> bool {
        let after =
            |seen: &Seen| seen.at.duration_since(UNIX_EPOCH).is_ok_and(|at| at.as_millis() > self.at_ms);
        matches!(self.process.as_str(), "dead" | "killed") && last_seen.is_some_and(after)
    }

    /// How long before that it was said.
    pub(crate) fn ms_before(&self, at: SystemTime) -> u128 {
        at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().saturating_sub(self.at_ms)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.process)
    }
}

/// The whole audit log, oldest first.
pub(crate) fn read(store: &mut PlainClient) -> Result<Vec<Entry>> {
    match store.run(&["XRANGE", &KeySchema::default().log(), "-", "+"])? {
        Reply::Array(entries) => entries.iter().map(entry).collect(),
        reply => anyhow::bail!("XRANGE answered {reply:?}"),
    }
}

/// What is said of the first life of `agent`, in that order. A coordinator that goes on starts another life, which finds
/// nothing to do.
pub(crate) fn of_first_life(all: &[Entry], agent: &str) -> Vec<Entry> {
    let own: Vec<&Entry> = all.iter().filter(|entry| entry.agent == agent).collect();
    let first = own.iter().map(|entry| entry.incarnation).min();
    own.into_iter().filter(|entry| Some(entry.incarnation) == first).cloned().collect()
}

fn entry(reply: &Reply) -> Result<Entry> {
    let Reply::Array(parts) = reply else { anyhow::bail!("{reply:?} is no entry of a stream") };
    let id = parts.first().and_then(Reply::text).context("an entry without an id")?;
    let words = parts.get(1).map(Reply::texts).unwrap_or_default();
    let field = |name: &str| {
        let value = words.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        value.unwrap_or_default()
    };
    Ok(Entry {
        agent: field("agentId"),
        incarnation: field("incarnation").parse().unwrap_or_default(),
        at_ms: id.split('-').next().unwrap_or_default().parse().context("an entry whose id is no time")?,
        kind: field("type"),
        process: field("process"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(incarnation: u64, at_ms: u128, kind: &str, process: &str) -> Entry {
        let (kind, process) = (kind.to_owned(), process.to_owned());
        Entry { agent: "a".into(), incarnation, at_ms, kind, process }
    }

    #[test]
    fn killed_and_dead_are_untrue_while_something_lives_and_other_words_never_are() {
        let seen = Seen { at: UNIX_EPOCH + Duration::from_millis(1_000), who: "plain (7)".into() };
        for (process, at_ms, expected) in [
            ("killed", 999, true),
            ("dead", 999, true),
            ("killed", 1_000, false),
            ("unknown", 999, false),
            ("left", 999, false),
        ] {
            assert_eq!(said(1, at_ms, "release", process).is_untrue(Some(&seen)), expected, "{process}");
        }
        assert!(!said(1, 1, "release", "dead").is_untrue(None));
    }

    #[test]
    fn the_first_life_is_the_one_with_the_lowest_incarnation_as_a_number() {
        let all = [
            said(9, 1, "cleanup", "unknown"),
            said(10, 2, "release", "dead"),
            said(9, 3, "acknowledge", "killed"),
        ];
        let first: Vec<String> = of_first_life(&all, "a").iter().map(Entry::to_string).collect();
        assert_eq!(first, ["cleanup unknown", "acknowledge killed"]);
        assert_eq!(of_first_life(&all, "b"), []);
    }
}
