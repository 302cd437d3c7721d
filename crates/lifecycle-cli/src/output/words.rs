//! Numbers in words: how many, how long, how large.

use bytesize::ByteSize;

/// A number of things: `1 agent`, `2 agents`. For nouns whose plural takes an s.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// How long something lasted or is ago, from milliseconds, in its two largest units: `420ms`, `12s`, `3m 20s`, `2h 5m`, `4d`.
#[must_use]
pub fn age(ms: u64) -> String {
    const SECOND: u64 = 1000;
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    if ms < SECOND {
        return format!("{ms}ms");
    }
    let mut rest = ms / SECOND;
    let start = UNITS.iter().position(|(length, _)| rest >= *length).unwrap_or(UNITS.len() - 1);
    let parts: Vec<String> = UNITS[start..]
        .iter()
        .take(2)
        .filter_map(|(length, unit)| {
            let count = rest / length;
            rest %= length;
            (count > 0).then(|| format!("{count}{unit}"))
        })
        .collect();
    parts.join(" ")
}

/// A size in bytes with a binary unit and one decimal: `512 B`, `1.2 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular_and_any_other_number_plural() {
        assert_eq!([0, 1, 2].map(|number| count(number, "key")), ["0 keys", "1 key", "2 keys"]);
    }

    #[test]
    fn ages_are_shown_in_their_two_largest_units() {
        for (ms, text) in [
            (0, "0ms"),
            (420, "420ms"),
            (12_900, "12s"),
            (200_000, "3m 20s"),
            (60_000, "1m"),
            (7_530_000, "2h 5m"),
            (4 * 86_400_000, "4d"),
            (49 * 86_400_000 + 3_600_000, "49d 1h"),
        ] {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        for (bytes, text) in [(0, "0 B"), (512, "512 B"), (1_288_490_189, "1.2 GiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
