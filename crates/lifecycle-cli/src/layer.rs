//! A layer: settings that come from one file, one environment variable, or one flag.
//!
//! figment stops at the first mistake, but a person wants to hear of all of them. So a layer is read again and again,
//! each time without the value that was wrong the time before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use lifecycle_core::settings::Settings;

use crate::mistake::{Mistake, Origin, explain};
use crate::toml_lines;

/// Values and where they came from.
pub(crate) struct Layer {
    place: Place,
    values: Dict,
}

enum Place {
    File {
        path: PathBuf,
        lines: BTreeMap<String, usize>,
    },
    /// A variable or a flag: one value, one name.
    Single {
        setting: String,
        origin: Origin,
    },
}

impl Layer {
    /// The settings in a TOML text.
    pub(crate) fn file(path: &Path, text: &str) -> Result<Self, Mistake> {
        let values = Toml::from_str(text).map_err(|error| Mistake::File {
            path: path.to_owned(),
            line: error.span().map(|span| toml_lines::at(text, span.start)),
            // Not the whole error: it quotes the line, which may hold the password.
            problem: format!("this is not TOML: {}", error.message().trim().replace('\n', ", ")),
        })?;
        Ok(Self { place: Place::File { path: path.to_owned(), lines: toml_lines::of_keys(text) }, values })
    }

    /// One setting from text without a type.
    ///
    /// Text is used as it is if the setting takes text: a password `007` keeps its zeros. Only for a setting of another
    /// type is it made a number or a flag.
    pub(crate) fn single(origin: Origin, setting: &str, text: &str) -> Self {
        let values = |value: Value| nested(setting, value);
        let place = Place::Single { setting: setting.to_owned(), origin };
        let mut layer = Self { place, values: values(text.into()) };
        let wants_another_type = layer.read().is_err_and(|error| matches!(error.kind, Kind::InvalidType(..)));
        if let Some(value) = typed(text)
            && wants_another_type
        {
            layer.values = values(value);
        }
        layer
    }

    /// Removes every value that is wrong by itself, and tells what is wrong, in the order of a file's lines.
    pub(crate) fn take_mistakes(&mut self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        while let Err(error) = self.read() {
            let setting = match &self.place {
                Place::File { .. } => error.path.join("."),
                Place::Single { setting, .. } => setting.clone(),
            };
            let origin = self.origin(&setting);
            let problem = explain(&error.kind, &setting, &origin);
            mistakes.push(Mistake::Setting { setting, origin, problem });
            if !remove(&mut self.values, &error.path) {
                break;
            }
        }
        mistakes.sort_by_key(|mistake| match mistake {
            Mistake::Setting { origin: Origin::File { line, .. }, .. } => *line,
            _ => None,
        });
        mistakes
    }

    /// Where this layer got `setting` from, if it has it.
    pub(crate) fn origin_of(&self, setting: &str) -> Option<Origin> {
        let (section, key) = setting.rsplit_once('.')?;
        let values = section.split('.').try_fold(&self.values, |values, name| values.get(name)?.as_dict())?;
        values.contains_key(key).then(|| self.origin(setting))
    }

    /// The names of all settings that this layer has.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut names = Vec::new();
        note(&self.values, "", &mut names);
        names
    }

    fn origin(&self, setting: &str) -> Origin {
        match &self.place {
            Place::File { path, lines } => {
                Origin::File { path: path.clone(), line: lines.get(setting).copied() }
            }
            Place::Single { origin, .. } => origin.clone(),
        }
    }

    fn read(&self) -> Result<Settings, Box<figment::Error>> {
        Figment::from(self).extract().map_err(Box::new)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.place {
            Place::File { path, .. } => Metadata::from("settings file", path.as_path()),
            Place::Single { origin, .. } => Metadata::named(origin.to_string()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// How deep settings lie, as in `redis.tls.ca`. A name with more dots is unknown, and must not cost time for each dot.
const LEVELS: usize = 3;

/// The value at a dotted name.
fn nested(setting: &str, value: Value) -> Dict {
    let mut names: Vec<&str> = setting.splitn(LEVELS, '.').collect();
    let last = names.pop().unwrap_or_default();
    let values = Dict::from([(last.to_owned(), value)]);
    names.iter().rev().fold(values, |values, name| Dict::from([((*name).to_owned(), values.into())]))
}

/// Collects the dotted names of all values; they are those of settings below the first level.
fn note(values: &Dict, section: &str, names: &mut Vec<String>) {
    for (key, value) in values {
        let name = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match value.as_dict() {
            Some(values) => note(values, &name, names),
            None if section.is_empty() => {}
            None => names.push(name),
        }
    }
}

/// Text as the number or flag that it looks like.
fn typed(text: &str) -> Option<Value> {
    let flag = || text.parse::<bool>().ok().map(Value::from);
    let natural = || text.parse::<u64>().ok().map(Value::from);
    let whole = || text.parse::<i64>().ok().map(Value::from);
    let real = || text.parse::<f64>().ok().map(Value::from);
    flag().or_else(natural).or_else(whole).or_else(real)
}

/// Removes the value at `path`, or the value on the way to it that is no section.
fn remove(values: &mut Dict, path: &[String]) -> bool {
    let [first, rest @ ..] = path else { return false };
    match values.get_mut(first) {
        Some(Value::Dict(_, section)) if !rest.is_empty() => remove(section, rest),
        _ => values.remove(first).is_some(),
    }
}
