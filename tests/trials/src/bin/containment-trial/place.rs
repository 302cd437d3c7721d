//! As whom roles are started: how that is done, and whether it can be done here.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::process::{Role, RoleCommand};
use lifecycle_tests::program::on_path;
use rustix::process::geteuid;

use crate::container;
use crate::ground::Ground;
use crate::matrix::{Mode, Who};

/// Nobody, and nobody's group.
const WITHOUT_RIGHTS: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
const SOON: Duration = Duration::from_secs(20);

/// One way to start roles.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    ground: &'a Ground,
    how: How,
}

#[derive(Debug)]
enum How {
    Root,
    User,
    Container(String),
}

/// All that were asked for; the reason where one cannot be had.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    all: Vec<(Who, Result<Place<'a>, String>)>,
}

impl<'a> Places<'a> {
    pub(crate) fn prepare(ground: &'a Ground, run_by: &[Who]) -> Self {
        let prepare = |who| Place::prepare(ground, who).map_err(|error| one_line(&format!("{error:#}")));
        Self { all: run_by.iter().map(|who| (*who, prepare(*who))).collect() }
    }

    /// # Errors
    /// Why it cannot be had here.
    pub(crate) fn get(&self, who: Who) -> Result<&Place<'a>, String> {
        let found = self.all.iter().find(|(of, _)| *of == who).map(|(_, place)| place.as_ref());
        found.unwrap_or(Err(&String::new())).map_err(Clone::clone)
    }
}

impl<'a> Place<'a> {
    fn prepare(ground: &'a Ground, who: Who) -> Result<Self> {
        let how = match who {
            Who::Root if !geteuid().is_root() => bail!("the trial is not run by root"),
            Who::Root => How::Root,
            Who::User => How::User,
            Who::Container => How::Container(container::start(ground)?),
        };
        Ok(Self { ground, how })
    }

    /// A role that is to be started in `folder`. Its process is found by its command line, because a client of the engine
    /// may stand for it.
    ///
    /// # Errors
    /// When a program that is needed for it is not here.
    pub(crate) fn role(&self, role: &str, mode: Mode, folder: &Path, args: &[String]) -> Result<RoleCommand> {
        let mut settings = self.ground.settings();
        settings.extend(mode.setting().map(|mode| ("LIFECYCLE_CONTAINMENT__MODE", mode.to_owned())));
        let program = self.ground.program(role).display().to_string();
        let command = match &self.how {
            How::Container(name) => in_container(name, &settings, folder, &program)?,
            How::Root => {
                let runtime = self.ground.runtime();
                with(program_of("setsid")?, &settings).arg(program).env("XDG_RUNTIME_DIR", runtime)
            }
            How::User => as_user(&settings, &program)?,
        };
        Ok(command.args(args).in_folder(folder))
    }

    /// Why this mode cannot be had here, as the product says it.
    pub(crate) fn refusal(&self, mode: Mode) -> Result<Option<String>> {
        let folder = self.ground.folder("probe")?;
        let args = ["run", "--id", "probe", "--", "true"].map(str::to_owned);
        let mut probe = self.role("agent", mode, &folder, &args)?.spawn()?;
        if probe.wait(SOON)?.success() {
            return Ok(None);
        }
        let said = probe.stderr();
        Ok(Some(one_line(said.lines().last().unwrap_or("it did not say why"))))
    }
}

fn program_of(name: &str) -> Result<RoleCommand> {
    let path = on_path(name).with_context(|| format!("there is no {name} on PATH: install util-linux"))?;
    Ok(Role::program(name, &path))
}

fn with(command: RoleCommand, settings: &[(&'static str, String)]) -> RoleCommand {
    settings.iter().fold(command, |command, (name, value)| command.env(*name, value))
}

/// In a session of its own, so that its process group is not the trial's.
fn as_user(settings: &[(&'static str, String)], program: &str) -> Result<RoleCommand> {
    let bare = ["env", "-u", "XDG_RUNTIME_DIR", "setsid", program];
    if !geteuid().is_root() {
        return Ok(with(program_of("env")?, settings).args(&bare[1..]));
    }
    Ok(with(program_of("setpriv")?, settings).args(WITHOUT_RIGHTS).args(bare))
}

/// The engine starts it in a session of its own.
fn in_container(
    name: &str,
    settings: &[(&'static str, String)],
    folder: &Path,
    program: &str,
) -> Result<RoleCommand> {
    let mut command = program_of("docker")?.args(["exec", "--workdir"]).arg(folder);
    for (name, value) in settings {
        command = command.arg("--env").arg(format!("{name}={value}"));
    }
    Ok(command.args([name, program]))
}

pub(crate) fn one_line(text: &str) -> String {
    let text = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    text.trim().trim_start_matches("error: ").to_owned()
}
