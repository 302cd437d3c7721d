//! Durations and sizes as people write them: `30s`, `20m`, `2GiB`, `100MB`.
//!
//! A bare number is refused as a duration, because a reader could not tell seconds from milliseconds.

use std::time::Duration;

use bytesize::ByteSize;

/// What a duration looks like, to be told after "… is not".
pub const A_DURATION: &str = "a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h";

/// What a size looks like, to be told after "… is not".
pub const A_SIZE: &str = "a size: write a number with its unit, such as 512MiB, 2GiB or 100MB";

/// Parses a duration with its unit.
///
/// # Errors
/// One line that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is not {A_DURATION}"))
}

/// Parses a size in bytes: `2GiB` is 2·2³⁰, `100MB` is 100·10⁶.
///
/// # Errors
/// One line that says what a size looks like.
pub fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| format!("{text:?} is not {A_SIZE}"))
}

/// Serde for sizes as text such as `2GiB`.
///
/// bytesize's own serializer writes 100MB as `95.4 MiB`, which is another size, and its parse error speaks of a
/// "parsable string".
pub mod size {
    use std::fmt;

    use bytesize::ByteSize;
    use serde::{Deserializer, Serializer, de};

    /// Writes the size with the largest unit, decimal or binary, that leaves a whole number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&text(*value))
    }

    /// The size with the largest unit, decimal or binary, that leaves a whole number: `100MB`.
    #[must_use]
    pub fn text(value: ByteSize) -> String {
        const UNITS: [(u64, &str); 8] = [
            (1 << 40, "TiB"),
            (1_000_000_000_000, "TB"),
            (1 << 30, "GiB"),
            (1_000_000_000, "GB"),
            (1 << 20, "MiB"),
            (1_000_000, "MB"),
            (1 << 10, "KiB"),
            (1_000, "KB"),
        ];
        let bytes = value.as_u64();
        let exact = UNITS.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
        let (unit, name) = exact.copied().unwrap_or((1, "B"));
        format!("{}{name}", bytes / unit)
    }

    /// Reads the size from text, or from a number of bytes.
    ///
    /// # Errors
    /// Those of the deserializer, when the text is no size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(super::A_SIZE)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                super::parse_size(text).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size cannot be negative"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Holder(#[serde(with = "super::size")] ByteSize);

    #[test]
    fn a_size_is_written_as_people_write_it_and_reads_back() {
        for (bytes, text) in [(100_000_000, "100MB"), (2 << 30, "2GiB"), (1_500, "1500B"), (0, "0B")] {
            let written = serde_json::to_string(&Holder(ByteSize(bytes))).unwrap();
            assert_eq!(written, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Holder>(&written).unwrap().0.as_u64(), bytes);
        }
    }
}
