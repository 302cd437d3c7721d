//! A trace's lines through one detector per agent and one history per kind.

use std::collections::HashMap;

use lifecycle_core::memory::leak::{Detector, KindHistory, LeakVerdict};
use lifecycle_core::memory::sample::RssSample;
use lifecycle_core::memory::trace::{Header, Row};
use lifecycle_core::wire::time::ServerTime;
use serde::Serialize;

use super::table::per_hour;
use crate::wording;

/// The state of a replay. Its memory grows with agents and kinds, not with lines.
#[derive(Default)]
pub(super) struct Replay {
    header: Option<Header>,
    last_ms: u64,
    blank: bool,
    detectors: Detectors,
}

/// The detector of each agent, and the history of each kind.
#[derive(Default)]
struct Detectors {
    kinds: HashMap<String, usize>,
    histories: Vec<KindHistory>,
    agents: HashMap<String, Agent>,
}

struct Agent {
    kind: usize,
    kind_name: String,
    detector: Detector,
}

/// A line of output.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    timestamp_ms: u64,
    agent_id: String,
    kind: String,
    verdict: &'static str,
    slope_bytes_per_hour: i64,
    confidence: f64,
    limit_reached_ms: Option<u64>,
}

impl Replay {
    /// Takes in the next line, without its line end.
    pub(super) fn line(&mut self, line: &str) -> Result<Option<Alert>, String> {
        let Some(header) = &mut self.header else {
            self.header = Some(Header::read(line).map_err(|error| error.to_string())?);
            return Ok(None);
        };
        if line.is_empty() {
            self.blank = true;
            return Ok(None);
        }
        if self.blank {
            return Err("there is a blank line before it".into());
        }
        let row = header.row(line).map_err(|error| error.to_string())?;
        if row.at_ms < self.last_ms {
            return Err(format!(
                "time goes back from {} to {}: sort the trace by timestampMs",
                self.last_ms, row.at_ms
            ));
        }
        self.last_ms = row.at_ms;
        Ok(self.detectors.observe(&row))
    }

    /// Ends the replay: there are no further lines.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.header {
            Some(_) => Ok(()),
            None => Err("line 1: there is no header line; the trace is empty".into()),
        }
    }
}

impl Detectors {
    fn observe(&mut self, row: &Row<'_>) -> Option<Alert> {
        if !self.agents.contains_key(row.agent) {
            let agent = Agent {
                kind: self.kind(row.kind),
                kind_name: row.kind.into(),
                detector: Detector::default(),
            };
            self.agents.insert(row.agent.into(), agent);
        }
        let moved = self.agents.get(row.agent).is_some_and(|agent| agent.kind_name != row.kind);
        let kind = if moved { Some(self.kind(row.kind)) } else { None };
        let agent = self.agents.get_mut(row.agent)?;
        if let Some(kind) = kind {
            agent.kind = kind;
            agent.kind_name = row.kind.into();
        }
        let Some(rss_bytes) = row.rss_bytes else {
            agent.detector.restarted();
            return None;
        };
        let at = ServerTime::from_store_ms(row.at_ms);
        let sample = RssSample { at, rss_bytes, limit_bytes: row.limit_bytes };
        let verdict = agent.detector.observe(self.histories.get_mut(agent.kind)?, sample)?;
        Some(Alert::new(row, &verdict))
    }

    fn kind(&mut self, name: &str) -> usize {
        *self.kinds.entry(name.into()).or_insert_with(|| {
            self.histories.push(KindHistory::default());
            self.histories.len() - 1
        })
    }
}

impl Alert {
    /// What [`Alert::cells`] are.
    pub(super) const COLUMNS: [&'static str; 7] =
        ["TIME", "AGENT", "KIND", "FINDING", "PER HOUR", "SURE", "LIMIT AT"];

    pub(super) fn cells(&self) -> [String; 7] {
        [
            wording::instant(self.timestamp_ms),
            self.agent_id.clone(),
            self.kind.clone(),
            self.verdict.into(),
            per_hour(self.slope_bytes_per_hour as f64),
            format!("{:.0}%", self.confidence * 100.0),
            self.limit_reached_ms.map_or_else(|| "-".into(), wording::instant),
        ]
    }

    fn new(row: &Row<'_>, verdict: &LeakVerdict) -> Self {
        Self {
            timestamp_ms: verdict.at.as_ms(),
            agent_id: row.agent.into(),
            kind: row.kind.into(),
            verdict: verdict.finding.as_str(),
            slope_bytes_per_hour: verdict.slope_bytes_per_hour.round() as i64,
            confidence: (verdict.confidence * 1_000.0).round() / 1_000.0,
            limit_reached_ms: verdict.limit_reached_at.map(ServerTime::as_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(lines: &[&str]) -> Result<(), (usize, String)> {
        let mut replay = Replay::default();
        for (index, line) in lines.iter().enumerate() {
            replay.line(line).map_err(|what| (index + 1, what))?;
        }
        replay.end().map_err(|what| (0, what))
    }

    const HEADER: &str = "timestampMs,agentId,kind,rssBytes";

    #[test]
    fn blank_lines_may_stand_at_the_end_only() {
        assert_eq!(replay(&[HEADER]), Ok(()));
        assert_eq!(replay(&[HEADER, "1,a,k,5", "", ""]), Ok(()));
        assert_eq!(replay(&[HEADER, "", "1,a,k,5"]).unwrap_err().0, 3);
        assert!(replay(&[]).unwrap_err().1.contains("no header"));
        assert_eq!(replay(&["", HEADER]).unwrap_err().0, 1);
    }

    #[test]
    fn time_may_stand_still_but_not_go_back_not_even_for_another_agent() {
        assert_eq!(replay(&[HEADER, "5,a,k,5", "5,b,k,5", "5,a,k,5"]), Ok(()));
        let (line, what) = replay(&[HEADER, "5,a,k,5", "4,b,k,5"]).unwrap_err();
        assert_eq!((line, what.as_str()), (3, "time goes back from 5 to 4: sort the trace by timestampMs"));
    }

    #[test]
    fn an_agent_may_change_its_kind() {
        assert_eq!(replay(&[HEADER, "1,a,k,5", "2,a,l,5", "3,a,k,5"]), Ok(()));
    }
}
