//! The trends of agents' memory, which sweepers write beside the figures.

use std::time::Duration;

use fred::types::Value;
use lifecycle_core::memory::leak::{Finding, Trend};
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::time::millis;

use crate::error::StoreError;
use crate::reply::{argument, number};
use crate::roles::SweeperStore;
use crate::scripts::WriteTrend;

/// A finding that no sweeper saw for this long counts as another episode. Sweepers note what they see each minute.
const QUIET: Duration = Duration::from_secs(300);

/// What a sweeper tells of one agent's memory.
#[derive(Debug, Clone, Copy)]
pub struct TrendNote<'a> {
    /// The agent's id.
    pub id: &'a str,
    /// Its life; `None` for a plain agent.
    pub incarnation: Option<Incarnation>,
    /// The trend of its memory.
    pub trend: &'a Trend,
    /// A finding that begins, with its alert. The alert is published unless another sweeper told of this episode
    /// before.
    pub began: Option<(Finding, &'a Event)>,
    /// Findings that ended.
    pub ended: &'a [Finding],
    /// Findings that go on; one that begins is among them.
    pub lasting: &'a [Finding],
}

impl SweeperStore {
    /// Writes a trend beside the memory figures of that life, if they are there. Returns whether the alert was
    /// published.
    pub async fn tell_trend(&self, note: TrendNote<'_>) -> Result<bool, StoreError> {
        let alert =
            note.began.map(|(_, event)| self.store.wire.encode(event)).transpose()?.unwrap_or_default();
        let words =
            |findings: &[Finding]| findings.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" ");
        let mut args: Vec<Value> = vec![
            note.incarnation.map(|incarnation| incarnation.to_string()).unwrap_or_default().into(),
            argument(millis(QUIET)),
            note.began.map_or("", |(finding, _)| finding.as_str()).into(),
            Value::Bytes(alert.into()),
            words(note.ended).into(),
            words(note.lasting).into(),
            words(Finding::ALL).into(),
        ];
        let fields = Trend::FIELDS.into_iter().zip(note.trend.values());
        args.extend(fields.flat_map(|(name, text)| [name.into(), text.into()]));
        let names =
            WriteTrend { memory: self.store.keys().memory(note.id), state: self.store.keys().state(note.id) };
        let reply = self.store.run(names, args).await?;
        Ok(number(&reply) == Some(1))
    }
}
