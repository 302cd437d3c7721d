//! An agent is killed with everything it has started, and what it had in hand is written down.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::plain::PlainClient;
use lifecycle_tests::process::descendants;
use rustix::process::{Pid, Signal, kill_process};

/// How long a killed process may take to be gone.
const SOON: Duration = Duration::from_secs(5);

/// An agent that was killed.
#[derive(Debug, Clone)]
pub(crate) struct Victim {
    pub(crate) agent: String,
    /// The tasks that it had in hand, which may therefore be begun again.
    pub(crate) tasks: BTreeSet<String>,
}

/// Kills the whole tree of an agent. `None` if it has no process.
pub(crate) fn kill(store: &mut PlainClient, agent: &str) -> Result<Option<Victim>> {
    let Some(supervisor) = supervisor(store, agent)? else { return Ok(None) };
    // Stopped first: so it begins nothing new, finishes nothing, and what it leaves comes to it and not to others.
    if kill_process(supervisor, Signal::STOP).is_err() {
        return Ok(None);
    }
    // Twice, because a command that it had sent just before may still have been on its way at the first look.
    let mut tasks = in_hand(store, agent)?;
    tasks.extend(in_hand(store, agent)?);
    let pid = supervisor.as_raw_nonzero().get().unsigned_abs();
    eventually(SOON, "the end of what an agent had started", || {
        let alive: Vec<u32> = descendants(pid).into_iter().filter(|pid| runs(*pid)).collect();
        for pid in &alive {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                // It may have ended by now.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(alive.is_empty().then_some(()))
    })?;
    kill_process(supervisor, Signal::KILL).context("a stopped supervisor has gone")?;
    eventually(SOON, "the end of a supervisor", || Ok((!runs(pid)).then_some(())))?;
    Ok(Some(Victim { agent: agent.to_owned(), tasks }))
}

/// The process on record. One that has the pid of an agent that died earlier is somebody else.
fn supervisor(store: &mut PlainClient, agent: &str) -> Result<Option<Pid>> {
    let record = store.run(&["HMGET", &KeySchema::default().state(agent), "pid", "pidStart"])?.texts();
    let [pid, start] = &record[..] else { return Ok(None) };
    let is_it = stat(pid).is_some_and(|fields| fields.get(19).is_some_and(|field| field == start));
    Ok(if is_it { Pid::from_raw(pid.parse()?) } else { None })
}

fn in_hand(store: &mut PlainClient, agent: &str) -> Result<BTreeSet<String>> {
    let keys = KeySchema::default();
    let prefix = keys.task_prefix(agent);
    let owned = store.texts(&["SMEMBERS", &keys.keys(agent)])?;
    Ok(owned.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect())
}

/// Whether a process is there and no zombie. The first one of a namespace has ended, and has no memory any more, but stays until
/// all others were waited for, also by a parent that stands still.
fn runs(pid: u32) -> bool {
    let has_memory = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty());
    has_memory
        && stat(&pid.to_string()).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z"))
}

/// The fields of /proc/PID/stat from the third on, the state; the second is a name that may contain anything.
fn stat(pid: &str) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}
