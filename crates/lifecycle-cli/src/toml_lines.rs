//! On which line of a TOML text each key stands.
//!
//! figment keeps values without their places, so the text is read a second time for its keys alone.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

/// The line of each key, by its dotted path (`sweep.interval`, `sweep`), counted from 1.
///
/// Empty for a text that is not TOML: whoever parses it for its values reports that.
pub(crate) fn of_keys(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    let keys = Keys { text, path: String::new(), lines: &mut lines };
    // A failure only costs line numbers, never a value: a date ends the walk, for it poses as a table, but no
    // setting is one.
    let _ = keys.deserialize(toml::Deserializer::new(text));
    lines
}

/// The line on which the byte at `offset` stands, counted from 1.
pub(crate) fn at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Walks a table and notes its keys.
struct Keys<'a> {
    text: &'a str,
    path: String,
    lines: &'a mut BTreeMap<String, usize>,
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any TOML value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let path = match self.path.as_str() {
                "" => key.get_ref().clone(),
                parent => format!("{parent}.{}", key.get_ref()),
            };
            self.lines.insert(path.clone(), at(self.text, key.span().start));
            map.next_value_seed(Keys { text: self.text, path, lines: &mut *self.lines })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_key_has_its_line() {
        let text = "# comment\nmemory.ttl = \"1h\"\n\n[sweep]\ngrace = \"\"\"\nlong\n\"\"\"\nbatch = 1\nlist = [1,\n2]\n\
                    wire = { format = \"json\", on = true }\n";
        let lines = of_keys(text);
        for (path, line) in [
            ("memory.ttl", 2),
            ("sweep", 4),
            ("sweep.grace", 5),
            ("sweep.batch", 8),
            ("sweep.list", 9),
            ("sweep.wire.format", 11),
            ("sweep.wire.on", 11),
        ] {
            assert_eq!(lines.get(path), Some(&line), "{path} in {lines:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_has_no_lines() {
        assert_eq!(of_keys("[sweep\n"), BTreeMap::new());
    }
}
