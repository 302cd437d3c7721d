//! The memory of the fleet in words and columns.

use lifecycle_cli::output::{Table, age, count, printable, size};
use lifecycle_core::agent::liveness::runs;
use lifecycle_core::wire::memory_records::MemoryStats;
use lifecycle_core::wire::time::ServerTime;

use super::sparkline::sparkline;
use super::view::{Fleet, PLAIN, Row};

/// Up to this confidence growth is not steady, and a forecast is a guess.
const UNSURE: f64 = 0.5;
/// Columns that a narrow terminal does without, the first to go first.
const DROPPED: &[&str] = &["KIND", "TREND", "STATE", "PER HOUR", "LIMIT"];
/// Longest forecast that is shown, 30 days: beyond that it is worth nothing.
const FAR_MS: u64 = 30 * 86_400_000;

impl Fleet {
    pub(super) fn text(&self, wide: bool) -> String {
        if self.totals.total_agents == 0 {
            return match &self.kind {
                Some(kind) => format!("no agent of kind \"{}\"\n", printable(kind)),
                None => "no agents\n".into(),
            };
        }
        let mut table = Table::new([
            "AGENT", "KIND", "STATE", "RSS", "LIMIT", "TREND", "PER HOUR", "LIMIT IN", "FINDING",
        ]);
        table = if wide { table.wide() } else { table.drop_first(DROPPED) };
        for row in &self.agents {
            table.row(row.cells(self.totals.timestamp));
        }
        format!("{}{}{table}{}", self.summary(), self.comparison().unwrap_or_default(), self.rest())
    }

    /// `12 agents: 3.1 GiB resident, 1.2 GiB heap, 40 processes; 3.0 MiB in the store`
    fn summary(&self) -> String {
        let totals = &self.totals;
        let whose = self.kind.as_ref().map(|kind| format!(" of kind \"{}\"", printable(kind)));
        let mut text = format!(
            "{}{}: {} resident, {} heap",
            count(totals.total_agents, "agent"),
            whose.unwrap_or_default(),
            size(totals.total_rss),
            size(totals.total_heap_used)
        );
        if let Some(processes) = self.processes {
            let noun = if processes == 1 { "process" } else { "processes" };
            text.push_str(&format!(", {processes} {noun}"));
        }
        text.push_str(&format!("; {} in the store\n", size(totals.redis_memory)));
        let silent = totals.total_agents.saturating_sub(self.telling);
        if silent > 0 {
            text.push_str(&format!("{silent} of them without a figure\n"));
        }
        text
    }

    /// Growth since the baseline, if it can be told. The baseline covers agents that are still there, so the comparison
    /// is valid only while there are as many agents now.
    fn comparison(&self) -> Option<String> {
        let then = self.baseline.filter(|_| self.kind.is_none())?;
        let ago = age(self.totals.timestamp.ms_since(then.timestamp));
        let agents = count(then.total_agents, "agent");
        Some(if then.total_agents == self.telling {
            format!("{} in {ago}, of {agents} then and now\n", grown(&then, &self.totals))
        } else {
            let had = if then.total_agents == 1 { "has" } else { "have" };
            format!("{agents} {had} been there since {ago} ago, with {} then\n", size(then.total_rss))
        })
    }

    fn rest(&self) -> String {
        let hidden = self.totals.total_agents.saturating_sub(self.agents.len() as u64);
        match hidden {
            0 => String::new(),
            _ => {
                format!("and {}; --top {} shows all\n", count(hidden, "more agent"), self.totals.total_agents)
            }
        }
    }
}

fn grown(then: &MemoryStats, now: &MemoryStats) -> String {
    let sign = if now.total_rss < then.total_rss { '-' } else { '+' };
    format!("{sign}{}", size(now.total_rss.abs_diff(then.total_rss)))
}

