//! What is shown of a process: whose it is, how old, how large, and its command.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use super::super::identity::ProcessId;
use super::super::memory_use::resident;

/// Longest command that is kept, in characters.
const LONGEST_COMMAND: usize = 400;

/// Names of users, read once.
#[derive(Debug, Default)]
pub(super) struct Users(Option<HashMap<u32, String>>);

impl Users {
    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        let names =
            self.0.get_or_insert_with(|| names(&fs::read_to_string("/etc/passwd").unwrap_or_default()));
        names.get(&uid).cloned()
    }
}

/// The name of a user, if this host has it.
pub(in super::super) fn user_name(uid: u32) -> Option<String> {
    Users::default().name(uid)
}

/// passwd(5): `name:password:uid:…`. The first of two names of one user counts.
fn names(passwd: &str) -> HashMap<u32, String> {
    let mut found = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            found.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    found
}

/// How long the process has run.
pub(in super::super) fn age(process: ProcessId) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = uptime.split(' ').next()?.parse().ok()?;
    age_at(up, process.start, rustix::param::clock_ticks_per_second())
}

fn age_at(up: f64, start: u64, ticks_per_second: u64) -> Option<Duration> {
    let started = Duration::from_millis(start.saturating_mul(1_000).checked_div(ticks_per_second)?);
    Some(Duration::try_from_secs_f64(up).ok()?.saturating_sub(started))
}

/// Its resident memory, in bytes.
pub(in super::super) fn resident_of(process: ProcessId) -> u64 {
    resident(&[process.pid]).rss
}

/// The words of its command; its name in brackets where it has none.
pub(in super::super) fn words_of(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut words: Vec<String> = words.collect();
    // Each word ends with a zero byte, the last one too.
    while words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    if words.is_empty() {
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        words.push(format!("[{}]", String::from_utf8_lossy(&name).trim_end()));
    }
    words
}

/// Its command in one line.
pub(in super::super) fn command_of(pid: u32) -> String {
    let line = words_of(pid).join(" ");
    match line.char_indices().nth(LONGEST_COMMAND) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_first_of_their_names() {
        let found = names(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbroken\n:x:no\nme:x:1000:1000::/home/me:\n",
        );
        assert_eq!((found.get(&0).unwrap().as_str(), found.get(&1_000).unwrap().as_str()), ("root", "me"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn an_age_is_what_has_passed_since_the_start() {
        assert_eq!(age_at(100.5, 2_000, 100), Some(Duration::from_millis(80_500)));
        assert_eq!(age_at(1.0, 2_000, 100), Some(Duration::ZERO), "clocks that do not agree");
        assert!(age(ProcessId::own().unwrap()).unwrap() < Duration::from_secs(3_600));
    }

    #[test]
    fn a_command_is_shown_as_it_was_given() {
        let mut child = std::process::Command::new("sleep").args(["600", ""]).spawn().ok();
        let own = words_of(std::process::id());
        assert!(own[0].contains("agent_sdk"), "{own:?}");
        if let Some(child) = &mut child {
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(words_of(child.id()), ["[]"], "it has ended");
        }
    }
}
