//! Where agents' memory is going: written by sweepers beside the figures, read by whoever shows it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::Value;
use lifecycle_core::codec::decode;
use lifecycle_core::event::Event;
use lifecycle_core::fleet_growth::MemoryStats;
use lifecycle_core::ids::Incarnation;
use lifecycle_core::leak::{Finding, Trend};
use lifecycle_core::liveness::millis;

use crate::agents::text;
use crate::error::StoreError;
use crate::fleet_usage::{AgentUsage, IndexCursor};
use crate::reply::{self, number};
use crate::store::Store;
use crate::sweeping::{PIPELINED, all, value};

/// Names asked for in one command.
const PAGE: u32 = 1_000;

/// After how long without a sweeper that sees it a finding is another episode. Sweepers note what they see each minute.
const QUIET: Duration = Duration::from_secs(300);

/// What there is to say of an agent's memory.
#[derive(Debug, Clone, Copy)]
pub struct TrendNote<'a> {
    /// The agent.
    pub id: &'a str,
    /// Its life; `None` for a plain agent.
    pub incarnation: Option<Incarnation>,
    /// Where its memory is going.
    pub trend: &'a Trend,
    /// A finding that begins, with its alert: that goes out unless somebody has told of this episode before.
    pub began: Option<(Finding, &'a Event)>,
    /// Findings that ended.
    pub ended: &'a [Finding],
    /// Findings that go on, one that begins among them.
    pub lasting: &'a [Finding],
}

impl Store {
    /// Writes a trend down beside the memory figures of that life, if they are there. Returns whether the alert was
    /// published.
    ///
    /// # Errors
    /// As the store says.
    pub async fn tell_trend(&self, note: TrendNote<'_>) -> Result<bool, StoreError> {
        let alert = note.began.map(|(_, event)| self.wire.encode(event)).transpose()?.unwrap_or_default();
        let words =
            |findings: &[Finding]| findings.iter().map(|one| one.name()).collect::<Vec<_>>().join(" ");
        let mut args: Vec<Value> = vec![
            note.incarnation.map(|incarnation| incarnation.to_string()).unwrap_or_default().into(),
            text(millis(QUIET)),
            note.began.map_or("", |(finding, _)| finding.name()).into(),
            Value::Bytes(alert.into()),
            words(note.ended).into(),
            words(note.lasting).into(),
            words(&Finding::ALL).into(),
        ];
        let fields = Trend::FIELDS.into_iter().zip(note.trend.values());
        args.extend(fields.flat_map(|(name, text)| [name.into(), text.into()]));
        let names = vec![self.keys().memory(note.id), self.keys().state(note.id)];
        let reply = self.run(&self.scripts.trend, names, args).await?;
        Ok(number(&reply) == Some(1))
    }

    /// The figures of everybody in either index, each once, by id. Reads page by page, without blocking the store.
    ///
    /// # Errors
    /// As the store says.
    pub async fn fleet_usage(&self) -> Result<Vec<AgentUsage>, StoreError> {
        let (mut fleet, mut met) = (Vec::new(), HashSet::new());
        let mut at = Some(IndexCursor::default());
        while let Some(cursor) = at {
            let (mut page, next) = self.index_page(&cursor, PAGE).await?;
            page.retain(|(id, _)| met.insert(id.clone()));
            fleet.extend(self.agent_usage(&page).await?);
            at = next;
        }
        fleet.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(fleet)
    }

    /// The trends of these agents, in the same order; `None` where no sweeper has written one.
    ///
    /// # Errors
    /// As the store says.
    pub async fn trends(&self, ids: &[&str]) -> Result<Vec<Option<Trend>>, StoreError> {
        let mut trends = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(PIPELINED) {
            let pipeline = self.client.pipeline();
            for id in chunk {
                let () = pipeline.hmget(self.keys().memory(id), Trend::FIELDS.to_vec()).await?;
            }
            for reply in all(pipeline.try_all::<Value>().await, chunk.len())? {
                let values = value(&reply)?.map(Value::into_array).unwrap_or_default();
                let fields = Trend::FIELDS.into_iter().map(String::from).zip(values.iter().map(reply::text));
                trends.push(Trend::from_fields(&fields.collect::<HashMap<_, _>>()));
            }
        }
        Ok(trends)
    }

    /// What the fleet's growth is measured against; `None` until a sweeper has watched it for a window.
    ///
    /// # Errors
    /// As the store says.
    pub async fn memory_baseline(&self) -> Result<Option<MemoryStats>, StoreError> {
        let found = value(&self.client.get::<Value, _>(self.keys().memory_baseline()).await)?;
        Ok(found.as_ref().and_then(Value::as_bytes).and_then(|bytes| decode(bytes).ok()))
    }
}
