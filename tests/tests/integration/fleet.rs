//! A server of the test's own and roles on it as processes, with short leases where a test is about time.

mod time;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{PlainClient, Role, Server, eventually};
use tempfile::TempDir;

pub(crate) use time::LONG_AGO_MS;

/// Long enough for anything that should happen at all on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server and the roles that use it.
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) client: PlainClient,
    settings: Vec<(&'static str, String)>,
    /// Ledgers and scratch files of its own, so that no other test's roles look at them.
    runtime: TempDir,
}

impl Fleet {
    /// A fleet with the default settings.
    pub(crate) fn new() -> Self {
        let server = Server::start().unwrap();
        let client = server.client().unwrap();
        let runtime = tempfile::Builder::new().prefix("lifecycle-run-").tempdir().unwrap();
        // Some roles are run by other users.
        fs::set_permissions(runtime.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let settings = vec![
            ("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0".into()),
            ("XDG_RUNTIME_DIR", runtime.path().display().to_string()),
        ];
        Self { server, client, settings, runtime }
    }

    /// A fleet whose agents beat often, with leases of `lease`.
    pub(crate) fn with_lease(lease: Duration) -> Self {
        let mut fleet = Self::new();
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        fleet.settings.extend([
            ("LIFECYCLE_HEARTBEAT__INTERVAL", ms(lease / 5)),
            ("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", ms(lease)),
            ("LIFECYCLE_SWEEP__INTERVAL", "1s".into()),
            ("LIFECYCLE_SHUTDOWN__KILL_TIMEOUT", "1s".into()),
        ]);
        fleet
    }

    /// The runtime folder of its roles.
    pub(crate) fn runtime(&self) -> &Path {
        self.runtime.path()
    }

    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    /// Nothing holds a command but its supervisor, which is its parent and sees the same pids.
    pub(crate) fn unheld(self) -> Self {
        self.set("LIFECYCLE_CONTAINMENT__MODE", "none")
    }

    pub(crate) fn role(&self, name: &str) -> RoleCommand {
        self.with_settings(Role::command(name).unwrap())
    }

    /// Any program, with the settings that roles of this fleet have.
    pub(crate) fn program(&self, name: &str, program: &Path) -> RoleCommand {
        self.with_settings(Role::program(name, program))
    }

    fn with_settings(&self, command: RoleCommand) -> RoleCommand {
        let command = command.env("LIFECYCLE_REDIS__URL", self.server.url());
        self.settings.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// `agent run --id ID -- sh -c SCRIPT`.
    pub(crate) fn agent(&self, id: &str, script: &str) -> RoleCommand {
        self.role("agent").args(["run", "--id", id, "--", "sh", "-c", script])
    }

    /// Kills the server if it runs, starts it again, and connects to it.
    pub(crate) fn restart(&mut self) {
        self.server.restart().unwrap();
        self.client = self.server.client().unwrap();
    }

    /// One command to the store, by the plain client; what it answers is of no interest.
    pub(crate) fn redis(&mut self, parts: &[&str]) {
        self.client.run(parts).unwrap();
    }

    /// A sweeper that has made its first pass.
    pub(crate) fn sweeper(&mut self) -> Role {
        let sweeper = self.role("sweeper").arg("run").spawn().unwrap();
        let client = &mut self.client;
        eventually(SOON, "the sweeper's first pass", || Ok(client.exists("sweep:watermark")?.then_some(())))
            .unwrap();
        sweeper
    }

    pub(crate) fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut PlainClient) -> bool) {
        let client = &mut self.client;
        eventually(SOON, what, || Ok(holds(client).then_some(()))).unwrap();
    }

    pub(crate) fn wait_for_beat(&mut self, id: &str) {
        let key = format!("agent:heartbeat:{id}");
        self.wait_until("the first beat", |client| client.exists(&key).unwrap());
    }

    pub(crate) fn incarnation(&mut self, id: &str) -> Option<String> {
        self.client.text(&["HGET", &format!("agent:state:{id}"), "incarnation"]).unwrap()
    }

    /// The audit log, newest first.
    pub(crate) fn log(&mut self) -> Vec<BTreeMap<String, String>> {
        self.client.entries("agents:log").unwrap()
    }

    /// Every key but the records that stay when all agents have gone.
    pub(crate) fn residue(&mut self) -> Vec<String> {
        let kept = ["agents:log", "epics:history", "lifecycle:generation", "memory:stats", "sweep:watermark"];
        let keys = self.client.keys().unwrap();
        keys.into_iter().filter(|key| !kept.contains(&key.as_str())).collect()
    }
}
