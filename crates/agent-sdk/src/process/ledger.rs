//! The ledger of a life: a small file on its host that says which processes are of this life, and how to find them.
//!
//! It is there before the command starts and goes when nothing of the life is left, so it outlives the supervisor that
//! is killed, and the record in the store that is reaped. Whoever finds it can tell what that supervisor left behind:
//! its processes have no other mark once they cleared their environment and lost their parent.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io, mem};

use lifecycle_core::agent::thing::Thing;
use lifecycle_core::wire::ids::{AgentId, Incarnation};
use serde::{Deserialize, Serialize};

use super::identity::{ProcessId, place};
use super::leftovers::is_of_an_earlier_boot;
use super::lives_folder::{self, LivesFolder};
use super::runtime_folder::{candidates, own_user};

/// What is written down of one life. Begin with [`Ledger::new`], fill in what holds it, and [`Ledger::write`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The agent.
    pub id: AgentId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The store that it registered with: the address alone, as [`lifecycle_core::settings::Redis::address`] gives it.
    pub store: String,
    /// The process that holds the others. While it runs, nothing of this life is left over.
    pub supervisor: ProcessId,
    /// Where these pids mean something, as [`place`] gives it.
    pub place: String,
    /// The guard that ends the others when the supervisor dies.
    #[serde(default)]
    pub guard: Option<ProcessId>,
    /// The first process of the PID namespace in which the command runs.
    #[serde(default)]
    pub init: Option<ProcessId>,
    /// The control group (cgroup v2) of this life: its folder.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Commands and what descends from them, as last noted.
    #[serde(default)]
    pub processes: Vec<ProcessId>,
    /// What it owns beside keys. Its commands add to them while its supervisor runs, so [`Ledger::write`] does not touch
    /// those that are written down already.
    #[serde(default)]
    pub things: Vec<Thing>,
    /// What holds the processes, in a word.
    pub containment: String,
    /// When it was begun, in ms by this host's clock; for people.
    pub since: u64,
    /// Where it was read; nowhere for one that this process has begun.
    #[serde(skip)]
    folder: Option<PathBuf>,
    /// The user who wrote it.
    #[serde(skip)]
    owner: u32,
}

impl Ledger {
    /// The ledger of a life whose supervisor is this process. Nothing is written yet.
    ///
    /// # Errors
    /// When this process cannot be told apart from later ones with its pid: without `/proc`, that is.
    pub fn new(id: AgentId, incarnation: Incarnation, store: String) -> io::Result<Self> {
        let unknown = || io::Error::other("this process cannot be told apart");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Ok(Self {
            id,
            incarnation,
            store,
            supervisor: ProcessId::own().ok_or_else(unknown)?,
            place: place().ok_or_else(unknown)?,
            guard: None,
            init: None,
            cgroup: None,
            processes: Vec::new(),
            things: Vec::new(),
            containment: String::new(),
            since: u64::try_from(since).unwrap_or(u64::MAX),
            folder: None,
            owner: own_user(),
        })
    }

    /// Writes it, over an earlier one of this life, of which the things stay.
    ///
    /// # Errors
    /// When the runtime folder cannot be made or written to, or another writer does not come to an end.
    pub fn write(&self) -> io::Result<()> {
        let (folder, name) = (lives_folder::own()?, self.file_name());
        let with = |things: Vec<Thing>| serde_json::to_string(&Self { things, ..self.clone() });
        let things_of =
            |text: &str| serde_json::from_str::<Self>(text).map(|ledger| ledger.things).unwrap_or_default();
        let path = folder.join(&name);
        let held = match lives_folder::held(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            held => Some(held?),
        };
        let things = match &held {
            Some(_) => things_of(&fs::read_to_string(&path)?),
            None => self.things.clone(),
        };
        lives_folder::write(&folder, &name, &with(things)?)
    }

    /// The ledger of this life that this user has written.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none; when it cannot be read.
    pub fn of_life(id: &AgentId, incarnation: Incarnation) -> io::Result<Self> {
        let folder = lives_folder::own_if_there().ok_or(io::ErrorKind::NotFound)?;
        let folder = folder.parent().and_then(LivesFolder::open).ok_or(io::ErrorKind::NotFound)?;
        read(&folder, &file_name(id, incarnation))
    }

