//! Runs a program for a while, and ends what it leaves.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::super::identity::ProcessId;
use super::super::leftovers::own_line;
use super::super::signal::{signal_group, signal_process};
use super::super::subreaper::Subreaper;
use super::super::tree::{Kinship, living_below};

/// What our settings begin with: they are not meant for what is run here, and some are secret.
const SETTINGS: &[u8] = b"LIFECYCLE_";
/// Marks one run and all that it starts, wherever it goes.
const MARK: &str = "LIFECYCLE_UNDOING";
/// Most that is kept of what a program prints.
const KEPT: usize = 64 * 1024;
/// Longest pause between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(20);
/// How long its output is waited for once it has ended: what it left may hold it open.
const OUTPUT: Duration = Duration::from_millis(500);
/// How long what was killed may take to go.
const KILLED: Duration = Duration::from_secs(5);

/// Starts programs, in a way that the one who ends processes here knows of.
#[derive(Debug, Clone)]
pub(super) struct Hands {
    subreaper: Subreaper,
}

/// What a program said.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) is_success: bool,
    status: String,
    pub(super) output: String,
    pub(super) errors: String,
}

impl Answer {
    /// Why it failed, in one line.
    pub(super) fn complaint(&self) -> String {
        let said = self.errors.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let said: String = said.chars().take(200).collect();
        if said.is_empty() { self.status.clone() } else { format!("{}: {said}", self.status) }
    }
}

impl Hands {
    /// Those of this process. Where it ends what it adopts, it knows of every child that they start.
    pub(super) fn own() -> Self {
        Self { subreaper: Subreaper::current() }
    }

    /// Whether a program of this name is on PATH.
    pub(super) fn finds(&self, program: &str) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    }

    /// Runs a program that leaves nothing behind, for so long at most.
    pub(super) fn ask(&self, command: Command, limit: Duration) -> Result<Answer, String> {
        self.start(command, limit, |_, _| {})
    }

    /// Runs anything, for so long at most. When this returns, nothing runs any more of what it started.
    pub(super) fn run(&self, command: Command, limit: Duration) -> Result<Answer, String> {
        self.start(command, limit, end)
    }

    fn start(
        &self,
        mut command: Command,
        limit: Duration,
        end: impl FnOnce(&str, &HashSet<ProcessId>),
    ) -> Result<Answer, String> {
        let own: HashSet<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        let is_ours = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(SETTINGS);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name) && !own.contains(name)) {
            command.env_remove(name);
        }
        let mark = format!("{:032x}", rand::random::<u128>());
        command.env(MARK, &mark).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = self.subreaper.start(|| command.spawn(), |child| Some(child.id()));
        let (mut child, process) = started.map_err(|error| error.to_string())?;
        // A life that ends here meanwhile does not end this.
        process.into_iter().for_each(|process| self.subreaper.spare(process));
        let (output, errors) = (gather(child.stdout.take()), gather(child.stderr.take()));
        let mut seen = HashSet::new();
        let in_time = wait(&child, limit, &mut seen);
        seen.extend(living_below(child.id()));
        // It has not been waited for, so the number of its group is still its own.
        signal_group(child.id(), Signal::KILL);
        let status = child.wait();
        end(&mark, &seen);
        process.into_iter().for_each(|process| self.subreaper.forget(process));
        let status = status.map_err(|error| error.to_string())?;
        if !in_time {
            return Err(format!("it did not end within {}", humantime::format_duration(limit)));
        }
        let text = |part: &Receiver<String>| part.recv_timeout(OUTPUT).unwrap_or_default();
        Ok(Answer {
            is_success: status.success(),
            status: status.to_string(),
            output: text(&output),
            errors: text(&errors),
        })
    }
}

/// Waits for its end, and leaves it to be waited for. Notes what is below it: once it has ended, that is not found any
/// more. `false` if it runs on.
fn wait(child: &Child, limit: Duration, seen: &mut HashSet<ProcessId>) -> bool {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if has_ended(child) {
            return true;
        }
        if begun.elapsed() >= limit {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
        seen.extend(living_below(child.id()));
    }
}

fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::Pid(Pid::from_child(child)), options).is_ok_and(|status| status.is_some())
}

/// Ends what was seen below it and what carries its mark, until there is none.
fn end(mark: &str, seen: &HashSet<ProcessId>) {
    let begun = Instant::now();
    let spared = own_line();
    loop {
        let marked =
            Kinship::of_all().everybody().filter(|process| carries(process.pid, mark)).collect::<Vec<_>>();
        let living = marked.into_iter().chain(seen.iter().copied());
        let living: Vec<ProcessId> =
            living.filter(|process| process.is_alive() && !spared.contains(&process.pid)).collect();
        if living.is_empty() || begun.elapsed() > KILLED {
            return;
        }
        living.into_iter().for_each(|process| signal_process(process, Signal::KILL));
        thread::sleep(Duration::from_millis(2));
    }
}

fn carries(pid: u32, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
}

/// Reads all that a program prints, so that it never waits for a reader, and keeps the beginning.
fn gather(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(mut from) = from {
        thread::spawn(move || {
            let (mut kept, mut part) = (Vec::new(), [0; 8_192]);
            while let Ok(read @ 1..) = from.read(&mut part) {
                let room = KEPT.saturating_sub(kept.len()).min(read);
                kept.extend_from_slice(&part[..room]);
            }
            // Nobody may want to know any more.
            let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
        });
    }
    receiver
}
