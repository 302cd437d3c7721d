//! Guesses which known name a misspelt one was meant to be.

use crate::wire::ids::MAX_NAME_LEN;

/// The known name nearest to `word`, if a person could have meant it. A word longer than every name is not compared: it
/// can be as long as a file, and comparing costs time in proportion.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_NAME_LEN {
        return None;
    }
    let letters = word.chars().count();
    // At least one letter must be right, or every name of one letter would be near every other.
    let limit = letters.div_ceil(3).min(letters.saturating_sub(1));
    known
        .into_iter()
        .filter(|name| name.len() <= MAX_NAME_LEN && name.chars().count().abs_diff(letters) <= limit)
        .map(|name| (strsim::levenshtein(word, name), name))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["schema", "login", "a"];
        assert_eq!(nearest("shema", known), Some("schema"));
        assert_eq!(nearest("logni", known), Some("login"));
        for far in ["banana", "b", "", "a very long name that is nothing like the others"] {
            assert_eq!(nearest(far, known), None, "{far:?}");
        }
    }

    #[test]
    fn a_letter_counts_once_however_many_bytes_it_takes() {
        assert_eq!(nearest("é", ["è"]), None, "no letter is right");
        assert_eq!(nearest("größe", ["grösse", "gross"]), Some("grösse"));
    }
}
