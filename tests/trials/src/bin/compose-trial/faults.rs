//! The faults, one after the other, and what must follow each of them.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lifecycle_tests::command::output;
use lifecycle_tests::eventually::eventually;
use serde_json::Value;

use crate::engine::{Stack, docker, exec, health, inspect, logs, status};
use crate::plan;
use crate::timeline::Timeline;

/// Length of a lease in the test: the settings that the compose file passes on are set to it.
pub(crate) const LEASE: Duration = Duration::from_secs(6);
/// Longest wait for anything that follows at once. Containers start slowly on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Injects faults into the running stack.
pub(crate) struct FaultInjector<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) timeline: Timeline,
}

/// A sweeper that has a wrong password.
pub(crate) struct MisconfiguredSweeper {
    pub(crate) container: String,
}

impl FaultInjector<'_> {
    /// Sweepers and a coordinator before their store, Prometheus and Grafana; then the store.
    pub(crate) fn the_store_comes_late(&self) -> Result<()> {
        self.timeline.say(
            "start",
            "sweeper ×2",
            "and the coordinator: no store, no Prometheus, no Grafana yet",
        );
        // One after the other: services that are named together wait for each other all the same.
        self.stack.up(&["--no-deps", "sweeper"])?;
        self.stack.up(&["--no-deps", "coordinator"])?;
        for sweeper in self.stack.containers("sweeper")? {
            eventually(PATIENCE, "a sweeper to say that its store does not answer", || {
                let said = exec(&sweeper, &["sh", "-c", "sweeper ready || true"])?;
                Ok(said.contains("does not answer").then_some(()))
            })?;
        }
        let coordinator = self.stack.container("coordinator")?;
        ensure!(status(&coordinator)? == "running", "the coordinator did not wait: {}", logs(&coordinator)?);
        self.timeline.say("waiting", "all three", "they run, and say that the store does not answer");

        self.stack.up(&["--no-deps", "redis"])?;
        self.timeline.say("start", "redis", "with a password, and AOF");
        self.all_healthy("redis")?;
        self.all_healthy("sweeper")?;
        eventually(PATIENCE, "the agents to register", || {
            Ok((self.living()?.len() == plan::AGENTS + 1).then_some(()))
        })?;
        self.timeline.say(
            "at work",
            "coordinator",
            &format!("and {} agents, as soon as the store is there", plan::AGENTS),
        );
        Ok(())
    }

    /// Monitoring starts after the work has begun, and a third sweeper with it.
    pub(crate) fn monitoring_and_a_third_sweeper(&self) -> Result<()> {
        self.stack.up(&["--no-deps", "prometheus", "grafana"])?;
        self.timeline.say("start", "prometheus", "and grafana");
        self.stack.up(&["--no-deps", "--scale", "sweeper=3", "sweeper"])?;
        self.all_healthy("sweeper")?;
        ensure!(self.stack.containers("sweeper")?.len() == 3, "--scale sweeper=3 did not make three");
        self.timeline.say("scaled", "sweeper ×3", "all healthy");
        Ok(())
    }

    /// SIGKILL to an agent's supervisor in the middle of a task. Returns its id.
    pub(crate) fn an_agent_is_killed(&self) -> Result<String> {
        let coordinator = self.stack.container("coordinator")?;
        let victim = eventually(PATIENCE, "an agent in the middle of a task", || {
            let at_work = |row: &Value| row["progress"].as_str().is_some_and(|what| what.contains("work-"));
            Ok(self.fleet()?.into_iter().find(|row| row["state"] == "busy" && at_work(row)))
        })?;
        let text = |name: &str| victim[name].as_str().unwrap_or_default().to_string();
        let (agent, life) = (text("agentId"), text("incarnation"));
        let pid = victim["pid"].as_u64().context("an agent without a pid")?;
        // Everything a command starts has the token of its agent in the environment.
        let left = || -> Result<usize> {
            let search =
                format!("grep -l 'LIFECYCLE_TOKEN={agent}:{life}' /proc/[0-9]*/environ 2>/dev/null || true");
            Ok(exec(&coordinator, &["sh", "-c", &search])?.lines().count())
        };
        ensure!(left()? > 0, "{agent} has started nothing that could be left behind");
        exec(&coordinator, &["sh", "-c", &format!("kill -9 {pid}")])?;
        self.timeline.say("kill -9", &agent, &format!("supervisor {pid}, in the coordinator's container"));
        eventually(PATIENCE, "the dead agent to be cleaned up", || {
            Ok(self.cleanups()?.iter().any(|(reaped, _)| *reaped == agent).then_some(()))
        })?;
        eventually(PATIENCE, "the dead agent's processes to be ended", || Ok((left()? == 0).then_some(())))?;
        self.timeline.say("ended", &agent, "none of the processes it had started is left");
        self.everybody_lives()?;
        self.timeline.say("restarted", &agent, "a new life of the same id");
        Ok(agent)
    }

    /// SIGKILL to everything in a sweeper's container but its init process.
    pub(crate) fn a_sweeper_is_killed(&self) -> Result<()> {
        let sweeper = self.stack.containers("sweeper")?.swap_remove(0);
        // `kill -9 -1` spares the shell itself, whose exit code depends on how the container ends.
        let _ = exec(&sweeper, &["sh", "-c", "kill -9 -1"]);
        self.timeline.say("kill -9", "sweeper 1", "the whole container");
        eventually(PATIENCE, "the killed sweeper to be restarted", || {
            let restarted = inspect(&sweeper, "{{.RestartCount}}")? != "0";
            Ok((restarted && health(&sweeper)? == "healthy").then_some(()))
        })?;
        self.timeline.say("restarted", "sweeper 1", "by the engine, and healthy");
        Ok(())
    }

    /// With a wrong password a sweeper says so once and goes on, and a coordinator says so and ends.
    pub(crate) fn a_wrong_password(&self) -> Result<MisconfiguredSweeper> {
        let wrong = ["run", "--no-deps", "-e", "LIFECYCLE_REDIS__PASSWORD=wrong"];
        let started = self.stack.run(&[&wrong[..], &["--detach", "sweeper"]].concat())?;
        let container = started.lines().last().context("`run` named no container")?.trim().to_string();
        let refused = self.stack.run(&[&wrong[..], &["--rm", "-T", "coordinator"]].concat());
        let refusal = refused.err().context("a coordinator with a wrong password ended well")?.to_string();
        ensure!(
            refusal.matches("error: ").count() == 1 && refusal.contains("WRONGPASS"),
            "a coordinator with a wrong password should say so in one line: {refusal}"
        );
        eventually(PATIENCE, "the sweeper to say that its password is wrong", || {
            Ok(logs(&container)?.contains("WRONGPASS").then_some(()))
        })?;
        self.timeline.say("refused", "a coordinator", "with a wrong password: one line, and it ends");
        self.timeline.say("refused", "a sweeper", "with a wrong password: one line, and it goes on trying");
        Ok(MisconfiguredSweeper { container })
    }

    /// The store stands still for longer than a lease.
    pub(crate) fn the_store_is_paused(&self) -> Result<()> {
        let redis = self.stack.container("redis")?;
        let pause = LEASE + Duration::from_secs(2);
        output(docker(["pause", &redis]))?;
        self.timeline.say(
            "paused",
            "redis",
            &format!("for {} s; a lease is {} s", pause.as_secs(), LEASE.as_secs()),
        );
        // The passing of time is the fault itself: every lease must end.
        thread::sleep(pause);
        output(docker(["unpause", &redis]))?;
        let begun = Instant::now();
        self.everybody_lives()?;
        let took = begun.elapsed().as_secs_f64();
        self.timeline.say("unpaused", "redis", &format!("all leases run again after {took:.1} s"));
        Ok(())
    }

    /// The coordinator's container, with all agents in it, loses its network until the sweepers hold.
    pub(crate) fn a_container_is_cut_off(&self) -> Result<()> {
        let coordinator = self.stack.container("coordinator")?;
        let network = self.stack.network("lifecycle");
        eventually(PATIENCE, "the sweepers to have got over the pause", || {
            Ok((!self.is_held()?).then_some(()))
        })?;
        output(docker(["network", "disconnect", &network, &coordinator]))?;
        self.timeline.say("cut off", "coordinator", "and every agent with it: nobody in the fleet beats");
        eventually(PATIENCE, "the sweepers to hold instead of reaping", || {
            Ok(self.is_held()?.then_some(()))
        })?;
        output(docker(["network", "connect", &network, &coordinator]))?;
        self.timeline.say("healed", "coordinator", "");
        self.everybody_lives()?;
        eventually(PATIENCE, "the sweepers to let go", || Ok((!self.is_held()?).then_some(())))?;
        self.timeline.say("alive", "all agents", "nobody was reaped");
        Ok(())
    }

    /// The waiting tasks end, and the last ones begin.
    pub(crate) fn let_the_last_tasks_begin(&self) -> Result<()> {
        let coordinator = self.stack.container("coordinator")?;
        exec(&coordinator, &["touch", plan::FINISH_FILE])?;
        self.timeline.say("curtain", "", "the last tasks begin");
        eventually(PATIENCE, "the sprint to end", || Ok((status(&coordinator)? == "exited").then_some(())))
    }

    /// Whether the sweepers hold.
    fn is_held(&self) -> Result<bool> {
        let said = self.ask(&["hold"])?;
        Ok(said["held"] == true)
    }

    fn everybody_lives(&self) -> Result<()> {
        eventually(PATIENCE, "the coordinator and all agents to be alive", || {
            Ok((self.living()?.len() == plan::AGENTS + 1).then_some(()))
        })
    }

    fn living(&self) -> Result<BTreeSet<String>> {
        let id = |row: &Value| row["agentId"].as_str().map(str::to_string);
        Ok(self.fleet()?.iter().filter(|row| row["alive"] == true).filter_map(id).collect())
    }

    fn fleet(&self) -> Result<Vec<Value>> {
        Ok(self.ask(&["ps"])?["agents"].as_array().cloned().unwrap_or_default())
    }

    /// Who was reaped and why, as the audit log has it.
    pub(crate) fn cleanups(&self) -> Result<BTreeSet<(String, String)>> {
        let entries = self.operator(&["events", "--count", "10000", "--output", "json"])?;
        let entries = entries.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_string();
        let cleanups = entries.filter(|entry| entry["type"] == "cleanup");
        Ok(cleanups.map(|entry| (text(&entry, "agentId"), text(&entry, "reason"))).collect())
    }

    /// What `lifecyclectl` answers as JSON; null while the store does not answer.
    fn ask(&self, question: &[&str]) -> Result<Value> {
        let said = self.operator(&[question, &["--output", "json"]].concat());
        Ok(said.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Runs `lifecyclectl` in the container of the last sweeper, which no fault hits.
    pub(crate) fn operator(&self, command: &[&str]) -> Result<String> {
        let sweeper = self.stack.containers("sweeper")?.pop().context("no sweeper")?;
        exec(&sweeper, &[&["lifecyclectl"], command].concat())
    }

    /// Waits until every container of a service is healthy.
    pub(crate) fn all_healthy(&self, service: &str) -> Result<()> {
        for container in self.stack.containers(service)? {
            let healthy = eventually(PATIENCE, &format!("{service} to be healthy"), || {
                Ok((health(&container)? == "healthy").then_some(()))
            });
            healthy.with_context(|| format!("its last words: {}", last_lines(&container)))?;
        }
        Ok(())
    }
}

/// What a container said last, for errors.
pub(crate) fn last_lines(container: &str) -> String {
    let said = logs(container).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
