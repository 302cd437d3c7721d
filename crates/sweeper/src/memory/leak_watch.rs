//! Watches each agent's memory for leaks, and publishes what is found.
//!
//! `lifecycle_core::memory::leak` decides what is a leak. This module decides which agents are watched, and tells the
//! findings. Every sweeper judges for itself, by what it has read itself. Trends are written beside an agent's memory
//! figures, where `lifecyclectl memory` finds them. The latch is there too; it lets the first sweeper's alert through,
//! once per episode.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt as _, stream};
use lifecycle_cli::output;
use lifecycle_core::memory::leak::{Detector, Finding, KindHistory, LeakVerdict, Trend};
use lifecycle_core::memory::sample::{MemorySample, RssSample};
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{SweeperStore, TrendNote};

use crate::pass::report::named;

/// Most agents that are watched; each takes less than 4 KB. In a larger fleet those that were met first are watched.
const MOST: usize = 20_000;
/// Most kinds that have a history of their own. All later ones share one.
const MOST_KINDS: usize = 1_000;
/// Time between two notes of one agent's trend, in ms.
const NOTE_EVERY_MS: u64 = 60_000;
/// Notes that are sent at once.
const AT_ONCE: usize = 32;

/// One sweeper's judgement of each agent's memory.
#[derive(Debug, Default)]
pub(crate) struct LeakWatch {
    watched: HashMap<String, Watched>,
    kinds: HashMap<String, KindHistory>,
    is_full: bool,
}

#[derive(Debug)]
struct Watched {
    incarnation: Option<Incarnation>,
    kind: String,
    detector: Box<Detector>,
    noted_at: ServerTime,
    /// The findings that go on.
    findings: Vec<Finding>,
    untold: Untold,
}

/// Changes that the store does not know of yet.
#[derive(Debug, Clone, PartialEq, Default)]
struct Untold {
    began: Option<LeakVerdict>,
    ended: Vec<Finding>,
}

impl Untold {
    fn is_empty(&self) -> bool {
        self.began.is_none() && self.ended.is_empty()
    }
}

/// What is to be written down of one agent.
#[derive(Debug, PartialEq)]
struct Note {
    id: String,
    incarnation: Option<Incarnation>,
    trend: Trend,
    findings: Vec<Finding>,
    untold: Untold,
}

impl LeakWatch {
    /// Takes in the samples of a reading.
    pub(crate) fn observe(&mut self, samples: &[MemorySample]) {
        for sample in samples {
            self.observe_one(sample);
        }
    }

