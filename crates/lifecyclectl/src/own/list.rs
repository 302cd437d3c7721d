//! `own list`: what is owned, by the ledgers of this host and by the store; and what lives that are over did not have undone,
//! by the audit log.

use std::collections::{BTreeMap, BTreeSet};

use agent_sdk::host;
use agent_sdk::process::{TOKEN_VARIABLE, ledgers, life_of_caller};
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, Table, printable};
use lifecycle_core::agent::thing::{Account, Outcome};
use lifecycle_core::settings::Settings;
use lifecycle_redis::{LogEntry, Store, StoreError};
use serde::Serialize;

use super::{reaching, within_patience};
use crate::wording;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl own list                   inside an agent: what it owns; outside: everything
  lifecyclectl own list checkout.coder-1
  lifecyclectl own list --output json | jq -r '.things[] | select(.state == \"parked\").thing'")]
pub(super) struct Arguments {
    /// Only what this agent owns, or owned
    #[arg(value_name = "ID")]
    id: Option<String>,
}

/// One thing of one life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    agent_id: String,
    incarnation: String,
    thing: String,
    /// `owned`, `parked` or `left`.
    state: &'static str,
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

/// By life and name.
type Rows = BTreeMap<(String, String, String), Row>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    things: Vec<Row>,
    store_answered: bool,
    #[serde(skip)]
    problem: Option<String>,
}

pub(super) async fn run(arguments: &Arguments, settings: &Settings, output: Output) -> anyhow::Result<u8> {
    let token = std::env::var(TOKEN_VARIABLE).ok();
    let own = token.and_then(|token| life_of_caller(Some(&token)).ok());
    let of = arguments.id.clone().or_else(|| own.as_ref().map(|ledger| ledger.id.to_string()));
    let settings = match &own {
        Some(ledger) => reaching(ledger, settings),
        None => within_patience(settings.clone()),
    };
    let mut rows = Rows::new();
    let problem = from_store(&settings, of.as_deref(), &mut rows).await.err().map(|error| error.to_string());
    from_ledgers(&mut rows);
    let is_asked_for = |row: &Row| of.as_ref().is_none_or(|id| row.agent_id == *id);
    let things = rows.into_values().filter(is_asked_for).collect();
    let report = Report { things, store_answered: problem.is_none(), problem };
    match output {
        Output::Json => output::print_json(&report)?,
        Output::Table => output::print_stdout(&report.text())?,
    };
    Ok(exit::OK)
}

fn from_ledgers(rows: &mut Rows) {
    for ledger in ledgers() {
        for thing in &ledger.things {
            let life = (ledger.id.to_string(), ledger.incarnation.to_string());
            add(rows, life, (thing.name(), "owned"), (&thing.host, ""));
        }
    }
}

async fn from_store(settings: &Settings, of: Option<&str>, rows: &mut Rows) -> Result<(), StoreError> {
    let store = Store::connect(settings).await?;
    from_log(&store.log(wording::LOG_DEPTH).await?, rows);
    let fleet = store.fleet().await?.into_iter().filter(|view| of.is_none_or(|id| view.id == id));
    for view in fleet {
        let Some(record) = view.record else { continue };
        for thing in store.things(&view.id).await? {
            let life = (view.id.clone(), record.incarnation.to_string());
            add(rows, life, (thing.name(), "owned"), (&thing.host, ""));
        }
    }
    Ok(())
}

/// The log's newest entry of a thing tells: what a sweeper named as left may have been undone by its host later.
fn from_log(log: &[LogEntry], rows: &mut Rows) {
    let mut seen = BTreeSet::new();
    for entry in log {
        let field = |name: &str| entry.fields.get(name).cloned().unwrap_or_default();
        let life = (field("agentId"), field("incarnation"));
        let things = entry.things();
        let Account { host, undone, parked, left } = &things;
        seen.extend(undone.iter().map(|name| (life.clone(), name.clone())));
        for (state, those) in [(Outcome::Parked, parked), (Outcome::Left, left)] {
            for (name, why) in those {
                if seen.insert((life.clone(), name.clone())) && !is_gone_here(host, name) {
                    add(rows, life.clone(), (name.clone(), state.as_str()), (host, why));
                }
            }
        }
    }
}

/// Whether a path that was parked on this host is not there any more: somebody has dealt with it.
fn is_gone_here(on: &str, name: &str) -> bool {
    let path = name.split_once(" /").map(|(_, path)| format!("/{path}"));
    let is_path = name.starts_with("worktree ") || name.starts_with("file ");
    on == host() && is_path && path.is_some_and(|path| std::fs::symlink_metadata(path).is_err())
}

fn add(
    rows: &mut Rows,
    life: (String, String),
    (thing, state): (String, &'static str),
    (host, why): (&str, &str),
) {
    let (agent_id, incarnation) = life;
    let key = (agent_id.clone(), incarnation.clone(), thing.clone());
    let row = Row { agent_id, incarnation, thing, state, host: host.into(), why: why.into() };
    rows.insert(key, row);
}

impl Report {
    fn text(&self) -> String {
        let mut text = self.table();
        if let Some(problem) = &self.problem {
            text += &format!(
                "no store was asked ({}): these are of this host alone, and what was parked is not known\n",
                printable(problem)
            );
        }
        text
    }

    fn table(&self) -> String {
        if self.things.is_empty() {
            return "nothing is owned, and nothing was parked or left\n".into();
        }
        let mut table = Table::new(["AGENT", "INCARNATION", "STATE", "THING", "HOST", "WHY"])
            .drop_first(&["INCARNATION", "HOST"]);
        for row in &self.things {
            table.row([
                row.agent_id.clone(),
                row.incarnation.clone(),
                row.state.into(),
                row.thing.clone(),
                row.host.clone(),
                row.why.clone(),
            ]);
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> LogEntry {
        let mut all = vec![("agentId", "a"), ("incarnation", "7"), ("host", "elsewhere")];
        all.extend(fields);
        let fields = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogEntry { id: "1-0".into(), fields }
    }

    #[test]
    fn what_a_sweeper_named_as_left_is_not_listed_once_its_host_has_undone_it() {
        let left = entry(&[("thingsLeft", r#"{"file /x":"w","worktree /y":"w"}"#)]);
        let later = entry(&[("thingsUndone", r#"["file /x"]"#)]);
        let mut rows = Rows::new();
        from_log(&[later, left], &mut rows);
        let named: Vec<_> = rows.values().map(|row| (row.thing.as_str(), row.state)).collect();
        assert_eq!(named, [("worktree /y", "left")]);
    }

    #[test]
    fn only_a_path_of_this_host_is_looked_for() {
        assert!(is_gone_here(&host(), "worktree /not/there"));
        assert!(!is_gone_here("elsewhere", "worktree /not/there"));
        assert!(!is_gone_here(&host(), "run /not/there"));
        assert!(!is_gone_here(&host(), "file /"));
    }
}
