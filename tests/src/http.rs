//! Pages of a server on this machine: where a sweeper serves them, and GET.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ureq::Agent;

use crate::process::Role;

/// The address that a `sweeper run` says it serves.
///
/// # Errors
/// When it does not say so within `timeout`.
pub fn address(sweeper: &Role, timeout: Duration) -> Result<String> {
    let line = sweeper.wait_for_line(|line| line.contains("http="), timeout)?;
    let address = line.split("http=").nth(1).and_then(|rest| rest.split_whitespace().next());
    address.map(str::to_owned).context("a sweeper does not say where it listens")
}

/// Status and body.
///
/// # Errors
/// When `address` (`127.0.0.1:9464`) does not answer within `timeout`, or not in HTTP and UTF-8.
pub fn get(address: &str, path: &str, timeout: Duration) -> Result<(u16, String)> {
    query(address, path, &[], timeout)
}

/// The same with query parameters, which are escaped here.
///
/// # Errors
/// As [`get`].
pub fn query(
    address: &str,
    path: &str,
    parameters: &[(&str, &str)],
    timeout: Duration,
) -> Result<(u16, String)> {
    // A proxy that the environment names is not for servers on this machine.
    let config =
        Agent::config_builder().proxy(None).http_status_as_error(false).timeout_global(Some(timeout));
    let agent = Agent::new_with_config(config.build());
    let request = agent.get(format!("http://{address}{path}")).query_pairs(parameters.iter().copied());
    let mut answer = request.call().with_context(|| format!("{address} does not answer"))?;
    let body = answer.body_mut().read_to_string();
    let body = body.with_context(|| format!("{address} did not finish its answer"))?;
    Ok((answer.status().as_u16(), body))
}
