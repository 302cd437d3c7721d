//! Prints what happens: the faults, and the fleet's own events.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use lifecycle_core::wire::event::EventKind;
use serde_json::Value;

use crate::engine::docker;

/// Prints one line for each thing that happens, with the time since the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    begun: Instant,
}

impl Timeline {
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now() }
    }

    pub(crate) fn say(self, what: &str, who: &str, how: &str) {
        let line = format!("{:7.3} s  {what:10} {who:14} {how}", self.begun.elapsed().as_secs_f64());
        println!("{}", line.trim_end());
    }
}

/// Prints the events of the fleet, as `lifecyclectl` in one of the containers receives them. No check depends on them,
/// because an event may be lost.
#[derive(Debug)]
pub(crate) struct EventPrinter {
    process: Child,
}

impl EventPrinter {
    /// Starts `lifecyclectl events` in `container`.
    pub(crate) fn start(container: &str, timeline: Timeline) -> Result<Self> {
        let mut follow =
            docker(["exec", container, "lifecyclectl", "events", "--follow", "--output", "json"]);
        let mut process = follow.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = process.stdout.take().context("a process without the output it was given")?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    print_event(&event, timeline);
                }
            }
        });
        Ok(Self { process })
    }
}

impl Drop for EventPrinter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn print_event(event: &Value, timeline: Timeline) {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_string();
    let is = |kind: EventKind| event["type"] == kind.as_str();
    let agent = text("agentId");
    if is(EventKind::ProcessExited) {
        timeline.say("detected", &agent, &format!("its process ended: {}", text("status")));
    } else if is(EventKind::CleanupCompleted) {
        timeline.say("cleaned", &agent, &format!("{} keys, reason {}", event["keysDeleted"], text("reason")));
    } else if is(EventKind::TaskRequeued) {
        timeline.say("handed on", &agent, &format!("{} goes back to the sprint", text("taskId")));
    } else if is(EventKind::SweepHeld) {
        timeline.say("held", "reaping", &text("reason"));
    } else if is(EventKind::SweepReleased) {
        timeline.say("released", "reaping", "");
    } else if is(EventKind::CoordinatorLost) || is(EventKind::SprintCompleted) {
        timeline.say("over", &text("sprint"), &text("type").replace('_', " "));
    }
}
