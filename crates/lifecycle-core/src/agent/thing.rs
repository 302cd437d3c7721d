//! Things that an agent owns and that are no keys: a worktree, a container, a file, something to be run. Whoever ends the
//! life on its host undoes them.
//!
//! What may be undone is decided here, from what was found. The rule is that nothing is lost which somebody may want: a
//! worktree with work that is nowhere else is *parked*, which means that it is left as it is and named. What cannot be
//! told counts as wanted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::word_enum::word_enum;

/// Most things that a life can own: its ledger and its removal stay small.
pub const MOST_THINGS: usize = 100;
/// Longest name of a thing in bytes; a path can be that long.
pub const LONGEST: usize = 4_096;

word_enum! {
    /// What a thing is.
    ThingKind, "kind of thing (worktree, container, file, run)" {
        /// A linked worktree of a git repository: removed if nothing in it is lost, else parked.
        Worktree = "worktree",
        /// A container of docker or podman: removed.
        Container = "container",
        /// A file, a symbolic link or an empty folder: removed if it is still the same.
        File = "file",
        /// A command for a shell: run once.
        Run = "run",
    }
}

word_enum! {
    /// What became of a thing.
    Outcome, "outcome" {
        /// It was removed or run, or it was not there any more.
        Undone = "undone",
        /// It was left as it is, so that nothing is lost.
        Parked = "parked",
        /// It could not be undone, or nobody on its host was there to do it.
        Left = "left",
    }
}

/// What tells one file from a later one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileMark {
    /// The device that it is on.
    pub device: u64,
    /// Its number there, which may be used again.
    pub inode: u64,
    /// When it was made, in ns since 1970, where the file system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<u64>,
}

/// A thing that a life owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// Its absolute path, the id or name of the container, or the command.
    pub what: String,
    /// The host that it is on.
    #[serde(default)]
    pub host: String,
    /// The folder in which a command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Which file or folder was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<FileMark>,
}

impl Thing {
    /// What it is called in the store, in the audit log and on the command line: `worktree /src/feature`.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.kind, &self.what)
    }
}

/// See [`Thing::name`].
#[must_use]
pub fn name(kind: ThingKind, what: &str) -> String {
    format!("{kind} {what}")
}

/// Refuses what cannot be a thing of this kind.
///
/// # Errors
/// Why not, in words.
pub fn check(kind: ThingKind, what: &str) -> Result<(), String> {
    if what.is_empty() || what.len() > LONGEST {
        return Err(format!("a {kind} needs 1 to {LONGEST} bytes"));
    }
    if what.contains('\0') {
        return Err("it must not hold a zero byte".into());
    }
    match kind {
        ThingKind::Container if !is_container(what) => Err(format!(
            "{what:?} is no id or name of a container: A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )),
        ThingKind::Worktree | ThingKind::File if !what.starts_with('/') => {
            Err(format!("{what:?} is no absolute path"))
        }
        _ => Ok(()),
    }
}

/// What docker and podman allow. It cannot be taken for an option, either.
fn is_container(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && name.bytes().all(fits)
}

/// What stands at a thing's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// What was meant.
    Same,
    /// Something else by now.
    Another,
}

impl Standing {
    /// Whether what is found is what was meant.
    #[must_use]
    pub fn of(meant: Option<FileMark>, found: Option<FileMark>) -> Self {
        match (meant, found) {
            (_, None) => Self::Nothing,
            (Some(meant), Some(found)) if meant.is(found) => Self::Same,
            _ => Self::Another,
        }
    }
}

impl FileMark {
    fn is(self, other: Self) -> bool {
        let same_birth = self.born.is_none() || other.born.is_none() || self.born == other.born;
        self.device == other.device && self.inode == other.inode && same_birth
    }
}

/// A worktree, as it was found. `None` where git did not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorktreeFound {
    /// What stands at its path.
    pub standing: Standing,
    /// Whether it is a linked worktree: the main one holds the repository.
    pub is_linked: Option<bool>,
    /// Whether git finds nothing in it that is not committed, untracked files included.
    pub is_clean: Option<bool>,
    /// Whether another branch, a tag or a remote holds every commit of it.
    pub is_held_elsewhere: Option<bool>,
}

