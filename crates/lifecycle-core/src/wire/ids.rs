//! Validated names, and the incarnation that tells two lives of one name apart.
//!
//! A name goes into Redis keys, environment variables and file names, so one grammar serves all of
//! them: 1–128 of `[A-Za-z0-9._-]`, beginning with a letter or digit. Nothing in it can act as a glob,
//! a path or a key separator.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name, in bytes.
pub const MAX_NAME_LEN: usize = 128;

/// Why a name was refused. The text names the offending character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name has no characters.
    #[error("{kind} is empty: give 1 to {MAX_NAME_LEN} of A-Z a-z 0-9 . _ -")]
    Empty {
        /// What was being named, such as `agent id`.
        kind: &'static str,
    },
    /// The name is longer than [`MAX_NAME_LEN`].
    #[error("{kind} has {len} characters, at most {MAX_NAME_LEN} are allowed")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside the grammar, or a first character that is not a letter or digit.
    #[error(
        "{kind} {name:?} has {character:?} at position {position}: allowed are A-Z a-z 0-9 . _ - and the first must be a letter or digit"
    )]
    Character {
        /// What was being named.
        kind: &'static str,
        /// The refused name, cut to a printable length.
        name: String,
        /// The first offending character.
        character: char,
        /// Its position, counted in characters from 1.
        position: usize,
    },
    /// A dot in a name that is put together with others by dots.
    #[error(
        "{kind} {name:?} has '.' at position {position}: names in a plan hold no dot, because a dot separates the epic from the rest of an id"
    )]
    Dot {
        /// What was being named.
        kind: &'static str,
        /// The refused name, cut to a printable length.
        name: String,
        /// The position of the first dot, counted in characters from 1.
        position: usize,
    },
}

fn check(kind: &'static str, name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty { kind });
    }
    for (index, character) in name.chars().enumerate() {
        let allowed =
            character.is_ascii_alphanumeric() || (index > 0 && matches!(character, '.' | '_' | '-'));
        if !allowed {
            return Err(InvalidName::Character {
                kind,
                name: name.chars().take(40).collect(),
                character,
                position: index + 1,
            });
        }
    }
    if name.len() > MAX_NAME_LEN {
        return Err(InvalidName::TooLong { kind, len: name.len() });
    }
    Ok(())
}

/// As `check`, and refuses a dot: these names are joined with others by dots.
fn check_undotted(kind: &'static str, name: &str) -> Result<(), InvalidName> {
    check(kind, name)?;
    match name.find('.') {
        None => Ok(()),
        Some(dot) => Err(InvalidName::Dot { kind, name: name.chars().take(40).collect(), position: dot + 1 }),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Validates a name.
            ///
            /// # Errors
            /// [`InvalidName`] when the name is empty, too long, or has a character outside the grammar.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                $check($kind, &name)?;
                Ok(Self(name))
            }

            /// The name as text, as it stands in keys.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

name_type!(
    /// One agent, over all its lives. In the id of an epic's agent the part before the first dot is the epic.
    AgentId,
    "agent id",
    check
);
name_type!(
    /// One sprint, by the name it has in the whole store: `<epic>.<sprint>`.
    SprintId,
    "sprint id",
    check
);
name_type!(
    /// One epic: all that one plan does. Holds no dot.
    EpicId,
    "epic id",
    check_undotted
);
name_type!(
    /// One task of a sprint.
    TaskId,
    "task id",
    check
);
name_type!(
    /// What a plan calls one of its agents. Holds no dot.
    AgentName,
    "agent id",
    check_undotted
);
name_type!(
    /// What a plan calls one of its sprints. Holds no dot.
    SprintName,
    "sprint id",
    check_undotted
);

/// The name, within its epic, of the agent that runs the epic.
const COORDINATOR: &str = "coordinator";

impl EpicId {
    /// The id of one of its agents in the whole store: `<epic>.<name>`. The epic in front keeps agents of two epics
    /// apart, even if their plans use the same names.
    ///
    /// # Errors
    /// [`InvalidName::TooLong`] when epic, dot and name are over [`MAX_NAME_LEN`] together.
    pub fn agent(&self, name: &AgentName) -> Result<AgentId, InvalidName> {
        AgentId::new(format!("{self}.{name}"))
    }

    /// The id of one of its sprints in the whole store: `<epic>.<name>`.
    ///
    /// # Errors
    /// [`InvalidName::TooLong`] when epic, dot and name are over [`MAX_NAME_LEN`] together.
    pub fn sprint(&self, name: &SprintName) -> Result<SprintId, InvalidName> {
        SprintId::new(format!("{self}.{name}"))
    }

    /// The id of the epic's coordinator: `<epic>.coordinator`.
    ///
    /// # Errors
    /// [`InvalidName::TooLong`] when the epic's own name leaves no room for `.coordinator`.
    pub fn coordinator(&self) -> Result<AgentId, InvalidName> {
        AgentId::new(format!("{self}.{COORDINATOR}"))
    }

    /// The epic whose coordinator has this id, if it can be one's.
    #[must_use]
    pub fn of_coordinator(agent: &str) -> Option<Self> {
        Self::new(agent.strip_suffix(COORDINATOR)?.strip_suffix('.')?).ok()
    }
}

impl AgentName {
    /// Whether a plan may not use this name for an agent, because the epic's coordinator has it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str() == COORDINATOR
    }
}

