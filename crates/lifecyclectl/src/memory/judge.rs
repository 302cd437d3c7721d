//! `lifecyclectl memory judge`: the alerts that the leak detector would have given.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};

use clap::Args;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::{self, Output, Stdout, Table};

use super::replay::{Alert, Replay};

/// Longest line that is read. No row is longer, and without a limit a file of something else would be read into memory.
const LONGEST_LINE: u64 = 65_536;
const BUFFER: usize = 1 << 18;

const LONG_ABOUT: &str = "\
Replays a recorded trace through the leak detector and prints one JSON line per alert on stdout, or with \
--output table all of them as a table.

The trace is a CSV file in order of time, with a header and any number of agents interleaved:

  timestampMs,agentId,kind,rssBytes[,limitBytes]

An empty rssBytes marks a restart. Columns are known by name: their order is free, and others are ignored. Agents of one kind \
are held against each other. No store is needed.

A line that cannot be read, or that goes back in time, ends the command with code 2 and a message that names the line; alerts \
of the lines before it have been printed by then.";

const EXAMPLES: &str = "\
Examples:
  lifecyclectl memory judge trace.csv
  lifecyclectl memory judge trace.csv --output table
  zcat trace.csv.gz | lifecyclectl memory judge - | jq 'select(.verdict == \"runaway\")'";

/// `memory judge TRACE`
#[derive(Debug, Clone, Args)]
#[command(long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The trace; `-` reads standard input
    #[arg(value_name = "TRACE.csv")]
    trace: String,
}

/// A table only if asked for, because other programs read the lines.
pub(super) fn run(arguments: &Arguments, output: Option<Output>) -> anyhow::Result<u8> {
    let mut told = match output {
        Some(Output::Table) => Told::Rows(Table::new(Alert::COLUMNS)),
        Some(Output::Json) | None => Told::Lines,
    };
    let judged = judge_trace(arguments, &mut told);
    // Alerts found before an unreadable line are printed, as they are with lines.
    if let Told::Rows(table) = told {
        output::print_stdout(&table.to_string())?;
    }
    judged.map(|()| exit::OK)
}

/// How alerts are printed.
enum Told {
    /// Each at once, as a line of JSON.
    Lines,
    /// All of them at the end.
    Rows(Table),
}

impl Told {
    fn tell(&mut self, alert: &Alert) -> anyhow::Result<Stdout> {
        match self {
            Self::Lines => output::print_json(alert),
            Self::Rows(table) => {
                table.row(alert.cells());
                Ok(Stdout::Open)
            }
        }
    }
}

fn judge_trace(arguments: &Arguments, told: &mut Told) -> anyhow::Result<()> {
    let refuse = |what: String| Failure::new(exit::USAGE, format!("{}: {what}", name(&arguments.trace)));
    if arguments.trace == "-" {
        judge(BufReader::with_capacity(BUFFER, io::stdin().lock()), told, refuse)
    } else {
        let file =
            File::open(&arguments.trace).map_err(|error| refuse(format!("cannot be opened: {error}")))?;
        judge(BufReader::with_capacity(BUFFER, file), told, refuse)
    }
}

fn name(trace: &str) -> &str {
    if trace == "-" { "standard input" } else { trace }
}

fn judge(mut trace: impl BufRead, told: &mut Told, refuse: impl Fn(String) -> Failure) -> anyhow::Result<()> {
    let mut replay = Replay::default();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = trace.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        let length = read.map_err(|error| match number {
            0 => refuse(format!("cannot be read: {error}")),
            _ => refuse(format!("cannot be read after line {number}: {error}")),
        })?;
        if length == 0 {
            return Ok(replay.end().map_err(refuse)?);
        }
        number += 1;
        let complete = line.last() == Some(&b'\n') || (length as u64) < LONGEST_LINE;
        let said =
            if complete { text(&line) } else { Err(format!("it is longer than {LONGEST_LINE} bytes")) };
        let alert = said.and_then(|text| replay.line(text));
        let alert = alert.map_err(|what| refuse(format!("line {number}: {what}")))?;
        if let Some(alert) = alert
            && told.tell(&alert)? == Stdout::Closed
        {
            return Ok(());
        }
    }
}

fn text(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map(str::trim_end).map_err(|_| "it is no UTF-8 text".to_owned())
}
