//! The server's clock, and what is dated back or ahead instead of waiting.

use super::Fleet;

/// Longer than any threshold in these tests.
pub(crate) const LONG_AGO_MS: i64 = 700_000;

impl Fleet {
    pub(crate) fn now(&mut self) -> i64 {
        self.client.now_ms().unwrap()
    }

    /// What the clock showed so long ago, as it is written into records.
    pub(crate) fn ago(&mut self, ms: i64) -> String {
        (self.now() - ms).to_string()
    }

    /// What the clock will show then.
    pub(crate) fn ahead(&mut self, ms: i64) -> String {
        self.ago(-ms)
    }

    /// Makes a lease have ended long ago.
    pub(crate) fn expire(&mut self, id: &str) {
        self.lease_ends_in(id, -LONG_AGO_MS);
    }

    pub(crate) fn lease_ends_in(&mut self, id: &str, ms: i64) {
        let end = self.ahead(ms);
        self.redis(&["ZADD", "agents:leases", "XX", &end, id]);
    }

    pub(crate) fn lease_left_ms(&mut self, id: &str) -> i64 {
        let end = self.client.text(&["ZSCORE", "agents:leases", id]).unwrap().unwrap();
        end.parse::<i64>().unwrap() - self.now()
    }

    /// As if the last pass had been made long ago.
    pub(crate) fn last_pass_was_long_ago(&mut self) {
        let then = self.ago(LONG_AGO_MS);
        self.redis(&["HSET", "sweep:watermark", "at", &then, "good", &then]);
    }
}