    /// Changes the things that are written down, while no other process does.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no ledger of this life; those of `change`.
    pub(super) fn change_things(
        &self,
        change: impl FnOnce(&mut Vec<Thing>) -> io::Result<()>,
    ) -> io::Result<()> {
        let folder = self.folder.clone().map_or_else(lives_folder::own, Ok)?;
        lives_folder::change(&folder, &self.file_name(), |text| {
            let mut ledger: Self = serde_json::from_str(text)?;
            let before = ledger.things.clone();
            change(&mut ledger.things)?;
            Ok((ledger.things != before).then(|| serde_json::to_string(&ledger)).transpose()?)
        })
    }

    /// The folder that it is in.
    pub(super) fn folder(&self) -> io::Result<PathBuf> {
        self.folder.clone().map_or_else(lives_folder::own, Ok)
    }

    /// Whether its pids mean something to this process.
    #[must_use]
    pub fn is_here(&self) -> bool {
        place().as_ref() == Some(&self.place)
    }

    /// Whether the process that holds the others is proven to have ended: here, or with an earlier boot of this machine.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        let here = place();
        let is_gone_here = here.as_ref() == Some(&self.place) && !self.supervisor.is_alive();
        is_gone_here || is_of_an_earlier_boot(self, here.as_deref())
    }

    /// Where it is written.
    ///
    /// # Errors
    /// When there is no runtime folder.
    pub fn path(&self) -> io::Result<PathBuf> {
        Ok(lives_folder::own()?.join(self.file_name()))
    }

    /// Removes it; no error if it is not there. Only once no process of the life is left. While the life owns something
    /// that was not undone, it stays.
    ///
    /// # Errors
    /// When the system does not let this process do it.
    pub fn remove(&self) -> io::Result<()> {
        let runtime = match &self.folder {
            Some(folder) => folder.clone(),
            None => lives_folder::own()?,
        };
        match runtime.parent().and_then(LivesFolder::open) {
            Some(folder) if folder.owner == self.owner => {
                let owns = read(&folder, &self.file_name()).is_ok_and(|ledger| !ledger.things.is_empty());
                if owns { Ok(()) } else { folder.remove(&self.file_name()) }
            }
            _ => Ok(()),
        }
    }

    /// Notes the processes of this life that there are now. Earlier ones stay as long as they live, because a process
    /// that has left the tree is not found a second time. Written only if anything has changed.
    ///
    /// # Errors
    /// Those of [`Ledger::write`]. What was not written is written the next time.
    pub fn note(&mut self, pids: impl IntoIterator<Item = ProcessId>) -> io::Result<()> {
        let now: HashSet<ProcessId> = pids.into_iter().collect();
        let earlier = self.processes.iter().filter(|process| !now.contains(process) && process.is_alive());
        let mut noted: Vec<ProcessId> = earlier.chain(&now).copied().collect();
        noted.sort_unstable();
        if noted == self.processes {
            return Ok(());
        }
        let before = mem::replace(&mut self.processes, noted);
        self.write().inspect_err(|_| self.processes = before)
    }

    /// The user who wrote it: only that user's processes can be of this life. This cannot be told by what is in it.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.owner
    }

    pub(super) fn file_name(&self) -> String {
        file_name(&self.id, self.incarnation)
    }
}

fn file_name(id: &AgentId, incarnation: Incarnation) -> String {
    format!("{id}@{incarnation}.json")
}

/// Removes the ledger at this path, of whose life no process is left. While the life owns something that was not undone,
/// it stays: nobody else could say what that is.
///
/// # Errors
/// When the system does not let this process do it.
pub fn remove_ledger(path: &Path) -> io::Result<()> {
    let ledger: Option<Ledger> =
        fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
    if ledger.is_some_and(|ledger| !ledger.things.is_empty()) {
        return Ok(());
    }
    let folder = path.parent().and_then(Path::parent).and_then(LivesFolder::open);
    let name = path.file_name().and_then(|name| name.to_str());
    folder.zip(name).map_or(Ok(()), |(folder, name)| folder.remove(name))
}

/// The ledgers on this host: those of this user, and for root those of everybody. Files of another form are left out.
#[must_use]
pub fn ledgers() -> Vec<Ledger> {
    let mut seen = HashSet::new();
    let folders = candidates().into_iter().filter_map(|runtime| LivesFolder::open(&runtime));
    // Two ways may lead to one folder.
    let folders = folders.filter(|folder| folder.identity().is_some_and(|identity| seen.insert(identity)));
    folders.flat_map(|folder| ledgers_in(&folder)).collect()
}

