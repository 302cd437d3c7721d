//! `task logs`: what a task's command has printed, from the file on this host.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::log_file::MIDDLE_DROPPED;
use lifecycle_core::wire::epic_record::EpicRecord;
use lifecycle_redis::{OperatorStore, StoreError};
use tokio::time::sleep;

use crate::place::TaskPlace;

/// Pause between two looks at a file that grows.
const LOOK: Duration = Duration::from_millis(200);
/// Looks at the file between two looks at the task.
const LOOKS_PER_ASK: u32 = 5;
/// How much of what was printed is remembered, in bytes.
const REMEMBERED: usize = 1 << 10;
/// Not to wait for the writer of a FIFO that somebody put there.
const NONBLOCK: i32 = 0o4000;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl task logs checkout/api/login
  lifecyclectl task logs checkout/api/login --follow      # until the task is over

The log is a file on the coordinator's host, below coordinator.runs_dir. Agents that joined from elsewhere print to their own \
standard output, or below the folder that was given to them with --logs.")]
pub(crate) struct Arguments {
    /// The task
    #[arg(value_name = "EPIC/SPRINT/TASK")]
    task: TaskPlace,
    /// Go on with what is printed, until the task is over
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore) -> anyhow::Result<u8> {
    let place = &arguments.task;
    let epic = store.epic(&place.sprint.epic).await?;
    if epic.is_some() {
        place.plan(store).await?;
    }
    let path = path(store, epic.as_ref(), place);
    let mut reader = Reader::new(path.clone());
    let mut looks = 0;
    loop {
        let is_over = !arguments.follow || (looks % LOOKS_PER_ASK == 0 && is_over(store, place).await?);
        looks += 1;
        // The end of the file is read after the end of the task was seen, so nothing is missed.
        if !reader.copy().with_context(|| path.display().to_string())? {
            return Ok(exit::OK);
        }
        if is_over {
            break;
        }
        sleep(LOOK).await;
    }
    if !reader.found {
        bail!("{}", no_log(epic.as_ref(), &path));
    }
    Ok(exit::OK)
}

/// The file of an epic that runs or waits is where its coordinator said; else where it would be here.
fn path(store: &OperatorStore, epic: Option<&EpicRecord>, place: &TaskPlace) -> PathBuf {
    let runs = epic.filter(|epic| epic.host.as_deref() == Some(&*host())).and_then(|epic| epic.runs.clone());
    let runs = runs.map_or_else(|| store.settings().coordinator.runs_dir.clone(), PathBuf::from);
    let sprint = runs.join(place.sprint.epic.as_str()).join(place.sprint.name.as_str());
    sprint.join(format!("{}.log", place.task))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn no_log(epic: Option<&EpicRecord>, path: &std::path::Path) -> String {
    let elsewhere = epic.and_then(|epic| epic.host.as_deref().zip(epic.runs.as_deref()));
    match elsewhere.filter(|(there, _)| *there != host()) {
        Some((there, runs)) => format!(
            "there is no log of it here ({}): its coordinator runs on {there} and writes below {runs}",
            path.display()
        ),
        None => format!(
            "there is no log of it here ({}): it has not begun, its agent joined from elsewhere, or coordinator.runs_dir is \
             another folder",
            path.display()
        ),
    }
}

/// Whether nothing more is printed: the task is over, or its epic is.
async fn is_over(store: &OperatorStore, place: &TaskPlace) -> Result<bool, StoreError> {
    match store.task_record(&place.sprint.id, &place.task).await? {
        Some(record) => Ok(record.state.is_settled()),
        None => Ok(store.epic(&place.sprint.epic).await?.is_none()),
    }
}

/// Copies a file that grows to standard output.
struct Reader {
    path: PathBuf,
    file: Option<File>,
    found: bool,
    /// The end of what was printed so far.
    latest: Vec<u8>,
}

impl Reader {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, found: false, latest: Vec::new() }
    }

    /// Copies what is new. `false` once nobody reads it any more.
    fn copy(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            self.file = match OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&self.path) {
                Ok(file) if file.metadata()?.is_file() => Some(file),
                Ok(_) => return Err(io::Error::other("it is no regular file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            };
            self.found = true;
        }
        let Some(file) = &mut self.file else { return Ok(true) };
        if file.metadata()?.size() < file.stream_position()? {
            go_behind(file, &self.latest)?;
        }
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut bytes)?;
            if read == 0 {
                return Ok(true);
            }
            // The middle of a long log is a hole until the attempt ends, and reads as zeros.
            let printed: Vec<u8> = bytes[..read].iter().copied().filter(|byte| *byte != 0).collect();
            remember(&mut self.latest, &printed);
            let written = io::stdout().lock().write_all(&printed).and_then(|()| io::stdout().flush());
            match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                written => written?,
            }
        }
    }
}

fn remember(latest: &mut Vec<u8>, printed: &[u8]) {
    latest.extend_from_slice(printed);
    latest.drain(..latest.len().saturating_sub(REMEMBERED));
}

/// A log that was cut to its limit is shorter than what was read of it: goes on behind what was printed last. If that is in
/// the middle that was dropped, all that follows the middle is new.
fn go_behind(file: &mut File, latest: &[u8]) -> io::Result<()> {
    let mut whole = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut whole)?;
    let find = |wanted: &[u8]| {
        let at = whole.windows(wanted.len().max(1)).rposition(|window| window == wanted)?;
        Some(at + wanted.len())
    };
    let middle = || find(MIDDLE_DROPPED.as_bytes()).map(|behind| behind - MIDDLE_DROPPED.len());
    let at = if latest.is_empty() { Some(0) } else { find(latest).or_else(middle) };
    file.seek(SeekFrom::Start(at.unwrap_or(0) as u64)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_cut_goes_on_behind_what_was_printed_or_behind_the_middle() {
        let mut file = tempfile::tempfile().unwrap();
        write!(file, "head\n{MIDDLE_DROPPED}: a log is kept …\nlast but one\nlast\n").unwrap();
        let mut rest = |latest: &str| {
            go_behind(&mut file, latest.as_bytes()).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(rest("last but one\n"), "last\n");
        assert!(rest("dropped\n").starts_with(MIDDLE_DROPPED));
        assert!(rest("").starts_with("head\n"));
    }
}
