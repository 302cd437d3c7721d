//! What holds the processes of a life together, so that none outlives it: layers, each of which the host may or may not
//! allow.
//!
//! ```text
//!   namespace   a PID namespace: the kernel ends all of it with its first process, whoever kills whom
//!   cgroup      a cgroup v2: ended and counted as a whole, whatever its processes did to hide
//!   guard       a small process above the command that adopts its orphans, and ends them when its supervisor is gone
//! ```

use std::fmt;
use std::str::FromStr;

use crate::wire::word_enum::word_enum;

word_enum! {
    /// `containment.mode`: which layers are asked for.
    ContainmentMode, "containment mode" {
        /// All that the host allows.
        Auto = "auto",
        /// A cgroup and a guard; refused where the host has none that may be written.
        Cgroup = "cgroup",
        /// A PID namespace with a guard above it; refused where the host allows none.
        Namespace = "namespace",
        /// A guard alone.
        Guard = "guard",
        /// Nothing beside the supervisor itself.
        None = "none",
    }
}

impl ContainmentMode {
    /// Whether a PID namespace is to be tried.
    #[must_use]
    pub fn wants_namespace(self) -> bool {
        matches!(self, Self::Auto | Self::Namespace)
    }

    /// Whether a cgroup is to be tried.
    #[must_use]
    pub fn wants_cgroup(self) -> bool {
        matches!(self, Self::Auto | Self::Cgroup)
    }
}

/// The layers that hold the processes of a life. On the wire and for people: `namespace+cgroup+guard`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers {
    /// A PID namespace.
    pub namespace: bool,
    /// A cgroup v2 of its own.
    pub cgroup: bool,
    /// A guard.
    pub guard: bool,
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = [
            (self.namespace, ContainmentMode::Namespace),
            (self.cgroup, ContainmentMode::Cgroup),
            (self.guard, ContainmentMode::Guard),
        ]
        .into_iter()
        .filter_map(|(holds, layer)| holds.then_some(layer.as_str()))
        .collect();
        f.pad(&if words.is_empty() { ContainmentMode::None.as_str().to_owned() } else { words.join("+") })
    }
}

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut layers = Self::default();
        for word in text.split('+') {
            match word.parse()? {
                ContainmentMode::Namespace => layers.namespace = true,
                ContainmentMode::Cgroup => layers.cgroup = true,
                ContainmentMode::Guard => layers.guard = true,
                ContainmentMode::None => {}
                ContainmentMode::Auto => return Err("auto names no layer".into()),
            }
        }
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_written_as_they_are_read() {
        for (text, layers) in [
            ("none", Layers::default()),
            ("guard", Layers { guard: true, ..Layers::default() }),
            ("namespace+cgroup+guard", Layers { namespace: true, cgroup: true, guard: true }),
        ] {
            assert_eq!((layers.to_string().as_str(), text.parse()), (text, Ok(layers)));
        }
        assert!("auto".parse::<Layers>().is_err() && "guard+bars".parse::<Layers>().is_err());
    }
}