fn ledgers_in(folder: &LivesFolder) -> Vec<Ledger> {
    let read = |name: String| match read(folder, &name) {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            let file = folder.path().join(name);
            tracing::debug!(file = %file.display(), %error, "a file among the ledgers of lives is none, and is left out");
            None
        }
    };
    folder.names().into_iter().filter_map(read).collect()
}

fn read(folder: &LivesFolder, name: &str) -> io::Result<Ledger> {
    let mut ledger: Ledger = serde_json::from_str(&folder.read(name)?)?;
    if ledger.file_name() != name {
        return Err(io::Error::other("it is of another life than its name says"));
    }
    ledger.owner = folder.owner;
    ledger.folder = Some(folder.path().to_path_buf());
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn ledger(id: &str) -> Ledger {
        Ledger::new(AgentId::new(id).unwrap(), Incarnation(7), "redis://db:6379/0".into()).unwrap()
    }

    /// A runtime folder with the ledger of `a`, written as [`Ledger::write`] does.
    fn runtime() -> (tempfile::TempDir, Ledger) {
        let runtime = tempfile::tempdir().unwrap();
        let lives = runtime.path().join("lives");
        fs::create_dir(&lives).unwrap();
        let ledger =
            Ledger { cgroup: Some("/sys/fs/cgroup/a".into()), containment: "guard".into(), ..ledger("a") };
        lives_folder::write(&lives, &ledger.file_name(), &serde_json::to_string(&ledger).unwrap()).unwrap();
        (runtime, ledger)
    }

    fn in_folder(runtime: &Path) -> Vec<Ledger> {
        LivesFolder::open(runtime).iter().flat_map(ledgers_in).collect()
    }

    #[test]
    fn a_ledger_is_read_as_it_was_written_and_only_its_owner_can_read_it() {
        let (runtime, written) = runtime();
        let file = runtime.path().join("lives/a@7.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut found = in_folder(runtime.path());
        assert_eq!(found.len(), 1);
        found[0].remove().unwrap();
        assert!(!file.exists());
        found[0].remove().unwrap();
        found[0].folder = None;
        assert_eq!(found, [written]);
    }

    #[test]
    fn fields_have_the_names_that_others_read() {
        let text = serde_json::to_value(ledger("a")).unwrap();
        let fields: Vec<&str> = text.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "id",
            "incarnation",
            "store",
            "supervisor",
            "place",
            "guard",
            "init",
            "cgroup",
            "processes",
            "things",
            "containment",
            "since",
        ];
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert!(text["supervisor"]["pid"].is_u64() && text["supervisor"]["start"].is_u64());
    }

    #[test]
    fn what_was_noted_stays_while_it_lives_and_nothing_is_written_without_a_change() {
        let mut kept = ledger(&format!("noting-{}", std::process::id()));
        let own = ProcessId::own().unwrap();
        let gone = ProcessId { start: own.start + 1, ..own };
        kept.note([own, gone]).unwrap();
        assert_eq!(kept.processes, [own, gone]);
        kept.note([]).unwrap();
        assert_eq!(kept.processes, [own], "the other one has ended");
        let found = ledgers().into_iter().find(|found| found.id == kept.id).unwrap();
        assert_eq!(found.processes, [own]);
        kept.remove().unwrap();
        kept.note([own]).unwrap();
        assert!(ledgers().iter().all(|found| found.id != kept.id), "it would have been written again");
    }

    #[test]
    fn files_of_another_form_or_name_or_place_are_left_out() {
        let (runtime, _) = runtime();
        let lives = runtime.path().join("lives");
        fs::write(lives.join("b@1.json"), "{").unwrap();
        fs::write(lives.join("c@1.json"), "{\"id\":\"c\"}").unwrap();
        fs::copy(lives.join("a@7.json"), lives.join("a@8.json")).unwrap();
        fs::create_dir(lives.join("d@1.json")).unwrap();
        fs::rename(lives.join("a@7.json"), runtime.path().join("elsewhere")).unwrap();
        symlink(runtime.path().join("elsewhere"), lives.join("a@7.json")).unwrap();
        assert_eq!(in_folder(runtime.path()), [], "a link leads to it, and is not followed");
    }

    #[test]
    fn a_folder_that_is_a_link_is_none() {
        let (runtime, _) = runtime();
        let other = tempfile::tempdir().unwrap();
        symlink(runtime.path().join("lives"), other.path().join("lives")).unwrap();
        assert!(LivesFolder::open(other.path()).is_none());
        symlink(runtime.path(), other.path().join("lifecycle-1")).unwrap();
        assert!(LivesFolder::open(&other.path().join("lifecycle-1")).is_none());
    }
}
