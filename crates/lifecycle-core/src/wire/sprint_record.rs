//! A sprint's own record, `sprint:state:<sprint>`: how far it is, and what operators want of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::wire::time::ServerTime;
use crate::wire::word_enum::word_enum;

word_enum! {
    /// How a sprint ended.
    SprintOutcome, "sprint outcome" {
        /// Every task is completed.
        Completed = "completed",
        /// Every task is settled, some as failed.
        Failed = "failed",
        /// It never started.
        NotRun = "not_run",
        /// It was stopped before every task was settled.
        Interrupted = "interrupted",
    }
}

word_enum! {
    /// What operators can want of a sprint, as its record says for as long as they want it.
    SprintFlag, "flag of a sprint" {
        /// Nothing is handed out.
        Paused = "paused",
        /// No task is added any more: it completes once all that there are are settled.
        Closed = "closed",
    }
}

/// What the field of an agent begins with that operators do not want replaced; its id follows.
const RETIRED: &str = "retired:";

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SprintRecord {
    /// Whether there is any record of it.
    pub is_there: bool,
    /// The coordinator that started it.
    pub coordinator: Option<String>,
    /// When it started; absent for one that waits for others.
    pub started_at: Option<ServerTime>,
    /// How it ended, if it did.
    pub outcome: Option<SprintOutcome>,
    /// Since when it is paused.
    pub paused: Option<ServerTime>,
    /// When it was closed.
    pub closed: Option<ServerTime>,
    /// The agents that are not to be replaced.
    pub retired: BTreeSet<String>,
}

impl SprintRecord {
    /// Reads the hash; all is absent where there is none.
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>) -> Self {
        let time = |name: &str| {
            fields.get(name).and_then(|value| value.parse::<u64>().ok()).map(ServerTime::from_store_ms)
        };
        Self {
            is_there: !fields.is_empty(),
            coordinator: fields.get("coordinator").cloned(),
            started_at: time("startedAt"),
            outcome: fields.get("outcome").and_then(|word| word.parse().ok()),
            paused: time(SprintFlag::Paused.as_str()),
            closed: time(SprintFlag::Closed.as_str()),
            retired: fields.keys().filter_map(|name| Some(name.strip_prefix(RETIRED)?.to_owned())).collect(),
        }
    }

    /// What operators want of it, as fields: to be put back into a store that lost it.
    #[must_use]
    pub fn wishes(&self) -> BTreeMap<String, String> {
        let flags = [(SprintFlag::Paused, self.paused), (SprintFlag::Closed, self.closed)];
        let flags =
            flags.into_iter().filter_map(|(flag, at)| Some((flag.to_string(), at?.as_ms().to_string())));
        flags.chain(self.retired.iter().map(|id| (retired_field(id), "1".into()))).collect()
    }
}

/// The field that says that an agent is not to be replaced.
#[must_use]
pub fn retired_field(agent: &str) -> String {
    format!("{RETIRED}{agent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_want_is_read_as_it_is_put_back() {
        let record = SprintRecord {
            is_there: true,
            paused: Some(ServerTime::from_store_ms(7)),
            retired: BTreeSet::from(["e.a-1".to_owned()]),
            ..SprintRecord::default()
        };
        let fields = record.wishes().into_iter().collect();
        assert_eq!(SprintRecord::from_fields(&fields), record);
    }
}