/// What kind of file a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file or a symbolic link.
    File,
    /// A folder.
    Folder {
        /// Whether anything is in it.
        is_empty: bool,
    },
    /// A device, a socket, a pipe.
    Special,
}

/// What is to be done with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is not there any more.
    Done,
    /// It may be removed.
    Remove,
    /// It has to stay, for this reason.
    Park(Why),
}

/// Why a thing stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Something else stands at its path.
    Another,
    /// Git did not tell, or is not there.
    NotTold,
    /// It is the main worktree of its repository, or none.
    NotLinked,
    /// It has changes that are not committed.
    Dirty,
    /// It has commits that nobody else has.
    Unpushed,
    /// The folder is not empty.
    NotEmpty,
    /// It is neither a regular file nor a link nor a folder.
    Special,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Another => "another one stands at its path now",
            Self::NotTold => "git does not tell whether anything in it would be lost",
            Self::NotLinked => "it is no linked worktree",
            Self::Dirty => "it has changes that are not committed",
            Self::Unpushed => "it has commits that no other branch, tag or remote has",
            Self::NotEmpty => "the folder is not empty",
            Self::Special => "it is neither a file nor a link nor a folder",
        })
    }
}

/// What to do with a worktree.
#[must_use]
pub fn for_worktree(found: &WorktreeFound) -> Step {
    let facts = [
        (found.is_linked, Why::NotLinked),
        (found.is_clean, Why::Dirty),
        (found.is_held_elsewhere, Why::Unpushed),
    ];
    match found.standing {
        Standing::Nothing => Step::Done,
        Standing::Another => Step::Park(Why::Another),
        Standing::Same => {
            let objection = facts.into_iter().find_map(|(is_fine, why)| match is_fine {
                Some(true) => None,
                Some(false) => Some(why),
                None => Some(Why::NotTold),
            });
            objection.map_or(Step::Remove, Step::Park)
        }
    }
}

/// What to do with a file.
#[must_use]
pub fn for_file(standing: Standing, kind: FileKind) -> Step {
    match (standing, kind) {
        (Standing::Nothing, _) => Step::Done,
        (Standing::Another, _) => Step::Park(Why::Another),
        (Standing::Same, FileKind::File | FileKind::Folder { is_empty: true }) => Step::Remove,
        (Standing::Same, FileKind::Folder { is_empty: false }) => Step::Park(Why::NotEmpty),
        (Standing::Same, FileKind::Special) => Step::Park(Why::Special),
    }
}

/// What became of the things of one life, by name: one audit entry tells all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// The host that they are on.
    pub host: String,
    /// Those that were undone.
    pub undone: Vec<String>,
    /// Those that stay as they are, each with the reason.
    pub parked: BTreeMap<String, String>,
    /// Those that could not be undone, each with the reason.
    pub left: BTreeMap<String, String>,
}

impl Account {
    /// Notes what became of one.
    pub fn add(&mut self, name: String, outcome: Outcome, why: String) {
        match outcome {
            Outcome::Undone => self.undone.push(name),
            Outcome::Parked => drop(self.parked.insert(name, why)),
            Outcome::Left => drop(self.left.insert(name, why)),
        }
    }

    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.undone.is_empty() && self.parked.is_empty() && self.left.is_empty()
    }

    /// All names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let rest = self.parked.keys().chain(self.left.keys());
        self.undone.iter().chain(rest).map(String::as_str)
    }
}

