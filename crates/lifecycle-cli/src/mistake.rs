//! Describes what is wrong with the settings: one line per mistake, all of them at once.

use std::fmt;
use std::path::PathBuf;

use figment::error::{Actual, Kind};
use lifecycle_core::settings::Settings;
use lifecycle_core::text::{spelling, units};

use crate::output::printable;

/// Prefix of the environment variables of the product.
pub const VARIABLE_PREFIX: &str = "LIFECYCLE_";
/// What stands between section and setting in a variable's name.
pub(crate) const VARIABLE_SEPARATOR: &str = "__";
/// The one setting whose value is never shown.
const SECRET: &str = "redis.password";

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The setting was not set anywhere.
    Default,
    /// A settings file, with the line counted from 1 where it is known.
    File {
        /// The file as it was named by the person, or `lifecycle.toml`.
        path: PathBuf,
        /// The line of the key.
        line: Option<usize>,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A command-line flag, such as `--redis-url`.
    Flag(&'static str),
}

impl Origin {
    /// How this place spells a setting: `LIFECYCLE_SWEEP__INTERVAL` in the environment, else `sweep.interval`.
    fn spell(&self, section: &str, key: Option<&str>) -> String {
        match (self, key) {
            (Self::Variable(_), Some(key)) => {
                let name = format!("{section}.{key}").to_uppercase().replace('.', VARIABLE_SEPARATOR);
                format!("{VARIABLE_PREFIX}{name}")
            }
            (_, Some(key)) => format!("{section}.{key}"),
            (_, None) => section.to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => write!(f, "from {}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "from {}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "from {name}"),
            Self::Flag(name) => write!(f, "from {name}"),
        }
    }
}

/// One thing that is wrong with the settings. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// A setting that does not exist, has a value it cannot have, or contradicts another.
    Setting {
        /// Its name, such as `sweep.interval`.
        setting: String,
        /// Where the value came from.
        origin: Origin,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A settings file that cannot be read at all.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the first error, counted from 1, where the text is not TOML.
        line: Option<usize>,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Setting { setting, origin, problem } => format!("{setting} ({origin}): {problem}"),
            Self::File { path, line: None, problem } => format!("{}: {problem}", path.display()),
            Self::File { path, line: Some(line), problem } => {
                format!("{}, line {line}: {problem}", path.display())
            }
        };
        f.write_str(&printable(&text))
    }
}

/// All mistakes in the settings; nothing was started. Displays as one line per mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// At least one, in the order file, environment, flags.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Says what figment found wrong with `setting`, and what would be right.
pub(crate) fn explain(kind: &Kind, setting: &str, origin: &Origin) -> String {
    if let Kind::UnknownField(_, known) = kind {
        return unknown(setting, origin, known);
    }
    let wrong = match kind {
        // Whatever the value is, it may be the secret in the wrong form.
        _ if setting == SECRET => return "this is not text: put the password in quotes".into(),
        // A line such as `redis = "redis://:secret@host"`: the value belongs to a setting that cannot be told, and may
        // be a secret.
        Kind::InvalidType(_, expected) if expected.starts_with("struct ") => {
            "this is not a section of settings".into()
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("{} is not {}", shown(actual), friendly(expected))
        }
        Kind::UnknownVariant(value, known) => format!("{value:?} is not known: use {}", known.join(" or ")),
        Kind::Message(message) if message == "invalid socket address syntax" => {
            "this is not an address with its port".into()
        }
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    };
    match default_of(setting) {
        Some(default) => format!("{wrong}; the default is {default}"),
        None => wrong,
    }
}

/// Says that a section or a setting does not exist, and which one was probably meant.
fn unknown(setting: &str, origin: &Origin, known: &[&'static str]) -> String {
    let (section, key) =
        setting.rsplit_once('.').map_or((setting, None), |(section, key)| (section, Some(key)));
    // serde lists the sections when the section is unknown, and the section's settings when the setting is.
    let section_is_known = default_value(section).is_some();
    let (what, suggestion) = match key {
        Some(key) if section_is_known => (
            format!("there is no setting {key:?} in {section}"),
            spelling::nearest(key, known.iter().copied()).map(|meant| origin.spell(section, Some(meant))),
        ),
        _ => (
            format!("there is no section {section:?}"),
            spelling::nearest(section, known.iter().copied()).map(|meant| origin.spell(meant, key)),
        ),
    };
    match suggestion {
        Some(meant) => format!("{what}; did you mean {meant}?"),
        None => format!("{what}; known are {}", known.join(", ")),
    }
}

/// A value as people write it.
fn shown(actual: &Actual) -> String {
    match actual {
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Bool(flag) => flag.to_string(),
        Actual::Str(text) => format!("{text:?}"),
        Actual::Map => "a section".into(),
        Actual::Seq => "a list".into(),
        other => other.to_string(),
    }
}

/// What serde expected, without terms of the programming language.
fn friendly(expected: &str) -> &str {
    match expected {
        "u32" | "u64" => "a whole number, 0 or more",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a duration" => units::A_DURATION,
        "a string" | "path string" => "text in quotes",
        "socket address" => "an address with its port",
        other => other,
    }
}

/// The setting's default as it would be written, if it has one.
fn default_of(setting: &str) -> Option<String> {
    let value = default_value(setting)?;
    (!value.is_null() && !value.is_object()).then(|| value.to_string())
}

/// The defaults of a section, or of a setting.
fn default_value(name: &str) -> Option<serde_json::Value> {
    let defaults = serde_json::to_value(Settings::default()).ok()?;
    defaults.pointer(&format!("/{}", name.replace('.', "/"))).cloned()
}
