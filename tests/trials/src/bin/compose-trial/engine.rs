//! The container engine and its compose program.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use lifecycle_tests::command::{output, program};
pub(crate) use lifecycle_trials::docker::{docker, engine_problem};

/// The service's label on each container, written by every compose program.
const SERVICE_LABEL: &str = "com.docker.compose.service";
/// The project's label on containers, networks and volumes.
pub(crate) const PROJECT_LABEL: &str = "com.docker.compose.project";

/// The compose program: the engine's plugin, else the one that stands alone.
pub(crate) fn compose_program() -> Option<&'static [&'static str]> {
    let candidates: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    candidates.into_iter().find(|words| {
        let mut asked = program(words[0], &words[1..]);
        asked.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    })
}

/// The shipped compose file under a project name of its own. Only its variables differ from a user's stack.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) compose: &'static [&'static str],
    pub(crate) project: String,
    pub(crate) variables: Vec<(String, String)>,
}

impl Stack {
    /// A compose command.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = program(self.compose[0], &self.compose[1..]);
        command.args(["--project-name", &self.project]).args(args).stdin(Stdio::null());
        // The variables of the user's own stack must not reach this one.
        let foreign = std::env::vars_os().map(|(name, _)| name);
        for name in foreign.filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("LIFECYCLE_") || name.starts_with("COMPOSE_")
        }) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Runs a compose command and returns what it printed.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        output(self.command(args))
    }

    /// Starts services that are not running; their images are there.
    pub(crate) fn up(&self, args: &[&str]) -> Result<()> {
        self.run(&[&["up", "--detach", "--no-build", "--no-recreate"], args].concat()).map(drop)
    }

    /// The containers of a service, running or not, by number.
    pub(crate) fn containers(&self, service: &str) -> Result<Vec<String>> {
        let of_project = format!("label={PROJECT_LABEL}={}", self.project);
        let of_service = format!("label={SERVICE_LABEL}={service}");
        let no_single_run = "label=com.docker.compose.oneoff=False";
        let format = "{{.Label \"com.docker.compose.container-number\"}} {{.ID}}";
        let mut list = docker(["ps", "--all", "--no-trunc", "--format", format]);
        for filter in [of_project.as_str(), of_service.as_str(), no_single_run] {
            list.args(["--filter", filter]);
        }
        let listed = output(list)?;
        let mut found: Vec<(u32, String)> = listed
            .lines()
            .filter_map(|line| {
                let (number, id) = line.split_once(' ')?;
                Some((number.parse().ok()?, id.to_string()))
            })
            .collect();
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// The one container of a service.
    pub(crate) fn container(&self, service: &str) -> Result<String> {
        self.containers(service)?.pop().with_context(|| format!("{service} has no container"))
    }

    /// The full name of one of the file's networks.
    pub(crate) fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }
}

/// Runs a program in a container and returns what it printed.
pub(crate) fn exec(container: &str, command: &[&str]) -> Result<String> {
    output(docker([&["exec", container], command].concat()))
}

/// One property of a container.
pub(crate) fn inspect(container: &str, format: &str) -> Result<String> {
    Ok(output(docker(["inspect", "--format", format, container]))?.trim().to_string())
}

/// `running`, `exited` and so on.
pub(crate) fn status(container: &str) -> Result<String> {
    inspect(container, "{{.State.Status}}")
}

/// `healthy`, `unhealthy` or `starting`.
pub(crate) fn health(container: &str) -> Result<String> {
    inspect(container, "{{if .State.Health}}{{.State.Health.Status}}{{end}}")
}

/// What a container wrote to its standard output and error, together.
pub(crate) fn logs(container: &str) -> Result<String> {
    let output = docker(["logs", container]).output().context("`docker logs` could not be run")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(text(&output.stdout) + &text(&output.stderr))
}
