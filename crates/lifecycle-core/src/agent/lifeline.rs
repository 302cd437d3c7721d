//! The line by which a coordinator tells its agent how to reach the store.
//!
//! The lifeline is the pipe that is a child's standard input. It begins with this one line and is silent from then on.
//! The environment and the arguments are no place for a secret: every process of the same user can read them, and the
//! agent's own command is such a process.

use serde::{Deserialize, Serialize};

use crate::settings::Redis;

/// Most bytes of the line, its end included. Every system's pipe buffers that much, so writing the line never blocks.
pub const MOST_BYTES: usize = 4096;

/// How to reach the store. Has no `Debug`, because it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// `redis.url`
    pub url: String,
    /// `redis.password`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
}

impl Handover {
    /// The part of the settings that is handed over.
    #[must_use]
    pub fn of(redis: &Redis) -> Self {
        Self { url: redis.url.clone(), password: redis.password.clone() }
    }

    /// The line that is written into the pipe, with its line end.
    ///
    /// # Errors
    /// A text for people when the line is over [`MOST_BYTES`]. The text does not repeat the secret.
    pub fn line(&self) -> Result<String, String> {
        let line = serde_json::to_string(self).map_err(|error| error.to_string())? + "\n";
        if line.len() > MOST_BYTES {
            return Err(format!(
                "redis.url and redis.password are too long to be passed on: {MOST_BYTES} bytes at most"
            ));
        }
        Ok(line)
    }

    /// Reads the line. `None` if no coordinator of ours wrote it. Nothing of its content is logged, since it may be
    /// secret.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_reads_back_and_is_one_line() {
        let with_password = Redis { password: Some("new\nline \"x\"".into()), ..Redis::default() };
        for redis in [Redis::default(), with_password] {
            let line = Handover::of(&redis).line().unwrap();
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
            assert!(Handover::parse(line.as_bytes()) == Some(Handover::of(&redis)));
        }
        assert!(Handover::parse(b"redis://127.0.0.1\n").is_none());
        let long = Redis { password: Some("x".repeat(MOST_BYTES)), ..Redis::default() };
        assert!(!Handover::of(&long).line().unwrap_err().contains("xxx"));
    }
}
