//! Tells what happens: what the test does, and what the fleet says of it on its event channel.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use lifecycle_core::wire::event::EventKind;
use serde_json::Value;

use crate::compose_test::engine::docker;

/// One line for each happening, with the time since the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    begun: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now() }
    }

    pub(crate) fn say(self, what: &str, who: &str, how: &str) {
        let line = format!("{:7.3} s  {what:10} {who:14} {how}", self.begun.elapsed().as_secs_f64());
        println!("{}", line.trim_end());
    }
}

/// Listens to the event channel from inside one of the containers. Events are hints: they are told, and nothing follows
/// from them.
#[derive(Debug)]
pub(crate) struct Listener {
    process: Child,
}

impl Listener {
    /// Listens through `lifecyclectl events` in `container`, and tells what matters.
    pub(crate) fn start(container: &str, clock: Clock) -> Result<Self> {
        let mut follow =
            docker(["exec", container, "lifecyclectl", "events", "--follow", "--output", "json"]);
        let mut process = follow.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = process.stdout.take().context("a process without the output it was given")?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    tell(&event, clock);
                }
            }
        });
        Ok(Self { process })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tell(event: &Value, clock: Clock) {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_string();
    let is = |kind: EventKind| event["type"] == kind.as_str();
    let agent = text("agentId");
    if is(EventKind::ProcessExited) {
        clock.say("detected", &agent, &format!("its process ended: {}", text("status")));
    } else if is(EventKind::CleanupCompleted) {
        clock.say("cleaned", &agent, &format!("{} keys, reason {}", event["keysDeleted"], text("reason")));
    } else if is(EventKind::TaskRequeued) {
        clock.say("handed on", &agent, &format!("{} goes back to the sprint", text("taskId")));
    } else if is(EventKind::SweepHeld) {
        clock.say("held", "reaping", &text("reason"));
    } else if is(EventKind::SweepReleased) {
        clock.say("released", "reaping", "");
    } else if is(EventKind::CoordinatorLost) || is(EventKind::SprintCompleted) {
        clock.say("over", &text("sprint"), &text("type").replace('_', " "));
    }
}
