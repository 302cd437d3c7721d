//! Which known name a misspelt one was probably meant to be.

use crate::wire::ids::MAX_NAME_LEN;

/// The known name nearest to `word`, if it is near enough that a person could have meant it.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_NAME_LEN {
        return None;
    }
    let word: Vec<char> = word.chars().collect();
    // At least one letter must be right, or every name of one letter would be near every other.
    let limit = word.len().div_ceil(3).min(word.len().saturating_sub(1));
    known
        .into_iter()
        .filter(|name| name.len() <= MAX_NAME_LEN)
        .filter_map(|name| distance(&word, name, limit).map(|distance| (distance, name)))
        .min()
        .map(|(_, name)| name)
}

/// Letters to insert, delete or replace to come from `word` to `name`; nothing when over `limit`.
fn distance(word: &[char], name: &str, limit: usize) -> Option<usize> {
    let name: Vec<char> = name.chars().collect();
    if word.len().abs_diff(name.len()) > limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (i, letter) in word.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in name.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
        if row.iter().all(|edits| *edits > limit) {
            return None;
        }
    }
    row.last().copied().filter(|edits| *edits <= limit)
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
}
