//! A private Prometheus with the shipped configuration: its targets and its pace are the only things changed.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::process::Role;
use serde_json::Value;

use crate::http;
use crate::monitor_check::shipped::prometheus_folder;

const START_DEADLINE: Duration = Duration::from_secs(30);
/// Where the shipped configuration looks for Prometheus itself.
const OWN_ADDRESS: &str = "localhost:9090";

/// A running one; gone with its data when dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    role: Role,
    address: String,
    folder: PathBuf,
}

/// Seconds since 1970, and the value then.
pub(crate) type Point = (f64, f64);

/// One line of a graph: its labels and its points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) points: Vec<Point>,
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
        // Somebody could take the port between here and there; then it does not start, and says so.
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
            let ready = http::get(&prometheus.address, "/-/ready").is_ok_and(|(status, _)| status == 200);
            Ok(ready.then_some(()))
        })?;
        Ok(prometheus)
    }

    /// The value of an expression now; a scalar is a series of its own.
    ///
    /// # Errors
    /// When the expression is refused, with the reason.
    pub(crate) fn now(&self, expression: &str) -> Result<Vec<Series>> {
        series(&self.ask(&format!("query?query={}", http::escaped(expression)))?)
    }

    /// Its values between two instants, a second apart.
    ///
    /// # Errors
    /// As [`now`](Self::now).
    pub(crate) fn range(&self, expression: &str, from: f64, to: f64) -> Result<Vec<Series>> {
        let query = http::escaped(expression);
        series(&self.ask(&format!("query_range?query={query}&start={from}&end={to}&step=1"))?)
    }

    /// The alert rules it has loaded, as JSON objects.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn rules(&self) -> Result<Vec<Value>> {
        let data = self.ask("rules?type=alert")?;
        let groups = data["groups"].as_array().into_iter().flatten();
        Ok(groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let (status, body) = http::get(&self.address, &format!("/api/v1/{path}"))?;
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
        // A second try follows with the role's own end; what is left of the folder goes with the next run.
        let _ = self.role.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The shipped configuration with sweepers by address instead of by name, and once a second.
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

fn series(data: &Value) -> Result<Vec<Series>> {
    let result = &data["result"];
    if data["resultType"] == "scalar" {
        return Ok(vec![Series { labels: BTreeMap::new(), points: vec![point(result)?] }]);
    }
    result.as_array().context("an answer without results")?.iter().map(one_series).collect()
}

fn one_series(json: &Value) -> Result<Series> {
    let labels = json["metric"].as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let points = match json["values"].as_array() {
        Some(values) => values.iter().map(point).collect::<Result<_>>()?,
        None => vec![point(&json["value"])?],
    };
    Ok(Series { labels: labels.collect(), points })
}

fn point(json: &Value) -> Result<Point> {
    let at = json[0].as_f64().context("a point without a time")?;
    let value = json[1].as_str().and_then(|value| value.parse().ok()).context("a point without a value")?;
    Ok((at, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_keeps_everything_but_targets_and_pace() {
        let shipped = include_str!("../../../monitor/prometheus/prometheus.yml");
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
    fn answers_of_all_kinds_are_series() {
        let vector = serde_json::json!({ "resultType": "vector", "result": [{ "metric": { "a": "b" }, "value": [1.5, "+Inf"] }] });
        let read = series(&vector).unwrap();
        assert_eq!(read[0].points, [(1.5, f64::INFINITY)]);
        assert_eq!(read[0].labels["a"], "b");
        let scalar = serde_json::json!({ "resultType": "scalar", "result": [1, "2"] });
        assert_eq!(series(&scalar).unwrap()[0].points, [(1.0, 2.0)]);
        let matrix = serde_json::json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": [[1, "2"], [2, "3"]] }] });
        assert_eq!(series(&matrix).unwrap()[0].points, [(1.0, 2.0), (2.0, 3.0)]);
    }
}
