//! Where agents' memory is going: written by sweepers beside the figures, read by whoever shows it.

use std::collections::{HashMap, HashSet};

use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::Value;
use lifecycle_core::codec::decode;
use lifecycle_core::event::Event;
use lifecycle_core::growth::MemoryStats;
use lifecycle_core::ids::Incarnation;
use lifecycle_core::leak::Trend;

use crate::error::StoreError;
use crate::memory::{AgentFigures, IndexCursor};
use crate::reply::{self, number};
use crate::store::Store;
use crate::sweeping::{PIPELINED, all, value};

/// Names asked for in one command.
const PAGE: u32 = 1_000;

/// What changed with a trend.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Nothing that people must be told.
    None,
    /// A finding: the alert goes out unless somebody has told of this episode before.
    Began(&'a Event),
    /// The episode is over.
    Ended,
}

impl Store {
    /// Writes a trend down beside the memory figures of that life, if they are there. Returns whether the alert was
    /// published.
    ///
    /// # Errors
    /// As the store says.
    pub async fn tell_trend(
        &self,
        id: &str,
        incarnation: Option<Incarnation>,
        trend: &Trend,
        change: Change<'_>,
    ) -> Result<bool, StoreError> {
        let (word, alert) = match change {
            Change::None => ("", None),
            Change::Began(event) => ("began", Some(self.wire.encode(event)?)),
            Change::Ended => ("ended", None),
        };
        let mut args: Vec<Value> = vec![
            incarnation.map(|incarnation| incarnation.to_string()).unwrap_or_default().into(),
            word.into(),
            trend.finding.map_or("", |finding| finding.name()).into(),
            Value::Bytes(alert.unwrap_or_default().into()),
        ];
        let fields = Trend::FIELDS.into_iter().zip(trend.values());
        args.extend(fields.flat_map(|(name, text)| [name.into(), text.into()]));
        let names = vec![self.keys().memory(id), self.keys().state(id)];
        let reply = self.run(&self.scripts.trend, names, args).await?;
        Ok(number(&reply) == Some(1))
    }

    /// The figures of everybody in either index, each once, by id. Reads page by page, without blocking the store.
    ///
    /// # Errors
    /// As the store says.
    pub async fn fleet_figures(&self) -> Result<Vec<AgentFigures>, StoreError> {
        let (mut fleet, mut met) = (Vec::new(), HashSet::new());
        let mut at = Some(IndexCursor::default());
        while let Some(cursor) = at {
            let (mut page, next) = self.index_page(&cursor, PAGE).await?;
            page.retain(|(id, _)| met.insert(id.clone()));
            fleet.extend(self.agent_figures(&page).await?);
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
