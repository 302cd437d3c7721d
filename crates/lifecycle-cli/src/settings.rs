//! Loading the settings: defaults < `lifecycle.toml` < environment < flags.
//!
//! The file is `lifecycle.toml` in the current folder if it is there, or exactly the one named with `--config`. Parent
//! folders are never searched. A variable is named after its setting, `LIFECYCLE_SWEEP__ORPHAN_THRESHOLD=120s`. Other
//! variables, which the product passes to the processes it starts (`LIFECYCLE_AGENT_ID`, …), have no `__` and are no
//! settings. A variable that is set to nothing counts as not set, because container tools write it so.
//!
//! Every mistake is reported, not only the first, and each tells where it was made; see [`SettingsError`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use figment::Figment;
use lifecycle_core::settings::{Contradiction, Settings};

use crate::layer::Layer;
use crate::logging;

pub use crate::mistake::VARIABLE_PREFIX;
use crate::mistake::VARIABLE_SEPARATOR;
pub use crate::mistake::{Mistake, Origin, SettingsError};

/// The settings file that is read from the current folder when no other is named.
pub const DEFAULT_FILE: &str = "lifecycle.toml";

/// Prefix of the test suite's variables, which are no settings whatever their names look like.
const TEST_PREFIX: &str = "LIFECYCLE_TEST_";

/// A setting given by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag, such as `--redis-url`, named when its value is wrong.
    pub flag: &'static str,
    /// The setting, such as `redis.url`.
    pub setting: &'static str,
    /// What the person wrote.
    pub value: String,
}

/// All that settings are read from. Nothing else is looked at, so a test can set all of it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`, which must exist.
    pub config: Option<PathBuf>,
    /// The folder in which [`DEFAULT_FILE`] is looked for when there is no `config`; it may be empty (`""`) for
    /// the current one.
    pub folder: PathBuf,
    /// The environment. Only variables of the form `LIFECYCLE_<section>__<setting>` are read.
    pub environment: Vec<(OsString, OsString)>,
    /// Defaults of a command where they are others than everybody's: setting and value.
    pub defaults: Vec<(&'static str, &'static str)>,
    /// The flags; of two for one setting the later wins.
    pub overrides: Vec<Override>,
}

impl Sources {
    /// The sources of a running process: its current folder and its environment.
    #[must_use]
    pub fn of_process(config: Option<PathBuf>) -> Self {
        Self {
            config,
            folder: PathBuf::new(),
            environment: std::env::vars_os().collect(),
            defaults: Vec::new(),
            overrides: Vec::new(),
        }
    }

    /// Adds a flag, if it was given.
    #[must_use]
    pub fn with_flag(
        mut self,
        flag: &'static str,
        setting: &'static str,
        value: Option<impl ToString>,
    ) -> Self {
        self.overrides.extend(value.map(|value| Override { flag, setting, value: value.to_string() }));
        self
    }

    /// Gives a setting another default for this command.
    #[must_use]
    pub fn with_default(mut self, setting: &'static str, value: &'static str) -> Self {
        self.defaults.push((setting, value));
        self
    }

