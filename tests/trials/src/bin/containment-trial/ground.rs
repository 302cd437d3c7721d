//! What all cells share: one folder, a store and a sweeper, and the settings that make lives short.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::process::Role;
use lifecycle_tests::server::{Server, ServerOptions};
use lifecycle_tests::{role_binary, server_program};

use crate::janitor::Janitor;

const SOON: Duration = Duration::from_secs(20);

/// A lease ends soon, and so does a drain; a supervisor waits for the next coordinator only briefly. Cells that follow each other
/// quickly are no mass that falls silent together.
const SETTINGS: [(&str, &str); 8] = [
    ("LIFECYCLE_HEARTBEAT__INTERVAL", "400ms"),
    ("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", "2s"),
    ("LIFECYCLE_SWEEP__INTERVAL", "1s"),
    ("LIFECYCLE_SWEEP__HOLD_MINIMUM", "100000"),
    ("LIFECYCLE_SHUTDOWN__DRAIN_TIMEOUT", "500ms"),
    ("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "300ms"),
    ("LIFECYCLE_COORDINATOR__ADOPT_TIMEOUT", "1s"),
    ("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0"),
];

/// The folder, and who works on it. Everything that is started is marked by the folder.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) root: PathBuf,
    pub(crate) server: Server,
    sweeper: Role,
    janitor: Janitor,
}

impl Ground {
    /// # Errors
    /// When something cannot be started.
    pub(crate) fn prepare() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("lifecycle-containment-").tempdir()?.keep();
        let janitor = Janitor::start(&root)?;
        // Other users come here, too.
        fs::set_permissions(&root, Permissions::from_mode(0o755))?;
        // What others make is removed with our own folder, and by the janitor where this process cannot.
        if tempfile::env::override_temp_dir(&root).is_err() {
            bail!("temporary folders were made before the trial's own");
        }
        copy_roles(&root)?;
        shared_folder(&root.join("tmp"))?;
        let runtime = root.join("run");
        fs::create_dir(&runtime)?;
        fs::set_permissions(&runtime, Permissions::from_mode(0o700))?;
        let server = start_server(&root)?;
        let sweeper = start_sweeper(&root, &server)?;
        Ok(Self { root, server, sweeper, janitor })
    }

    /// A role's program, at a place that any user can reach, and a container too.
    pub(crate) fn program(&self, role: &str) -> PathBuf {
        self.root.join("bin").join(role)
    }

    /// The settings of every role, and where it has its temporary files.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        settings(&self.root)
    }

    /// A new folder that any user may write to.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        shared_folder(&folder)?;
        Ok(folder)
    }

    /// Root's runtime folder, which goes with the trial.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.root.join("run")
    }

    /// # Errors
    /// When something is left.
    pub(crate) fn clear_away(self) -> Result<()> {
        drop((self.sweeper, self.server));
        self.janitor.finish()
    }
}

fn settings(root: &Path) -> Vec<(&'static str, String)> {
    let url = ("LIFECYCLE_REDIS__URL", format!("redis+unix://{}", socket(root).display()));
    // Killed supervisors leave their temporary files behind.
    let temporary = ("TMPDIR", root.join("tmp").display().to_string());
    SETTINGS.map(|(name, value)| (name, value.to_owned())).into_iter().chain([url, temporary]).collect()
}

fn shared_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o1777))?)
}

/// The store is reached by a file, because a container has a network of its own.
fn socket(root: &Path) -> PathBuf {
    root.join("redis.sock")
}

fn copy_roles(root: &Path) -> Result<()> {
    let folder = root.join("bin");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    for role in ["agent", "coordinator"] {
        fs::copy(role_binary(role)?, folder.join(role))?;
    }
    Ok(())
}

fn start_server(root: &Path) -> Result<Server> {
    let socket = socket(root).display().to_string();
    let args = ["--unixsocket", &socket, "--unixsocketperm", "777"].map(str::to_owned).to_vec();
    Server::start_with(ServerOptions { args, program: Some(server_program()?) })
}

/// A sweeper that has made its first pass, after which lives that end are noticed.
fn start_sweeper(root: &Path, server: &Server) -> Result<Role> {
    let command = Role::command("sweeper")?.arg("run").in_folder(root);
    let command = settings(root).into_iter().fold(command, |command, (name, value)| command.env(name, value));
    let mut sweeper = command.spawn()?;
    let mut store = server.client()?;
    eventually(SOON, "the sweeper to make its first pass", || {
        if !sweeper.is_running()? {
            bail!("the sweeper ended: {}", sweeper.stderr());
        }
        Ok(store.exists(&KeySchema::default().watermark())?.then_some(()))
    })
    .context("nothing was tried")?;
    Ok(sweeper)
}
