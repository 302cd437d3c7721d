//! Asks git about a worktree, and removes it if nothing in it is lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use lifecycle_core::agent::thing::{Outcome, Standing, Step, Thing, Why, WorktreeFound, for_worktree};

use super::{Became, Hands, PATIENCE, mark_of};

/// Every place where a commit counts as kept.
const KEPT: [&str; 3] = ["refs/heads", "refs/remotes", "refs/tags"];

pub(super) fn undo(thing: &Thing, hands: &Hands) -> Became {
    let path = &thing.what;
    match for_worktree(&look(thing, hands)) {
        Step::Done => (Outcome::Undone, String::new()),
        Step::Park(why) => (Outcome::Parked, why.to_string()),
        Step::Remove => match repository(path, hands) {
            Some((_, common)) => remove(path, &common, hands),
            None => (Outcome::Parked, Why::NotTold.to_string()),
        },
    }
}

/// Refuses what git does not call a linked worktree.
pub(super) fn check(thing: &Thing, hands: &Hands) -> Result<(), String> {
    match is_linked(&thing.what, hands) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{} is no linked worktree (`git worktree add` makes one)", thing.what)),
        None => Err(format!("git does not say that {} is a worktree", thing.what)),
    }
}

/// Without `--force`: git looks again, and refuses what has changed meanwhile.
fn remove(path: &str, common: &str, hands: &Hands) -> Became {
    let mut command = git();
    command.arg(format!("--git-dir={common}")).args(["worktree", "remove", path]);
    match hands.ask(command, PATIENCE) {
        Ok(answer) if answer.is_success => (Outcome::Undone, String::new()),
        Ok(answer) => (Outcome::Parked, answer.complaint()),
        Err(error) => (Outcome::Parked, error),
    }
}

fn look(thing: &Thing, hands: &Hands) -> WorktreeFound {
    let path = &thing.what;
    let standing = Standing::of(thing.mark, mark_of(path));
    let nothing = WorktreeFound { standing, is_linked: None, is_clean: None, is_held_elsewhere: None };
    if standing != Standing::Same {
        return nothing;
    }
    WorktreeFound {
        is_linked: is_linked(path, hands),
        is_clean: is_clean(path, hands),
        is_held_elsewhere: is_held_elsewhere(path, hands),
        ..nothing
    }
}

fn is_linked(path: &str, hands: &Hands) -> Option<bool> {
    let (top, common) = repository(path, hands)?;
    let own = lines(&ask(path, &["rev-parse", "--absolute-git-dir"], hands)?);
    let same = |one: &str, other: &str| Some(fs::canonicalize(one).ok()? == fs::canonicalize(other).ok()?);
    Some(same(&top, path)? && !same(own.first()?, &common)?)
}

/// The top of the worktree that this is in, and the folder of its repository.
fn repository(path: &str, hands: &Hands) -> Option<(String, String)> {
    let top = lines(&ask(path, &["rev-parse", "--show-toplevel"], hands)?).into_iter().next()?;
    let common = lines(&ask(path, &["rev-parse", "--git-common-dir"], hands)?).into_iter().next()?;
    // It may be relative to where git was started.
    let common = Path::new(path).join(common).to_str()?.to_owned();
    Some((top, common))
}

/// Whatever the user's configuration hides is shown.
fn is_clean(path: &str, hands: &Hands) -> Option<bool> {
    let status = ["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=none"];
    Some(ask(path, &status, hands)?.is_empty())
}

fn is_held_elsewhere(path: &str, hands: &Hands) -> Option<bool> {
    // Its own branch stays when it goes, but then nobody looks at it any more. Without a branch git says nothing.
    let own = lines(&ask(path, &["rev-parse", "--symbolic-full-name", "HEAD"], hands)?);
    let holders = [&["for-each-ref", "--format=%(refname)", "--contains=HEAD"][..], &KEPT].concat();
    let holders = lines(&ask(path, &holders, hands)?);
    Some(holders.iter().any(|holder| !own.contains(holder)))
}

/// What git prints. `None` if it fails, or is not there.
fn ask(path: &str, words: &[&str], hands: &Hands) -> Option<String> {
    let mut command = git();
    command.args(["-C", path]).args(words);
    let answer = hands.ask(command, PATIENCE).ok()?;
    answer.is_success.then_some(answer.output)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Without what the repository or the environment would have it run or look at instead.
fn git() -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command
}
