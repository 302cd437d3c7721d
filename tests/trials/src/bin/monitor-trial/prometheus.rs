//! A private Prometheus with the shipped configuration. Only its targets and its intervals differ.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::http;
use lifecycle_tests::process::Role;
use serde_json::Value;

use crate::shipped_files::prometheus_folder;

const START_DEADLINE: Duration = Duration::from_secs(30);
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// Where the shipped configuration looks for Prometheus itself.
const OWN_ADDRESS: &str = "localhost:9090";

/// A running Prometheus. It ends when dropped, and its data is removed.
#[derive(Debug)]
pub(crate) struct Prometheus {
    role: Role,
    address: String,
    folder: PathBuf,
}

impl Prometheus {
    /// Starts it in `folder`, which must not matter to anybody, for sweepers at these addresses.
    ///
    /// # Errors
    /// When it does not start; with what it said.
    pub(crate) fn start(program: &Path, folder: PathBuf, sweepers: &[String]) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let shipped = prometheus_folder();
        fs::copy(shipped.join("alerts.yml"), folder.join("alerts.yml"))?;
        // If another program takes the port before Prometheus does, Prometheus does not start and says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = derived(&fs::read_to_string(shipped.join("prometheus.yml"))?, sweepers, &address)?;
        fs::write(folder.join("prometheus.yml"), config)?;
        let role = Role::program("prometheus", program)
            .in_folder(&folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .spawn()?;
        let mut prometheus = Self { role, address, folder };
        eventually(START_DEADLINE, "Prometheus to be ready", || {
            if !prometheus.role.is_running()? {
                bail!("Prometheus ended: {}", prometheus.role.stderr());
            }
            let ready = http::get(&prometheus.address, "/-/ready", HTTP_TIMEOUT);
            let ready = ready.is_ok_and(|(status, _)| status == 200);
            Ok(ready.then_some(()))
        })?;
        Ok(prometheus)
    }

    /// How many series an expression has now. A scalar is one.
    ///
    /// # Errors
    /// When the expression is refused, with the reason.
    pub(crate) fn count_series(&self, expression: &str) -> Result<usize> {
        series(&self.ask("query", &[("query", expression)])?)
    }

    /// The alert rules it has loaded, as JSON objects.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn rules(&self) -> Result<Vec<Value>> {
        let data = self.ask("rules", &[("type", "alert")])?;
        let groups = data["groups"].as_array().into_iter().flatten();
        Ok(groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }

    fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let path = format!("/api/v1/{what}");
        let (status, body) = http::query(&self.address, &path, parameters, HTTP_TIMEOUT)?;
        let answer: Value =
            serde_json::from_str(&body).with_context(|| format!("Prometheus answered {status}"))?;
        if answer["status"] != "success" {
            bail!("{}", answer["error"].as_str().unwrap_or("Prometheus refused without a reason"));
        }
        Ok(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // The role's own drop tries again. The next run removes what is left of the folder.
        let _ = self.role.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The shipped configuration, with the addresses of sweepers instead of their name and with intervals of a second.
fn derived(shipped: &str, sweepers: &[String], own: &str) -> Result<String> {
    let mut lines = shipped.lines().peekable();
    let mut text = String::new();
    let mut found = (false, false);
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let pad = &line[..indent];
        match line.trim().split(':').next().unwrap_or_default() {
            key @ ("scrape_interval" | "evaluation_interval") => {
                text.push_str(&format!("{pad}{key}: 1s\n"));
                found.0 = true;
            }
            "dns_sd_configs" => {
                while lines.next_if(|more| more.len() - more.trim_start().len() > indent).is_some() {}
                text.push_str(&format!(
                    "{pad}static_configs:\n{pad}  - targets: [{}]\n",
                    sweepers.join(", ")
                ));
                found.1 = true;
            }
            _ => text.push_str(&format!("{}\n", line.replace(OWN_ADDRESS, own))),
        }
    }
    if found != (true, true) {
        bail!(
            "monitor/prometheus/prometheus.yml has no intervals or no dns_sd_configs to put the check's own in the place of"
        );
    }
    Ok(text)
}

fn series(data: &Value) -> Result<usize> {
    if data["resultType"] == "scalar" {
        return Ok(1);
    }
    Ok(data["result"].as_array().context("an answer without results")?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_keeps_everything_but_targets_and_pace() {
        let shipped = include_str!("../../../../../monitor/prometheus/prometheus.yml");
        let own = derived(shipped, &["127.0.0.1:1".into(), "127.0.0.1:2".into()], "127.0.0.1:3").unwrap();
        assert!(own.contains("scrape_interval: 1s\n") && own.contains("evaluation_interval: 1s\n"), "{own}");
        assert!(
            own.contains("    static_configs:\n      - targets: [127.0.0.1:1, 127.0.0.1:2]\n\n"),
            "{own}"
        );
        assert!(own.contains("job_name: sweeper\n") && own.contains("  - alerts.yml\n"), "{own}");
        assert!(own.contains("targets: [127.0.0.1:3]"), "{own}");
        assert!(!own.contains("dns") && !own.contains("refresh"), "{own}");
        assert!(derived("global:\n", &[], "").is_err());
    }

    #[test]
    fn a_scalar_is_one_series_and_a_vector_may_be_empty() {
        let count = |data: &Value| series(data).unwrap();
        assert_eq!(count(&serde_json::json!({ "resultType": "scalar", "result": [1, "2"] })), 1);
        assert_eq!(count(&serde_json::json!({ "resultType": "vector", "result": [] })), 0);
        let one = serde_json::json!([{ "metric": { "a": "b" }, "value": [1.5, "+Inf"] }]);
        assert_eq!(count(&serde_json::json!({ "resultType": "vector", "result": one })), 1);
        assert!(series(&serde_json::json!({ "resultType": "vector" })).is_err());
    }
}