impl AgentId {
    /// The epic that an id of this form belongs to: the part before the first dot.
    #[must_use]
    pub fn epic(&self) -> Option<EpicId> {
        EpicId::new(self.as_str().split_once('.')?.0).ok()
    }

    /// The id of a helper of this agent: `<id>.helper-<number>`, the number in hexadecimal. It begins with the epic of this
    /// agent. A long id is cut at its end to make room.
    ///
    /// # Errors
    /// [`InvalidName::TooLong`] when the epic alone leaves no room: without its dot the id would be of another epic.
    pub fn helper(&self, number: u32) -> Result<Self, InvalidName> {
        let ending = format!(".helper-{number:08x}");
        let kept = self.as_str().len().min(MAX_NAME_LEN - ending.len());
        let has_epic = self.as_str().find('.').is_none_or(|dot| dot <= kept);
        let (kept, _) = self.as_str().split_at(if has_epic { kept } else { self.as_str().len() });
        Self::new(format!("{kept}{ending}"))
    }
}

/// One life of an [`AgentId`]: a number that only grows, handed out by the server
/// (`max(TIME in µs, last + 1)`).
///
/// On the wire it is a decimal *string*: it has 16 digits, and JSON encoders that keep 14 significant
/// digits (the one inside Redis among them) would round it. Numbers are accepted on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Incarnation;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an incarnation: a whole number or its decimal text")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Incarnation, E> {
                Ok(Incarnation(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Incarnation, E> {
                u64::try_from(number).map(Incarnation).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Incarnation, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_act_as_globs_separators_or_paths_are_refused_naming_the_character() {
        for (id, character) in [
            ("a*", '*'),
            ("a?", '?'),
            ("[ab]", '['),
            ("x:y", ':'),
            ("a\nb", '\n'),
            (".a", '.'),
            ("-a", '-'),
            ("é", 'é'),
        ] {
            match AgentId::new(id) {
                Err(InvalidName::Character { character: found, .. }) => {
                    assert_eq!(found, character, "{id:?}")
                }
                other => panic!("{id:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_id_of_128_characters_is_accepted_and_one_of_129_is_refused() {
        assert!(AgentId::new("a".repeat(128)).is_ok());
        assert_eq!(AgentId::new("a".repeat(129)), Err(InvalidName::TooLong { kind: "agent id", len: 129 }));
        assert_eq!(AgentId::new(""), Err(InvalidName::Empty { kind: "agent id" }));
    }

    #[test]
    fn ids_of_a_plan_are_scoped_by_their_epic_and_names_in_it_hold_no_dot() {
        let epic = EpicId::new("checkout").unwrap();
        let coder = epic.agent(&AgentName::new("coder-1").unwrap()).unwrap();
        assert_eq!((coder.as_str(), coder.epic().as_ref()), ("checkout.coder-1", Some(&epic)));
        assert_eq!(epic.sprint(&SprintName::new("api").unwrap()).unwrap().as_str(), "checkout.api");
        assert_eq!(epic.coordinator().unwrap().as_str(), "checkout.coordinator");
        assert!(AgentName::new("coordinator").unwrap().is_reserved());
        assert_eq!(AgentId::new("coder").unwrap().epic(), None);
        let dotted = InvalidName::Dot { kind: "epic id", name: "a.b".into(), position: 2 };
        assert_eq!(EpicId::new("a.b"), Err(dotted));
        assert!(AgentName::new("a.b").is_err() && SprintName::new("a.b").is_err());
        let long = AgentName::new("a".repeat(120)).unwrap();
        assert!(matches!(epic.agent(&long), Err(InvalidName::TooLong { len: 129, .. })));
    }

    #[test]
    fn a_helpers_id_begins_with_its_parents_and_with_the_same_epic_however_long_that_is() {
        let helper = |id: &str| AgentId::new(id).unwrap().helper(0x2a);
        assert_eq!(helper("checkout.coder-1").unwrap().as_str(), "checkout.coder-1.helper-0000002a");
        assert_eq!(helper("coder-1").unwrap().as_str(), "coder-1.helper-0000002a");
        let long = helper(&format!("checkout.{}", "a".repeat(119))).unwrap();
        assert_eq!((long.as_str().len(), long.epic()), (128, EpicId::new("checkout").ok()));
        assert_eq!(helper(&"a".repeat(128)).unwrap().as_str().len(), 128);
        let epic = "e".repeat(111);
        let beside = helper(&format!("{epic}.coder")).unwrap();
        assert_eq!(beside.epic(), EpicId::new(&epic).ok());
        assert!(
            matches!(helper(&format!("{epic}e.coder")), Ok(id) if id.epic() == EpicId::new(epic.clone() + "e").ok())
        );
        assert!(matches!(helper(&format!("{epic}ee.coder")), Err(InvalidName::TooLong { .. })));
    }

    #[test]
    fn an_incarnation_is_written_as_text_and_read_from_text_or_number() {
        let incarnation = Incarnation(1_764_000_000_123_456);
        let text = serde_json::to_string(&incarnation).unwrap();
        assert_eq!(text, "\"1764000000123456\"");
        assert_eq!(serde_json::from_str::<Incarnation>(&text).unwrap(), incarnation);
        assert_eq!(serde_json::from_str::<Incarnation>("1764000000123456").unwrap(), incarnation);
        assert!(serde_json::from_str::<Incarnation>("-1").is_err());
    }
}