    /// Reads all sources and checks what comes out.
    ///
    /// # Errors
    /// All mistakes at once: unknown names, values of a wrong form, files that cannot be read. Values are compared with
    /// each other only if there is none of these, because a contradiction with a missing value would be a guess.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        self.load_checked(|_| Vec::new())
    }

    /// Like [`Sources::load`], with a check of the caller's own (of the store's URL, say), whose findings are
    /// reported together with the others, with the source of each.
    ///
    /// # Errors
    /// As for [`Sources::load`].
    pub fn load_checked(
        &self,
        check: impl FnOnce(&Settings) -> Vec<Contradiction>,
    ) -> Result<Settings, SettingsError> {
        let mut mistakes = Vec::new();
        let mut layers = Vec::new();
        for layer in self.layers() {
            match layer {
                Ok(mut layer) => {
                    mistakes.extend(layer.take_mistakes());
                    layers.push(layer);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(SettingsError { mistakes });
        }

        let merged = layers.iter().fold(Figment::new(), |merged, layer| merged.merge(layer));
        let settings: Settings = merged.extract().map_err(|error| SettingsError {
            mistakes: error.into_iter().map(|error| unexpected(&error, &layers)).collect(),
        })?;

        let mut found = settings.contradictions();
        if let Err(problem) = logging::targets(&settings.log.level) {
            found.push(Contradiction { setting: "log.level", problem });
        }
        found.extend(check(&settings));
        if found.is_empty() {
            return Ok(settings);
        }
        Err(SettingsError { mistakes: found.into_iter().map(|found| located(found, &layers)).collect() })
    }

    /// The layers, weakest first.
    fn layers(&self) -> impl Iterator<Item = Result<Layer, Mistake>> {
        let variables = self.environment.iter().filter_map(|(name, value)| variable(name, value));
        let single = |origin, setting: &str, value: &str| Ok(Layer::single(origin, setting, value));
        let defaults =
            self.defaults.iter().map(move |(setting, value)| single(Origin::Default, setting, value));
        let flags = self
            .overrides
            .iter()
            .map(move |given| single(Origin::Flag(given.flag), given.setting, &given.value));
        defaults.chain(self.file()).chain(variables).chain(flags)
    }

    fn file(&self) -> Option<Result<Layer, Mistake>> {
        // Joined only for reading: messages name the file as the person wrote it.
        let (path, place) = match &self.config {
            Some(path) => (path.as_path(), path.clone()),
            None => (Path::new(DEFAULT_FILE), self.folder.join(DEFAULT_FILE)),
        };
        let text = match std::fs::read_to_string(place) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.config.is_none() => return None,
            Err(error) => {
                return Some(Err(Mistake::File {
                    path: path.to_owned(),
                    line: None,
                    problem: unreadable(&error),
                }));
            }
        };
        Some(Layer::file(path, &text))
    }
}

/// The layer of one environment variable, if it is one of ours and set to something.
fn variable(name: &OsStr, value: &OsStr) -> Option<Result<Layer, Mistake>> {
    let name = name.to_str()?;
    if name.starts_with(TEST_PREFIX) || value.is_empty() {
        return None;
    }
    let name_of_ours = name.strip_prefix(VARIABLE_PREFIX)?;
    if !name_of_ours.contains(VARIABLE_SEPARATOR) {
        return None;
    }
    let setting = name_of_ours.to_lowercase().replace(VARIABLE_SEPARATOR, ".");
    let origin = Origin::Variable(name.to_owned());
    Some(match value.to_str() {
        Some(text) => Ok(Layer::single(origin, &setting, text)),
        None => Err(Mistake::Setting { setting, origin, problem: "the value is not UTF-8 text".into() }),
    })
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: create it or leave --config out".into(),
        io::ErrorKind::InvalidData => "this is not UTF-8 text, so it is no settings file".into(),
        _ => format!("this settings file cannot be read: {error}"),
    }
}

/// A contradiction, with the source of the setting at fault and of those it is compared with.
fn located(found: Contradiction, layers: &[Layer]) -> Mistake {
    let mut others: Vec<String> = layers.iter().flat_map(Layer::settings).collect();
    others.sort();
    others.dedup();
    let others: Vec<String> = others
        .into_iter()
        .filter(|other| other != found.setting && found.problem.contains(other.as_str()))
        .map(|other| format!("{other} is {}", origin(&other, layers)))
        .collect();
    let problem = match others.as_slice() {
        [] => found.problem,
        others => format!("{} ({})", found.problem, others.join(", ")),
    };
    Mistake::Setting { setting: found.setting.to_owned(), origin: origin(found.setting, layers), problem }
}

/// Layers that are right one by one give right settings together, so this should not happen.
fn unexpected(error: &figment::Error, layers: &[Layer]) -> Mistake {
    let setting = error.path.join(".");
    let origin = origin(&setting, layers);
    Mistake::Setting { setting, origin, problem: error.kind.to_string() }
}

/// Where the value in force came from.
fn origin(setting: &str, layers: &[Layer]) -> Origin {
    layers.iter().rev().find_map(|layer| layer.origin_of(setting)).unwrap_or(Origin::Default)
}

#[cfg(test)]
mod tests;