/// `2 undone, 1 parked`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.undone.len(), Outcome::Undone),
            (self.parked.len(), Outcome::Parked),
            (self.left.len(), Outcome::Left),
        ];
        let said =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: FileMark = FileMark { device: 1, inode: 2, born: Some(3) };

    fn clean() -> WorktreeFound {
        let yes = Some(true);
        WorktreeFound { standing: Standing::Same, is_linked: yes, is_clean: yes, is_held_elsewhere: yes }
    }

    #[test]
    fn a_worktree_is_removed_only_if_nothing_of_it_is_lost() {
        assert_eq!(for_worktree(&clean()), Step::Remove);
        assert_eq!(for_worktree(&WorktreeFound { is_clean: Some(false), ..clean() }), Step::Park(Why::Dirty));
        let unpushed = WorktreeFound { is_held_elsewhere: Some(false), ..clean() };
        assert_eq!(for_worktree(&unpushed), Step::Park(Why::Unpushed));
        let main = WorktreeFound { is_linked: Some(false), ..clean() };
        assert_eq!(for_worktree(&main), Step::Park(Why::NotLinked));
        let other = WorktreeFound { standing: Standing::Another, ..clean() };
        assert_eq!(for_worktree(&other), Step::Park(Why::Another));
        let gone = WorktreeFound { standing: Standing::Nothing, ..clean() };
        assert_eq!(for_worktree(&gone), Step::Done);
    }

    #[test]
    fn what_git_does_not_tell_counts_as_wanted() {
        let parked = Step::Park(Why::NotTold);
        assert_eq!(for_worktree(&WorktreeFound { is_linked: None, ..clean() }), parked);
        assert_eq!(for_worktree(&WorktreeFound { is_clean: None, ..clean() }), parked);
        assert_eq!(for_worktree(&WorktreeFound { is_held_elsewhere: None, ..clean() }), parked);
    }

    #[test]
    fn a_file_is_removed_only_if_it_is_the_same_and_nothing_is_in_it() {
        let folder = |is_empty| FileKind::Folder { is_empty };
        assert_eq!(for_file(Standing::Same, FileKind::File), Step::Remove);
        assert_eq!(for_file(Standing::Same, folder(true)), Step::Remove);
        assert_eq!(for_file(Standing::Same, folder(false)), Step::Park(Why::NotEmpty));
        assert_eq!(for_file(Standing::Same, FileKind::Special), Step::Park(Why::Special));
        assert_eq!(for_file(Standing::Another, FileKind::File), Step::Park(Why::Another));
        assert_eq!(for_file(Standing::Nothing, FileKind::File), Step::Done);
    }

    #[test]
    fn a_number_that_was_used_again_is_another_file() {
        let of = |found| Standing::of(Some(MARK), found);
        assert_eq!(of(Some(MARK)), Standing::Same);
        assert_eq!(of(Some(FileMark { born: None, ..MARK })), Standing::Same, "not told");
        assert_eq!(of(Some(FileMark { born: Some(4), ..MARK })), Standing::Another);
        assert_eq!(of(Some(FileMark { inode: 4, ..MARK })), Standing::Another);
        assert_eq!(of(None), Standing::Nothing);
        assert_eq!(Standing::of(None, Some(MARK)), Standing::Another, "it was never told which");
    }

    #[test]
    fn what_could_be_taken_for_an_option_or_for_a_place_that_depends_is_refused() {
        for (kind, what) in [
            (ThingKind::Container, "--all"),
            (ThingKind::Container, "a b"),
            (ThingKind::File, "x"),
            (ThingKind::Worktree, "../x"),
            (ThingKind::Run, ""),
            (ThingKind::Run, "a\0b"),
        ] {
            assert!(check(kind, what).is_err(), "{kind} {what:?}");
        }
        assert!(check(ThingKind::File, &format!("/{}", "x".repeat(LONGEST))).is_err());
        for (kind, what) in
            [(ThingKind::Container, "web_1.a-b"), (ThingKind::File, "/x y"), (ThingKind::Run, "-x\n")]
        {
            assert_eq!(check(kind, what), Ok(()));
        }
    }

    #[test]
    fn an_account_says_how_many_and_which() {
        let mut account = Account::default();
        assert!(account.is_empty());
        account.add("file /a".into(), Outcome::Undone, String::new());
        account.add("worktree /b".into(), Outcome::Parked, "why".into());
        assert_eq!(account.to_string(), "1 undone, 1 parked");
        assert_eq!(account.names().collect::<Vec<_>>(), ["file /a", "worktree /b"]);
    }
}
