//! Tells what happens, from the event channel, and keeps count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lifecycle_core::wire::event::{Event, EventKind};
use lifecycle_core::wire::process_fate::ProcessFate;

use crate::demo::cast::Cast;

/// What became of one who was killed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// When.
    killed: Option<Instant>,
    /// Whether somebody said what became of its processes.
    verified: bool,
    /// How long until its end was known.
    pub(crate) detected: Option<Duration>,
    /// How long until all it owned was gone.
    pub(crate) cleaned: Option<Duration>,
}

/// Listens, prints, counts.
#[derive(Debug)]
pub(crate) struct Narrator {
    begun: Instant,
    /// When to kill whom; set once a victim is in the middle of a task.
    schedule: BTreeMap<String, Option<Instant>>,
    delays: BTreeMap<String, Duration>,
    /// Everybody who was killed.
    pub(crate) fates: BTreeMap<String, Fate>,
    /// How often each task was completed.
    pub(crate) completed: BTreeMap<String, u32>,
    /// Tasks that were handed on.
    pub(crate) requeued: u32,
}

impl Narrator {
    pub(crate) fn new(cast: &Cast) -> Self {
        Self {
            begun: Instant::now(),
            schedule: cast.victims.iter().map(|(id, _)| (id.clone(), None)).collect(),
            delays: cast.victims.iter().cloned().collect(),
            fates: BTreeMap::new(),
            completed: BTreeMap::new(),
            requeued: 0,
        }
    }

    /// Whose time has come. Each is named once.
    pub(crate) fn due(&mut self) -> Vec<String> {
        let now = Instant::now();
        let due: Vec<String> = self
            .schedule
            .iter()
            .filter(|(_, at)| at.is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &due {
            self.schedule.remove(id);
        }
        due
    }

    pub(crate) fn killed(&mut self, agent: &str, pid: i32) {
        self.fates.insert(agent.to_string(), Fate { killed: Some(Instant::now()), ..Fate::default() });
        self.say("kill -9", agent, &format!("supervisor {pid}, in the middle of a task"));
    }

    pub(crate) fn hear(&mut self, event: &Event) {
        let agent = event.agent_id.as_deref().unwrap_or_default();
        let task = event.task_id.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::TaskAssigned => self.plan_attack(agent),
            EventKind::ProcessExited => {
                let after = self.since_death(agent, |fate| &mut fate.detected);
                self.say(
                    "detected",
                    agent,
                    &format!("its process ended: {}{after}", text(event.status.as_ref())),
                );
            }
            EventKind::CleanupCompleted => {
                let after = self.since_death(agent, |fate| &mut fate.cleaned);
                let keys = event.keys_deleted.unwrap_or_default();
                self.say(
                    "cleaned",
                    agent,
                    &format!("{keys} keys, reason {}{after}", text(event.reason.as_ref())),
                );
            }
            EventKind::TaskRequeued => {
                self.requeued += 1;
                self.say("handed on", agent, &format!("{task} goes back to the sprint"));
            }
            EventKind::AgentRegistered if self.fates.contains_key(agent) => {
                self.say("restarted", agent, "a new life of the same id");
            }
            EventKind::CleanupAcknowledged if self.is_first_word(agent) => {
                let fate = event.process.unwrap_or(ProcessFate::Unknown);
                self.say("verified", agent, &format!("process tree: {fate}"));
            }
            EventKind::TaskCompleted if event.outcome.as_deref() == Some("completed") => {
                *self.completed.entry(task.to_string()).or_default() += 1;
            }
            EventKind::SprintStarted
            | EventKind::SprintCompleted
            | EventKind::SweepHeld
            | EventKind::CoordinatorLost => {
                self.say(event.kind.as_str(), text(event.sprint.as_ref()), text(event.reason.as_ref()));
            }
            _ => {}
        }
    }

    fn plan_attack(&mut self, agent: &str) {
        if let Some(at @ None) = self.schedule.get_mut(agent) {
            *at = Some(Instant::now() + self.delays.get(agent).copied().unwrap_or_default());
        }
    }

    fn since_death(&mut self, agent: &str, stage: impl Fn(&mut Fate) -> &mut Option<Duration>) -> String {
        let Some(fate) = self.fates.get_mut(agent) else { return String::new() };
        let Some(killed) = fate.killed else { return String::new() };
        let after = *stage(fate).get_or_insert_with(|| killed.elapsed());
        format!(", {} ms after the kill", after.as_millis())
    }

    /// The coordinator says what became of a process to whoever asks; once is enough for the reader.
    fn is_first_word(&mut self, agent: &str) -> bool {
        self.fates.get_mut(agent).is_none_or(|fate| !std::mem::replace(&mut fate.verified, true))
    }

    fn say(&self, what: &str, who: &str, how: &str) {
        let line = format!("{:7.3} s  {what:16} {who:10} {how}", self.begun.elapsed().as_secs_f64());
        println!("{}", line.trim_end());
    }
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}
