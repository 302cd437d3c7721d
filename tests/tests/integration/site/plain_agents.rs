//! Agents on the plain protocol.

use super::Site;

/// How long their heartbeats last.
const LIFETIME_MS: i64 = 180_000;

impl Site {
    /// One that beat so long ago, by its own clock and by the server's. Of a beat as old as its lifetime only the
    /// timestamp tells.
    pub(crate) fn plain(&mut self, id: &str, beat_ago_ms: i64) {
        self.plain_with_clock(id, beat_ago_ms, 0);
    }

    /// One whose clock is off by this much.
    pub(crate) fn plain_with_clock(&mut self, id: &str, beat_ago_ms: i64, clock_off_ms: i64) {
        let written = self.now() - beat_ago_ms;
        let timestamp = written + clock_off_ms;
        let beat = format!(r#"{{"agentId":"{id}","timestamp":{timestamp},"pid":1,"state":"busy"}}"#);
        let (key, expires_at) = (format!("agent:heartbeat:{id}"), (written + LIFETIME_MS).to_string());
        let lifetime: &[&str] = if beat_ago_ms < LIFETIME_MS { &["PXAT", &expires_at] } else { &[] };
        self.redis(&[&["SET", &key, &beat], lifetime].concat());
        self.redis(&["SADD", "agents:active", id]);
    }
}