impl Row {
    fn cells(&self, now: ServerTime) -> [String; 9] {
        let shown = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into());
        let plain = self.incarnation.is_none().then(|| PLAIN.to_string());
        [
            self.agent_id.clone(),
            shown(self.kind.clone().or(plain)),
            shown(self.standing(now)),
            shown(self.rss.map(size)),
            shown(self.budget()),
            shown(Some(sparkline(&self.floors))),
            shown(self.slope_bytes_per_hour.map(per_hour)),
            shown(self.forecast(now)),
            shown(self.verdict()),
        ]
    }

    /// Its state, unless its lease is over: it is dead then, and its memory is what it had.
    fn standing(&self, now: ServerTime) -> Option<String> {
        let is_over = self.lease_end.is_some_and(|end| !runs(end, now));
        if is_over { Some("lease over".into()) } else { self.state.clone() }
    }

    /// `75% of 2.0 GiB`
    fn budget(&self) -> Option<String> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        let percent = u128::from(self.pss.or(self.rss)?) * 100 / u128::from(limit);
        let percent = if percent > 999 { ">999".into() } else { percent.to_string() };
        Some(format!("{percent}% of {}", size(limit)))
    }

    fn forecast(&self, now: ServerTime) -> Option<String> {
        let left = now.ms_until(self.limit_reached_at?);
        let when = match left {
            0 => "now".into(),
            FAR_MS.. => ">30d".into(),
            _ => age(left),
        };
        let is_unsure = self.finding.is_none() && self.confidence.is_none_or(|sure| sure <= UNSURE);
        Some(if is_unsure { format!("{when}?") } else { when })
    }

    fn verdict(&self) -> Option<String> {
        let percent = self.confidence.unwrap_or(0.0) * 100.0;
        self.finding.map(|finding| format!("{finding} {percent:.0}%"))
    }
}

/// `+1.2 GiB/h`
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is positive, and shown with one decimal.
pub(super) fn per_hour(slope: f64) -> String {
    let bytes = slope.abs().round() as u64;
    let sign = if slope < 0.0 { "-" } else { "+" };
    if bytes == 0 { "0 B/h".into() } else { format!("{sign}{}/h", size(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_slope_has_a_sign_and_a_unit() {
        let shown = [1.5 * 1_073_741_824.0, -2_097_152.0, 0.2, -0.2].map(per_hour);
        assert_eq!(shown, ["+1.5 GiB/h", "-2.0 MiB/h", "0 B/h", "0 B/h"]);
    }

    #[test]
    fn a_forecast_is_marked_while_growth_is_not_steady_and_ends_at_a_month() {
        let at = ServerTime::from_store_ms;
        let forecast = |left: u64, confidence| {
            let limit_reached_at = Some(at(1_000 + left));
            let row = Row { limit_reached_at, confidence: Some(confidence), ..Row::default() };
            row.forecast(at(1_000)).unwrap()
        };
        assert_eq!(forecast(12_000_000, 0.9), "3h 20m");
        assert_eq!(forecast(12_000_000, 0.5), "3h 20m?");
        assert_eq!((forecast(0, 0.9), forecast(FAR_MS, 0.9)), ("now".into(), ">30d".into()));
        let runaway = Row { limit_reached_at: Some(at(0)), finding: Some("runaway"), ..Row::default() };
        assert_eq!(runaway.forecast(at(1_000)).unwrap(), "now");
    }

    #[test]
    fn the_part_of_a_limit_counts_shared_pages_once_where_that_is_known() {
        let row = |pss, limit| Row { rss: Some(3 * GIB), pss, limit, ..Row::default() };
        assert_eq!(row(None, Some(2 * GIB)).budget().unwrap(), "150% of 2.0 GiB");
        assert_eq!(row(Some(GIB), Some(2 * GIB)).budget().unwrap(), "50% of 2.0 GiB");
        assert_eq!((row(None, None).budget(), row(None, Some(0)).budget()), (None, None));
    }
}
