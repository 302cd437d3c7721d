//! How the command is started: arguments, environment, output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, PipeReader, PipeWriter};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use agent_sdk::process::{TOKEN_VARIABLE, token};
use agent_sdk::{Agent, Assignment};
use lifecycle_cli::settings::VARIABLE_PREFIX;
use lifecycle_core::sprint::plan::{Substitutes, substitute};
use lifecycle_core::wire::ids::TaskId;
use tokio::process::Command;

use crate::child::Child;
use crate::containment;
use crate::guard::Start;
use crate::results::ResultFiles;
use crate::task_log::TaskLog;

/// Longest value of a variable that Linux passes on, with room for its name: MAX_ARG_STRLEN is 128 KiB.
const LONGEST_VARIABLE: usize = 128 * 1024 - 64;

/// Why a command could not be started. Nothing ran.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program:?}: {error}")]
pub(crate) struct StartError {
    program: String,
    error: std::io::Error,
}

impl StartError {
    pub(crate) fn new(program: &str, error: std::io::Error) -> Self {
        Self { program: program.into(), error }
    }

    /// The exit code as in shells: 127 not found, 126 not executable.
    pub(crate) fn code(&self) -> u8 {
        if self.error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
    }
}

/// The command's ends of pipes to this process.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) input: PipeReader,
    /// Our own standard output if there is none.
    pub(crate) output: Option<PipeWriter>,
}

/// A command with its task put in. It never goes through a shell.
#[derive(Debug)]
pub(crate) struct CommandLine {
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
    inherits_input: bool,
    /// What it gets instead of our standard input and output. Taken at its start: nobody else may hold them open, or no end of
    /// these pipes would be noticed.
    ends: Mutex<Option<Ends>>,
    /// Whether it has its own process group. At a terminal it stays in ours, or it could not read from the terminal.
    own_group: bool,
}

impl CommandLine {
    pub(crate) fn once(words: &[String], agent: &Agent, input_is_taken: bool) -> Self {
        Self {
            words: words.to_vec(),
            environment: identity(agent),
            inherits_input: !input_is_taken,
            ends: Mutex::default(),
            own_group: input_is_taken || !std::io::stdin().is_terminal(),
        }
    }

    /// The command for a task, with the results of those that it needed.
    pub(crate) fn for_task(
        words: &[String],
        agent: &Agent,
        task: &Assignment,
        results: &BTreeMap<TaskId, String>,
        files: Option<&ResultFiles>,
    ) -> Self {
        let with = Substitutes { task: &task.task, input: &task.input, results };
        let mut environment = identity(agent);
        environment.extend([
            ("LIFECYCLE_TASK_ID", task.task.to_string()),
            ("LIFECYCLE_TASK_ATTEMPT", task.run.to_string()),
        ]);
        // With the results in it, it may be longer than the kernel allows (MAX_ARG_STRLEN). The command may not need it there.
        let input = with.filled_input();
        if input.len() <= LONGEST_VARIABLE {
            environment.push(("LIFECYCLE_TASK_INPUT", input));
        } else {
            tracing::warn!(task = %task.task, "its input is too long for the environment: LIFECYCLE_TASK_INPUT is not set");
        }
        environment.extend(files.iter().flat_map(|files| files.environment()));
        Self {
            words: words.iter().map(|word| substitute(word, &with)).collect(),
            environment,
            inherits_input: false,
            ends: Mutex::default(),
            own_group: true,
        }
    }

    /// A command to which this process speaks. It can be started once.
    pub(crate) fn between(words: &[String], agent: &Agent, ends: Ends) -> Self {
        Self {
            words: words.to_vec(),
            environment: identity(agent),
            inherits_input: false,
            ends: Mutex::new(Some(ends)),
            own_group: true,
        }
    }

    /// Starts it, by the guard if there is one.
    pub(crate) async fn start(&self, log: Option<&TaskLog>) -> Result<Child, StartError> {
        let program = self.words.first().cloned().unwrap_or_default();
        containment::start(self, log).await.map_err(|error| StartError { program, error })
    }

    /// As a guard starts it.
    pub(crate) fn held(&self, log: Option<&TaskLog>) -> io::Result<Start> {
        let (input, output) = self.take_ends();
        let input = match input {
            Some(input) => input.into(),
            None if self.inherits_input => io::stdin().as_fd().try_clone_to_owned()?,
            None => null()?,
        };
        let (output, errors) = match (log, output) {
            (Some(log), _) => log.outputs()?,
            (None, Some(output)) => (output.into(), io::stderr().as_fd().try_clone_to_owned()?),
            (None, None) => {
                (io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?)
            }
        };
        let own = self.environment.iter().map(|(name, value)| ((*name).into(), value.into()));
        Ok(Start {
            words: self.words.iter().map(OsString::from).collect(),
            environment: std::env::vars_os().filter(|(name, _)| !is_ours(name)).chain(own).collect(),
            own_group: self.own_group,
            files: vec![input, output, errors],
        })
    }

    /// As this process starts it.
    pub(crate) fn direct(&self, log: Option<&TaskLog>) -> io::Result<tokio::process::Child> {
        let mut command = Command::new(self.words.first().map_or("", String::as_str));
        for name in std::env::vars_os().map(|(name, _)| name).filter(is_ours) {
            command.env_remove(name);
        }
        command
            .args(self.words.iter().skip(1))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (input, output) = self.take_ends();
        command.stdin(match input {
            Some(input) => input.into(),
            None if self.inherits_input => Stdio::inherit(),
            None => Stdio::null(),
        });
        if let Some(output) = output {
            command.stdout(output);
        }
        if let Some(log) = log {
            let (out, err) = log.outputs()?;
            command.stdout(out).stderr(err);
        }
        if self.own_group {
            command.process_group(0);
        }
        command.kill_on_drop(true).spawn()
    }

    fn take_ends(&self) -> (Option<PipeReader>, Option<PipeWriter>) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        ends.map_or((None, None), |ends| (Some(ends.input), ends.output))
    }

    /// Whether a terminal's Ctrl-C reaches the command directly.
    pub(crate) fn shares_group(&self) -> bool {
        !self.own_group
    }
}

/// The command gets its identity, and none of our settings: they are not meant for it, and some are secret.
fn is_ours(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes())
}

fn null() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).open("/dev/null")?.into())
}

fn identity(agent: &Agent) -> Vec<(&'static str, String)> {
    let life = agent.life();
    vec![
        ("LIFECYCLE_AGENT_ID", life.id.to_string()),
        ("LIFECYCLE_INCARNATION", life.incarnation.to_string()),
        (TOKEN_VARIABLE, token(life.id.as_str(), life.incarnation)),
    ]
}
