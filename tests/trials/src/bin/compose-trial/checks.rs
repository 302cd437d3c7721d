//! The checks at the end of the trial.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lifecycle_tests::command::output;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::http;
use serde_json::Value;

use crate::engine::{docker, inspect, logs, status};
use crate::faults::{FaultInjector, MisconfiguredSweeper};
use crate::plan;

/// Prometheus finds a new sweeper at its next DNS lookup (every 30 s) and scrapes it after that.
const SCRAPED: Duration = Duration::from_secs(90);
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
const SERVICES: [&str; 5] = ["redis", "sweeper", "coordinator", "prometheus", "grafana"];

/// What the checks need to know of the run.
pub(crate) struct FinalChecks<'a> {
    pub(crate) faults: &'a FaultInjector<'a>,
    /// The agent that was killed.
    pub(crate) killed: String,
    pub(crate) misconfigured: MisconfiguredSweeper,
    pub(crate) password: &'a str,
    pub(crate) prometheus: u16,
    pub(crate) grafana: u16,
    /// Where files of the run may go.
    pub(crate) folder: &'a Path,
}

impl FinalChecks<'_> {
    /// Makes every check and prints it.
    ///
    /// # Errors
    /// When any did not hold.
    pub(crate) fn run(&self) -> Result<()> {
        type Check<'a> = (&'static str, fn(&FinalChecks<'a>) -> Result<String>);
        let checks: [Check<'_>; 10] = [
            ("every task completed exactly once in the record", Self::tasks_in_the_record),
            ("every task came to its end exactly once", Self::tasks_in_their_output),
            ("the killed agent was reaped, and nobody else", Self::cleanups),
            ("no key is left without a living owner", Self::residue),
            ("every sweeper is scraped by Prometheus", Self::scraped),
            ("Grafana answers on the port of this machine", Self::dashboard),
            ("a wrong password is one line, and no daemon dies of it", Self::wrong_password),
            ("the password stands in no command line", Self::password_is_not_shown),
            ("no service was restarted but the killed one", Self::restarts),
            ("the sweepers stop cleanly", Self::sweepers_stop),
        ];
        let mut failed = 0;
        for (promise, check) in checks {
            let (word, detail) = match check(self) {
                Ok(detail) => ("ok    ", detail),
                Err(error) => {
                    failed += 1;
                    ("FAILED", format!("{error:#}"))
                }
            };
            println!("  {word}  {promise:56} {detail}");
        }
        if failed > 0 {
            bail!("not all of it held");
        }
        Ok(())
    }

    fn tasks_in_the_record(&self) -> Result<String> {
        let coordinator = self.faults.stack.container("coordinator")?;
        let said = logs(&coordinator)?;
        let all = plan::tasks().len();
        let total = format!("{}: {all} of {all} tasks completed", plan::EPIC);
        let line = said.lines().find(|line| line.starts_with(&total));
        let code = inspect(&coordinator, "{{.State.ExitCode}}")?;
        match line {
            Some(line) if code == "0" => Ok(line.to_string()),
            _ => bail!("the coordinator ended with {code} and said: {said}"),
        }
    }

    /// Counted in the tasks' own output: each prints its last word once when it ends.
    fn tasks_in_their_output(&self) -> Result<String> {
        let coordinator = self.faults.stack.container("coordinator")?;
        let copied = self.folder.join("runs");
        if copied.exists() {
            fs::remove_dir_all(&copied)?;
        }
        let source = format!("{coordinator}:/runs/{}/{}", plan::EPIC, plan::SPRINT);
        let mut copy = docker(["cp", &source]);
        copy.arg(&copied);
        output(copy)?;
        let mut tried_again = 0;
        for task in plan::tasks() {
            let text = fs::read_to_string(copied.join(format!("{task}.log")))
                .with_context(|| format!("{task} wrote nothing"))?;
            let ends = text.lines().filter(|line| *line == plan::LAST_WORD).count();
            if ends != 1 {
                bail!("{task} came to its end {ends} times: {text}");
            }
            tried_again += u32::from(text.contains("--- attempt"));
        }
        Ok(format!("{} of them, {tried_again} tried again", plan::tasks().len()))
    }

    fn cleanups(&self) -> Result<String> {
        let reaped = self.faults.cleanups()?;
        let wanted = BTreeSet::from([(self.killed.clone(), "process_exited".to_string())]);
        if reaped != wanted {
            bail!("reaped: {reaped:?}");
        }
        Ok(format!("{}, on proof of its exit", self.killed))
    }

    fn residue(&self) -> Result<String> {
        Ok(self.faults.operator(&["verify"])?.trim().replace('\n', "; "))
    }

    fn scraped(&self) -> Result<String> {
        let sweepers = self.faults.stack.containers("sweeper")?.len();
        let mut last = String::new();
        let up = eventually(SCRAPED, "every target to be up", || {
            let targets = self.targets()?;
            last = targets.join(", ");
            let up = targets.iter().filter(|target| *target == "sweeper up").count();
            Ok((up == sweepers && targets.iter().all(|target| target.ends_with(" up"))).then_some(()))
        });
        up.with_context(|| format!("its targets: {last}"))?;
        Ok(last)
    }

    /// Job and health of each target of Prometheus.
    fn targets(&self) -> Result<Vec<String>> {
        let body = page(self.prometheus, "/api/v1/targets?state=active")?;
        let answer: Value = serde_json::from_str(&body)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        Ok(targets
            .iter()
            .map(|target| format!("{} {}", text(&target["labels"]["job"]), text(&target["health"])))
            .collect())
    }

    fn dashboard(&self) -> Result<String> {
        self.faults.all_healthy("grafana")?;
        Ok(page(self.grafana, "/api/health")?.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn wrong_password(&self) -> Result<String> {
        let container = &self.misconfigured.container;
        let (lines, state) = (logs(container)?.matches("WRONGPASS").count(), status(container)?);
        if lines != 1 || state != "running" {
            bail!("{lines} lines, and it is {state}: {}", logs(container)?);
        }
        Ok("it goes on trying".into())
    }

    fn password_is_not_shown(&self) -> Result<String> {
        let mut looked_at = 0;
        for service in SERVICES {
            for container in self.faults.stack.containers(service)? {
                let mut shown =
                    inspect(&container, "{{.Path}} {{.Args}} {{.Config.Cmd}} {{.Config.Healthcheck}}")?;
                if status(&container)? == "running" {
                    shown += &output(docker(["top", &container]))?;
                }
                if shown.contains(self.password) {
                    bail!("{service}: {shown}");
                }
                looked_at += 1;
            }
        }
        Ok(format!("{looked_at} containers"))
    }

    fn restarts(&self) -> Result<String> {
        let mut restarted = Vec::new();
        for service in SERVICES {
            for (index, container) in self.faults.stack.containers(service)?.iter().enumerate() {
                let times = inspect(container, "{{.RestartCount}}")?;
                if times != "0" {
                    restarted.push(format!("{service} {} {times}×", index + 1));
                }
            }
        }
        if restarted != ["sweeper 1 1×"] {
            bail!("{restarted:?}");
        }
        Ok(restarted.join(", "))
    }

    fn sweepers_stop(&self) -> Result<String> {
        let sweepers = self.faults.stack.containers("sweeper")?;
        self.faults.stack.run(&["stop", "sweeper"])?;
        for sweeper in &sweepers {
            let code = inspect(sweeper, "{{.State.ExitCode}}")?;
            if code != "0" {
                bail!("one ended with {code}: {}", logs(sweeper)?);
            }
        }
        Ok(format!("{} of them, exit code 0", sweepers.len()))
    }
}

/// A page of a port that is published on this machine.
fn page(port: u16, path: &str) -> Result<String> {
    let (status, body) = http::get(&format!("127.0.0.1:{port}"), path, HTTP_TIMEOUT)?;
    ensure!(status == 200, "{path} answers {status}: {body}");
    Ok(body)
}
