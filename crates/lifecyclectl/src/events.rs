//! `events`: the audit log, or everything that happens on the bus.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, Stdout, printable};
use lifecycle_core::wire::event::{Event, EventKind};
use lifecycle_core::wire::keys::{ALERT_CHANNEL, LIFECYCLE_CHANNEL};
use lifecycle_redis::{Hint, LogEntry, OperatorStore};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value};

use crate::wording;

/// While nothing happens, how often to check whether the reader has gone.
const READER_CHECK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl events --count 5
  lifecyclectl events --follow
  lifecyclectl events --follow --output json | jq 'select(.type == \"process_exited\")'

Without --follow: the latest entries of the log of cleanups and releases, oldest first. With --follow: every event from now on, \
until Ctrl-C. With --output json: one JSON object per line, which also names the \
keys that a cleanup deleted.")]
pub(crate) struct Arguments {
    /// Show events as they happen
    #[arg(long, short)]
    follow: bool,
    /// How many log entries to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, conflicts_with = "follow")]
    count: u64,
    /// Show every line whole, however narrow the terminal
    #[arg(long, short)]
    wide: bool,
    /// With --follow: show every beat as well
    #[arg(long, requires = "follow")]
    heartbeats: bool,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let shape = Shape { output, wide: arguments.wide };
    if arguments.follow {
        follow(store, shape, arguments.heartbeats).await?;
    } else {
        latest(store, shape, arguments.count).await?;
    }
    Ok(exit::OK)
}

async fn latest(store: &OperatorStore, shape: Shape, count: u64) -> anyhow::Result<()> {
    if count == 0 {
        return Ok(());
    }
    for entry in store.log(count).await?.iter().rev() {
        if shape.show(&self::entry(entry))? == Stdout::Closed {
            break;
        }
    }
    Ok(())
}

async fn follow(store: &OperatorStore, shape: Shape, heartbeats: bool) -> anyhow::Result<()> {
    let mut bus = store.subscribe()?;
    let mut reader_check = tokio::time::interval(READER_CHECK);
    let mut subscribed = false;
    loop {
        let hint = tokio::select! {
            hint = bus.next() => hint,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            _ = reader_check.tick() => {
                if reader_has_gone() {
                    return Ok(());
                }
                continue;
            }
        };
        match hint {
            Hint::Event(event) if event.kind() == EventKind::HeartbeatSent && !heartbeats => {}
            Hint::Event(event) | Hint::Alert(event) => {
                if shape.show(&fields(&event)?)? == Stdout::Closed {
                    return Ok(());
                }
            }
            Hint::Resync(_) if !subscribed => {
                subscribed = true;
                note(&format!("following {LIFECYCLE_CHANNEL} and {ALERT_CHANNEL} at {}", store.url()));
            }
            Hint::Resync(why) => note(&format!("{}: some events may be missing here", why.in_words())),
            Hint::Rubbish { channel, problem } => {
                note(&format!("a message on {channel} is no event and was left out: {problem}"));
            }
        }
    }
}

/// A pipe or socket without a reader reports an error. Without this check, a quiet fleet would keep `events --follow |
/// head -1` alive until another event comes.
fn reader_has_gone() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => watched[0].revents().contains(PollFlags::ERR),
        Err(_) => false,
    }
}

/// A remark on stderr, so that stdout carries only events. If stderr is closed, there is nowhere to report it.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {}", printable(text));
}

/// How events are written.
#[derive(Debug, Clone, Copy)]
struct Shape {
    output: Output,
    wide: bool,
}

impl Shape {
    fn show(self, fields: &Map<String, Value>) -> anyhow::Result<Stdout> {
        // Read for each line: a terminal can be made wider while events are followed.
        let width = output::terminal_width().filter(|_| !self.wide);
        let line = match (self.output, width) {
            (Output::Json, _) => return output::print_json(fields),
            (Output::Table, None) => line(fields),
            (Output::Table, Some(width)) => fitted(fields, width),
        };
        Ok(output::print_stdout(&format!("{line}\n"))?)
    }
}

fn fields(event: &Event) -> anyhow::Result<Map<String, Value>> {
    match serde_json::to_value(event)? {
        Value::Object(fields) => Ok(fields),
        other => anyhow::bail!("an event has no fields: {other}"),
    }
}

/// A log entry with the names and types that events have.
pub(crate) fn entry(entry: &LogEntry) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("id".into(), entry.id.clone().into());
    fields.insert("timestamp".into(), wording::written_at(entry).as_ms().into());
    for (name, value) in &entry.fields {
        let number =
            matches!(name.as_str(), "keysDeleted" | "tasksRequeued").then(|| value.parse::<u64>().ok());
        fields.insert(name.clone(), number.flatten().map_or_else(|| value.clone().into(), Value::from));
    }
    fields
}

