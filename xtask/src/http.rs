//! What a task asks of servers on this machine.

use std::time::Duration;

use anyhow::Result;

const PATIENCE: Duration = Duration::from_secs(10);

/// Status and body.
///
/// # Errors
/// As [`lifecycle_tests::http::get`].
pub(crate) fn get(address: &str, path: &str) -> Result<(u16, String)> {
    lifecycle_tests::http::get(address, path, PATIENCE)
}

/// A text as a part of a query: `a="b"` is `a%3D%22b%22`.
pub(crate) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;

    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_means_something_in_an_address_is_escaped() {
        assert_eq!(super::escaped("a{b=\"ü +&\"}"), "a%7Bb%3D%22%C3%BC%20%2B%26%22%7D");
    }
}
