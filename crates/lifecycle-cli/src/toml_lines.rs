//! Finds the line of a TOML text on which each key stands.
//!
//! figment does not keep the places of values, so the text is read a second time for its keys alone.

use std::collections::BTreeMap;

use toml_edit::{ImDocument, Key, TableLike};

/// The line of each key, by its dotted path (`sweep.interval`, `sweep`), counted from 1.
///
/// Empty for a text that is not TOML; the parser of its values reports that.
pub(crate) fn of_keys(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    if let Ok(document) = ImDocument::parse(text) {
        note(document.as_table(), "", text, &mut lines);
    }
    lines
}

/// The line on which the byte at `offset` stands, counted from 1.
pub(crate) fn at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Notes the keys of the table at `parent`, and those below it.
fn note(table: &dyn TableLike, parent: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, item) in table.iter() {
        let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
        if let Some(place) = table.key(key).and_then(Key::span) {
            lines.insert(path.clone(), at(text, place.start));
        }
        if let Some(inner) = item.as_table_like() {
            note(inner, &path, text, lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_key_has_its_line() {
        let text = "# comment\nmemory.ttl = \"1h\"\n\n[sweep]\ngrace = \"\"\"\nlong\n\"\"\"\nbatch = 1\nlist = [1,\n2]\n\
                    wire = { format = \"json\", on = true }\nday = 2026-01-01\n[redis.tls]\nca = \"x\"\n";
        let lines = of_keys(text);
        for (path, line) in [
            ("memory.ttl", 2),
            ("sweep", 4),
            ("sweep.grace", 5),
            ("sweep.batch", 8),
            ("sweep.list", 9),
            ("sweep.wire.format", 11),
            ("sweep.wire.on", 11),
            ("sweep.day", 12),
            ("redis", 13),
            ("redis.tls", 13),
            ("redis.tls.ca", 14),
        ] {
            assert_eq!(lines.get(path), Some(&line), "{path} in {lines:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_has_no_lines() {
        assert_eq!(of_keys("[sweep\n"), BTreeMap::new());
    }
}