/// The most telling fields of an event, first. A narrow terminal may show no more.
const TELLING: [&str; 8] = ["reason", "status", "outcome", "state", "taskId", "process", "sprint", "count"];

/// One line that fits: without the date if the terminal is narrow, and with an ellipsis where something is left out.
fn fitted(fields: &Map<String, Value>, width: usize) -> String {
    let whole = line(fields);
    if whole.chars().count() <= width {
        return whole;
    }
    let when = fields.get("timestamp").and_then(Value::as_u64).map(wording::time_of_day).unwrap_or_default();
    let rank = |name: &str| TELLING.iter().position(|told| *told == name).unwrap_or(TELLING.len());
    let mut told = details(fields);
    told.sort_by_key(|(name, _)| rank(name));
    output::shortened(&written(&when, fields, &told), width)
}

/// One line: when, what, who, then all other fields but the names of deleted keys, of which there may be many.
pub(crate) fn line(fields: &Map<String, Value>) -> String {
    let when = fields.get("timestamp").and_then(Value::as_u64).map(wording::instant).unwrap_or_default();
    written(&when, fields, &details(fields))
}

fn details(fields: &Map<String, Value>) -> Vec<(&str, String)> {
    fields
        .iter()
        .filter(|(name, _)| !["timestamp", "type", "agentId", "id", "v", "keys"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), detail(value)))
        .collect()
}

fn written(when: &str, fields: &Map<String, Value>, details: &[(&str, String)]) -> String {
    let named = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("-");
    let details: Vec<String> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (kind, agent) = (printable(named("type")), printable(named("agentId")));
    let text = format!("{when}  {kind:<20}  {agent:<16}  {}", printable(&details.join(" ")));
    text.trim_end().to_string()
}

fn detail(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains(char::is_whitespace) => format!("{text:?}"),
        Value::String(text) => text.clone(),
        // The orphans of a pass: only their names are shown.
        Value::Array(items) => {
            let name = |item: &Value| match item.get("agentId").and_then(Value::as_str) {
                Some(id) => id.to_string(),
                // Pids.
                None if item.is_number() => item.to_string(),
                None => "?".into(),
            };
            items.iter().map(name).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use lifecycle_core::wire::event::Payload;

    use super::*;

    fn cleaned() -> Event {
        let payload = Payload::CleanupCompleted {
            reason: Some("stale_heartbeat".into()),
            process: None,
            keys_deleted: Some(6),
            tasks_requeued: None,
        };
        Event::new(payload, 1_764_000_000_000).about("coder-1", None)
    }

    #[test]
    fn an_event_is_one_line_with_all_that_it_says() {
        assert_eq!(
            line(&fields(&cleaned()).unwrap()),
            "2025-11-24T16:00:00.000Z  cleanup_completed     coder-1           keysDeleted=6 reason=stale_heartbeat"
        );
        let exited = Payload::ProcessExited { status: Some("exit 1".into()), reason: None };
        let exited = line(&fields(&Event::new(exited, 0).about("a", None)).unwrap());
        assert!(exited.ends_with("status=\"exit 1\""), "{exited}");
    }

    #[test]
    fn a_narrow_terminal_shows_the_telling_part_of_an_event_and_a_wide_one_all_of_it() {
        let fields = fields(&cleaned()).unwrap();
        assert_eq!(
            fitted(&fields, 80),
            "16:00:00  cleanup_completed     coder-1           reason=stale_heartbeat keysDe…"
        );
        assert_eq!(fitted(&fields, 200), line(&fields));
    }

    #[test]
    fn a_hostile_event_stays_on_its_line() {
        let registered = Payload::AgentRegistered { state: None, sprint: Some("x\u{7}".into()) };
        let event = Event::new(registered, u64::MAX).about("a\nb\u{1b}[2J", None);
        let line = line(&fields(&event).unwrap());
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn a_log_entry_has_numbers_where_events_have_them() {
        let written = [("type", "cleanup"), ("agentId", "a"), ("keysDeleted", "6"), ("tasksRequeued", "?")];
        let entry = entry(&LogEntry {
            id: "1764000000000-3".into(),
            fields: written.map(|(name, value)| (name.to_string(), value.to_string())).into(),
        });
        assert_eq!((&entry["timestamp"], &entry["keysDeleted"]), (&1_764_000_000_000_u64.into(), &6.into()));
        assert_eq!(entry["tasksRequeued"], "?");
    }
}
