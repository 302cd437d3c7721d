//! How times, leases and log entries are shown to people.

use std::time::{Duration, UNIX_EPOCH};

use lifecycle_cli::output::age;
use lifecycle_core::agent::liveness::{Standing, SweeperAbsence, sweeper_absence};
use lifecycle_core::settings::Settings;
use lifecycle_core::sweep::observation::IndexReading;
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::sweep_records::Hold;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::LogEntry;

/// How many of the latest log entries are searched for those of one agent.
pub(crate) const LOG_DEPTH: u64 = 2_000;

/// The first instant of the year 10000 in ms: from there on there is no date to show.
const END_OF_DATES: u64 = 253_402_300_800_000;

/// An instant, from ms since 1970: `2025-11-24T16:00:00.000Z`. Numbers of other writers may be anything.
pub(crate) fn instant(ms: u64) -> String {
    if ms >= END_OF_DATES {
        return ms.to_string();
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// The time of day of an instant, in UTC: `16:00:00`.
pub(crate) fn time_of_day(ms: u64) -> String {
    let instant = instant(ms);
    instant.get(11..19).map_or(instant.clone(), str::to_owned)
}

/// How much is left of a lease: `in 1m 27s`, `over by 12s`, `ended: process_exited`, `none`.
pub(crate) fn lease(standing: Standing<'_>, now: ServerTime) -> String {
    match standing {
        Standing::Alive { until } => format!("in {}", age(now.ms_until(until))),
        Standing::Over { since } => format!("over by {}", age(now.ms_since(since))),
        Standing::Ended(why) => format!("ended: {why}"),
        Standing::Silent => "none".into(),
    }
}

/// When a log entry was written.
pub(crate) fn written_at(entry: &LogEntry) -> ServerTime {
    let ms = entry.id.split('-').next().and_then(|ms| ms.parse().ok());
    ms.map(ServerTime::from_store_ms).unwrap_or_default()
}

/// Whether a log entry is about this agent.
pub(crate) fn is_about(entry: &LogEntry, id: &str) -> bool {
    entry.fields.get("agentId").is_some_and(|agent| agent == id)
}

/// What a log entry tells of; `None` for a word of another version.
pub(crate) fn kind_of(entry: &LogEntry) -> Option<AuditKind> {
    entry.fields.get("type").and_then(|kind| kind.parse().ok())
}

/// What became of an agent: `it was cleaned up 3m ago by sweeper-1 (stale_heartbeat)`.
pub(crate) fn farewell(entry: &LogEntry, now: ServerTime) -> String {
    let field = |name: &str| entry.fields.get(name).map(String::as_str).unwrap_or_default();
    let ago = age(now.ms_since(written_at(entry)));
    match kind_of(entry) {
        Some(AuditKind::Release) => format!("it left by itself {ago} ago ({})", field("reason")),
        _ => format!("it was cleaned up {ago} ago by {} ({})", field("by"), field("reason")),
    }
}

/// What an operator should know of the sweepers before reading on; empty when all is well.
pub(crate) fn warnings(seen: &IndexReading, settings: &Settings) -> Vec<String> {
    hold(seen).into_iter().chain(absence(seen, settings)).collect()
}

fn hold(seen: &IndexReading) -> Option<String> {
    let held = held(seen)?;
    let since = age(seen.now.ms_since(held.since));
    Some(format!("reaping is held since {since}: {}; `lifecyclectl hold release` lets it go on", held.reason))
}

/// The hold in force. A hold that an operator released does not count.
pub(crate) fn held(seen: &IndexReading) -> Option<&Hold> {
    seen.hold.as_ref().filter(|hold| !hold.is_released(seen.now))
}

/// Tells in words that no sweeper is at work; `None` while one is.
pub(crate) fn absence(seen: &IndexReading, settings: &Settings) -> Option<String> {
    Some(match sweeper_absence(seen.watermark.as_ref(), seen.now, settings.sweep.interval)? {
        SweeperAbsence::Never => {
            "no sweeper ever made a pass here, so nobody cleans up: start `sweeper run`".into()
        }
        SweeperAbsence::Left { ago, by } => {
            format!("no sweeper is at work: the last one, {by}, left {} ago; start `sweeper run`", age(ago))
        }
        SweeperAbsence::Silent { ago, by } => {
            format!("no sweeper is at work: the last pass was {} ago, by {by}; start `sweeper run`", age(ago))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_a_date_and_an_absurd_one_stays_a_number() {
        assert_eq!(instant(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
        assert_eq!(instant(END_OF_DATES - 1), "9999-12-31T23:59:59.999Z");
        assert_eq!(instant(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn a_released_hold_holds_nobody() {
        let at = ServerTime::from_store_ms;
        let hold = |released_until: Option<u64>| Hold {
            since: at(1),
            reason: "why".into(),
            released_until: released_until.map(at),
            ..Hold::default()
        };
        let seen = |hold| IndexReading { now: at(10), hold: Some(hold), ..IndexReading::default() };
        assert!(held(&seen(hold(None))).is_some());
        assert!(held(&seen(hold(Some(11)))).is_none());
        assert!(held(&seen(hold(Some(10)))).is_some());
    }
}
