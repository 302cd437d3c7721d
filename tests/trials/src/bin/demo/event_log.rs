//! Prints the events of the demo and counts what the checks need.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::process_fate::ProcessFate;

use crate::demo_plan::DemoPlan;

/// An agent that was killed, and how soon that was noticed.
#[derive(Debug, Clone, Default)]
pub(crate) struct KilledAgent {
    /// When.
    killed: Option<Instant>,
    /// Whether the coordinator has told what became of its processes.
    verified: bool,
    /// How long until its end was known.
    pub(crate) detected: Option<Duration>,
    /// How long until all it owned was gone.
    pub(crate) cleaned: Option<Duration>,
}

/// Prints events and counts them.
#[derive(Debug)]
pub(crate) struct EventLog {
    begun: Instant,
    /// When to kill whom; set once a victim is in the middle of a task.
    schedule: BTreeMap<String, Option<Instant>>,
    delays: BTreeMap<String, Duration>,
    /// Every agent that was killed.
    pub(crate) killed_agents: BTreeMap<String, KilledAgent>,
    /// How often each task was completed.
    pub(crate) completed: BTreeMap<String, u32>,
    /// Tasks that were handed on.
    pub(crate) requeued: u32,
}

impl EventLog {
    pub(crate) fn new(plan: &DemoPlan) -> Self {
        Self {
            begun: Instant::now(),
            schedule: plan.victims.iter().map(|(id, _)| (id.clone(), None)).collect(),
            delays: plan.victims.iter().cloned().collect(),
            killed_agents: BTreeMap::new(),
            completed: BTreeMap::new(),
            requeued: 0,
        }
    }

    /// The victims that are to be killed now. Each is named once.
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
        self.killed_agents.insert(
            agent.to_string(),
            KilledAgent { killed: Some(Instant::now()), ..KilledAgent::default() },
        );
        self.say("kill -9", agent, &format!("supervisor {pid}, in the middle of a task"));
    }

    pub(crate) fn record(&mut self, event: &Event) {
        let agent = event.agent_id.as_deref().unwrap_or_default();
        match &event.payload {
            Payload::TaskAssigned { .. } => self.schedule_kill(agent),
            Payload::ProcessExited { status, .. } => {
                let after = self.since_death(agent, |agent| &mut agent.detected);
                self.say("detected", agent, &format!("its process ended: {}{after}", text(status.as_ref())));
            }
            Payload::CleanupCompleted { keys_deleted, reason, .. } => {
                let after = self.since_death(agent, |agent| &mut agent.cleaned);
                let keys = keys_deleted.unwrap_or_default();
                self.say("cleaned", agent, &format!("{keys} keys, reason {}{after}", text(reason.as_ref())));
            }
            Payload::TaskRequeued { task_id, .. } => {
                self.requeued += 1;
                let task = text(task_id.as_ref());
                self.say("handed on", agent, &format!("{task} goes back to the sprint"));
            }
            Payload::AgentRegistered { .. } if self.killed_agents.contains_key(agent) => {
                self.say("restarted", agent, "a new life of the same id");
            }
            Payload::CleanupAcknowledged { process, .. } if self.acknowledge_first(agent) => {
                let fate = process.unwrap_or(ProcessFate::Unknown);
                self.say("verified", agent, &format!("process tree: {fate}"));
            }
            Payload::TaskCompleted { task_id: Some(task), outcome: Some(outcome), .. }
                if outcome == "completed" =>
            {
                *self.completed.entry(task.clone()).or_default() += 1;
            }
            Payload::SprintStarted { .. } | Payload::SprintCompleted { .. } => {
                self.say(event.kind().as_str(), event.sprint().unwrap_or_default(), "");
            }
            Payload::SweepHeld { reason, .. } => {
                self.say(event.kind().as_str(), "", text(reason.as_ref()));
            }
            Payload::CoordinatorLost { .. } => self.say(event.kind().as_str(), agent, ""),
            _ => {}
        }
    }

    fn schedule_kill(&mut self, agent: &str) {
        if let Some(at @ None) = self.schedule.get_mut(agent) {
            *at = Some(Instant::now() + self.delays.get(agent).copied().unwrap_or_default());
        }
    }

    fn since_death(
        &mut self,
        agent: &str,
        stage: impl Fn(&mut KilledAgent) -> &mut Option<Duration>,
    ) -> String {
        let Some(victim) = self.killed_agents.get_mut(agent) else { return String::new() };
        let Some(killed) = victim.killed else { return String::new() };
        let after = *stage(victim).get_or_insert_with(|| killed.elapsed());
        format!(", {} ms after the kill", after.as_millis())
    }

    /// Whether this is the first acknowledgement of the agent's end. The coordinator repeats it to whoever asks; one line
    /// is enough for the reader.
    fn acknowledge_first(&mut self, agent: &str) -> bool {
        self.killed_agents.get_mut(agent).is_none_or(|victim| !std::mem::replace(&mut victim.verified, true))
    }

    fn say(&self, what: &str, who: &str, how: &str) {
        let line = format!("{:7.3} s  {what:16} {who:10} {how}", self.begun.elapsed().as_secs_f64());
        println!("{}", line.trim_end());
    }
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}
