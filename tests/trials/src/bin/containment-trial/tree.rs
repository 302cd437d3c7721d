//! The tree of a command: seven processes, each of a kind that got away before, and how they are recognised.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use lifecycle_tests::eventually::eventually;

use crate::processes::{Process, marked};

/// A tree takes a moment to come up on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Says that it is there, and stays; one that is `stubborn` ignores TERM. It starts processes all the time, which an
/// enumeration that is not repeated misses.
const STAY: &str = "[ $3 = stubborn ] && trap '' TERM HUP INT
echo > $1/up.$2
while :; do sleep 0.05; done
";

/// Its folder is $1, the store's program $2. It begins once: an agent that is started again finds it done.
const TREE: &str = "[ -e $1/begun ] && exit 0
touch $1/begun
cd $1
stay() { name=$1; shift; \"$@\" /bin/sh $folder/stay.sh $folder $name $how; }
folder=$1; how=mild
stay plain & stay session setsid & (stay daemon setsid &) ; stay cleared env -i &
$2 --daemonize yes --port 0 --unixsocket $1/store.sock --dir $1 --pidfile $1/up.overwrote --save '' > $1/store.log
how=stubborn
stay stubborn & (stay everything env -i setsid &)
wait
";

pub(crate) const KINDS: [&str; 7] =
    ["plain", "session", "daemon", "cleared", "overwrote", "stubborn", "everything"];

/// A folder in which one tree is started. It is the mark of its processes: they work in it, and most have it in their
/// arguments.
#[derive(Debug)]
pub(crate) struct Tree {
    folder: PathBuf,
}

impl Tree {
    pub(crate) fn plant(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        // Whoever runs it writes there.
        fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
        fs::write(folder.join("stay.sh"), STAY)?;
        fs::write(folder.join("tree.sh"), TREE)?;
        Ok(Self { folder })
    }

    /// What an agent is to run. `store` is a program that overwrites its environment.
    pub(crate) fn command(&self, store: &Path) -> [String; 4] {
        let text = |path: &Path| path.display().to_string();
        ["sh".into(), text(&self.folder.join("tree.sh")), text(&self.folder), text(store)]
    }

    /// Waits until all seven are there.
    ///
    /// # Errors
    /// When one does not come, or `problem` says that none will.
    pub(crate) fn wait(&self, mut problem: impl FnMut() -> Option<String>) -> Result<()> {
        let mut there = BTreeSet::new();
        let came = eventually(SOON, "the tree to come up", || {
            there = kinds(&self.processes());
            let are_up = KINDS.iter().all(|kind| self.folder.join(format!("up.{kind}")).exists());
            if there.len() == KINDS.len() && are_up {
                return Ok(Some(()));
            }
            problem().map_or(Ok(None), |problem| bail!("the tree does not come up: {problem}"))
        });
        came.map_err(|error| error.context(format!("there is only {there:?}")))
    }

    /// What is there of it, found from outside.
    pub(crate) fn processes(&self) -> Vec<Process> {
        marked(&self.folder).into_iter().filter(|process| !process.is_role()).collect()
    }
}

pub(crate) fn kinds(processes: &[Process]) -> BTreeSet<&'static str> {
    processes.iter().filter_map(kind).collect()
}

/// Which of the seven it is; `None` for the shell that started them, and for what they start.
pub(crate) fn kind(process: &Process) -> Option<&'static str> {
    let name = match process.words.iter().position(|word| word.ends_with("/stay.sh")) {
        Some(script) => process.words.get(script + 2)?,
        None if process.name().ends_with("-server") => "overwrote",
        None => return None,
    };
    KINDS.into_iter().find(|kind| *kind == name)
}

/// Whether it is the command itself, which starts the seven.
pub(crate) fn is_command(process: &Process) -> bool {
    process.words.iter().any(|word| word.ends_with("/tree.sh"))
}