    fn observe_one(&mut self, sample: &MemorySample) {
        let kind = self.kind(&sample.kind);
        if !self.watched.contains_key(&sample.id) && self.watched.len() >= MOST {
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(
                    watched = MOST,
                    "the fleet is larger than what is watched for leaks; limits hold for everybody"
                );
            }
            return;
        }
        let watched = self.watched.entry(sample.id.clone()).or_insert_with(|| Watched {
            incarnation: sample.incarnation,
            kind: kind.clone(),
            detector: Box::default(),
            noted_at: ServerTime::default(),
            findings: Vec::new(),
            untold: Untold::default(),
        });
        if watched.incarnation != sample.incarnation {
            // Another life, so another process: what was noted of the last one was removed with its keys.
            watched.detector.restarted();
            (watched.incarnation, watched.noted_at) = (sample.incarnation, ServerTime::default());
            (watched.findings, watched.untold) = (Vec::new(), Untold::default());
        }
        watched.kind.clone_from(&kind);
        let history = self.kinds.entry(kind).or_default();
        let look = RssSample { at: sample.at, rss_bytes: sample.rss, limit_bytes: sample.limit };
        let verdict = watched.detector.observe(history, look);
        let findings = watched.detector.findings();
        watched.untold.ended.extend(watched.findings.iter().filter(|one| !findings.contains(one)));
        // An episode that began and ended before it could be told is told all the same, because it happened.
        watched.untold.began = verdict.or(watched.untold.began);
        watched.findings = findings;
    }

    /// The name under which a kind's history is kept.
    fn kind(&self, name: &str) -> String {
        if self.kinds.contains_key(name) || self.kinds.len() < MOST_KINDS {
            name.into()
        } else {
            String::new()
        }
    }

    /// Drops agents that are gone. What is usual for their kind is kept.
    pub(crate) fn retain(&mut self, mut is_there: impl FnMut(&str) -> bool) {
        self.watched.retain(|id, _| is_there(id));
        self.is_full &= self.watched.len() >= MOST;
    }

    /// How many agents have a finding that goes on, by finding.
    pub(crate) fn findings(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<&'static str, u64> =
            Finding::ALL.iter().map(|finding| (finding.as_str(), 0)).collect();
        for finding in self.watched.values().flat_map(|watched| &watched.findings) {
            *counts.entry(finding.as_str()).or_default() += 1;
        }
        counts
    }

    /// Writes down what changed. From time to time, also writes the trends of the agents that are `shown` and of those
    /// that leak.
    pub(crate) async fn tell(&mut self, store: &SweeperStore, now: ServerTime, shown: &HashSet<&str>) {
        let notes = self.notes(now, shown);
        let told: Vec<(String, bool)> = stream::iter(notes)
            .map(|note| async move { (note.id.clone(), note.tell(store, now).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (id, is_told) in told {
            if let Some(watched) = self.watched.get_mut(&id).filter(|_| is_told) {
                (watched.noted_at, watched.untold) = (now, Untold::default());
            }
        }
    }

    fn notes(&self, now: ServerTime, shown: &HashSet<&str>) -> Vec<Note> {
        let due = self.watched.iter().filter(|(id, watched)| {
            let is_shown = !watched.findings.is_empty() || shown.contains(id.as_str());
            !watched.untold.is_empty() || (is_shown && now.ms_since(watched.noted_at) >= NOTE_EVERY_MS)
        });
        let notes = due.filter_map(|(id, watched)| {
            let trend = watched.detector.trend(self.kinds.get(&watched.kind)?)?;
            let Watched { incarnation, findings, untold, .. } = watched;
            let (findings, untold) = (findings.clone(), untold.clone());
            Some(Note { id: id.clone(), incarnation: *incarnation, trend, findings, untold })
        });
        notes.collect()
    }
}

impl Note {
    /// Returns whether it was written down. An error only means that it is tried again.
    async fn tell(&self, store: &SweeperStore, now: ServerTime) -> bool {
        let began = self.untold.began.as_ref();
        let alert = began.map(|verdict| (verdict.finding, alert(&self.id, self.incarnation, verdict, now)));
        let note = TrendNote {
            id: &self.id,
            incarnation: self.incarnation,
            trend: &self.trend,
            began: alert.as_ref().map(|(finding, event)| (*finding, event)),
            ended: &self.untold.ended,
            lasting: &self.findings,
        };
        match store.tell_trend(note).await {
            Ok(is_first) => {
                if let Some(verdict) = began.filter(|_| is_first) {
                    log(&self.id, verdict);
                }
                true
            }
            Err(error) => {
                tracing::debug!(agent = ?named(&self.id), %error, "a trend was not written down; trying again with the next reading");
                false
            }
        }
    }
}

fn alert(id: &str, incarnation: Option<Incarnation>, verdict: &LeakVerdict, now: ServerTime) -> Event {
    let payload = Payload::MemoryLeakDetected {
        growth: None,
        growth_pct: None,
        baseline: None,
        current: None,
        agents: Vec::new(),
        reason: Some(verdict.finding.to_string()),
        slope_bytes_per_hour: Some(verdict.slope_bytes_per_hour),
        confidence: Some(verdict.confidence),
        window_ms: Some(verdict.window_ms),
        limit_reached_ms: verdict.limit_reached_at.map(ServerTime::as_ms),
    };
    Event::new(payload, now.as_ms()).about(id, incarnation)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A slope of an alert is over 0.
fn log(id: &str, verdict: &LeakVerdict) {
    let pace = output::size(verdict.slope_bytes_per_hour.max(0.0) as u64);
    let left = |at: ServerTime| output::age(at.ms_since(verdict.at));
    let limit = verdict.limit_reached_at.map(|at| format!("; its limit is reached in {}", left(at)));
    tracing::warn!(
        agent = ?named(id),
        finding = verdict.finding.as_str(),
        confidence = format_args!("{:.2}", verdict.confidence),
        "the memory of an agent grows by {pace} an hour and is not given back{}",
        limit.unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn at(ms: u64) -> ServerTime {
        ServerTime::from_store_ms(ms)
    }

    fn sample(id: &str, life: u64, at_ms: u64, rss: u64) -> MemorySample {
        MemorySample {
            id: id.into(),
            incarnation: Some(Incarnation(life)),
            kind: "coder".into(),
            at: at(at_ms),
            rss,
            heap_used: 0,
            limit: None,
        }
    }

    /// A steady agent for `quiet` hours, then one that takes 1 GB an hour, sampled every 30 s.
    fn leaking(id: &str, quiet: u64, hours: u64) -> impl Iterator<Item = MemorySample> {
        (0..(quiet + hours) * 120).map(move |n| {
            let at = n * 30_000;
            let leaked = at.saturating_sub(quiet * HOUR_MS) * 1_000_000_000 / HOUR_MS;
            sample(id, 1, at, 300_000_000 + n % 7 * 1_000_000 + leaked)
        })
    }

    #[test]
    fn a_leak_is_found_and_noted_and_ends_with_the_life() {
        let mut leaks = LeakWatch::default();
        let shown = HashSet::new();
        for sample in leaking("a", 2, 3) {
            leaks.observe_one(&sample);
        }
        assert_eq!(leaks.findings(), BTreeMap::from([("leak", 1), ("runaway", 0)]));
        let notes = leaks.notes(at(5 * HOUR_MS), &shown);
        let verdict = notes[0].untold.began.unwrap();
        assert_eq!(
            (verdict.finding, notes[0].findings.as_slice()),
            (Finding::Leak, [Finding::Leak].as_slice())
        );
        let event = alert("a", Some(Incarnation(1)), &verdict, ServerTime::from_store_ms(7));
        let Payload::MemoryLeakDetected { slope_bytes_per_hour: Some(slope), confidence, .. } = event.payload
        else {
            panic!("{event:?}")
        };
        assert!((0.5e9..2e9).contains(&slope) && confidence > Some(0.5), "{slope} {confidence:?}");
        leaks.observe_one(&sample("a", 2, 5 * HOUR_MS, 300_000_000));
        assert_eq!(leaks.findings()["leak"], 0, "another life");
        leaks.retain(|_| false);
        assert!(leaks.watched.is_empty());
    }

    #[test]
    fn a_steady_agent_is_noted_where_it_is_shown_and_no_more_than_once_a_minute() {
        let mut leaks = LeakWatch::default();
        for sample in leaking("a", 2, 0) {
            leaks.observe_one(&sample);
        }
        let now = 2 * HOUR_MS;
        assert_eq!(leaks.notes(at(now), &HashSet::new()), []);
        let shown = HashSet::from(["a"]);
        assert_eq!(leaks.notes(at(now), &shown).len(), 1);
        leaks.watched.get_mut("a").unwrap().noted_at = at(now);
        assert_eq!(leaks.notes(at(now + NOTE_EVERY_MS - 1), &shown), []);
        assert_eq!(leaks.notes(at(now + NOTE_EVERY_MS), &shown).len(), 1);
    }

    #[test]
    fn there_is_an_end_to_what_is_watched() {
        let mut leaks = LeakWatch::default();
        for n in 0..MOST + 5 {
            let mut one = sample(&format!("a{n}"), 1, 1, 1);
            one.kind = format!("k{n}");
            leaks.observe_one(&one);
        }
        assert!(leaks.is_full);
        assert_eq!((leaks.watched.len(), leaks.kinds.len()), (MOST, MOST_KINDS + 1));
    }
}
