//! `promtool`, which comes with Prometheus: the configuration, the rules and their tests, and the metrics' names.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::command::program;

use crate::shipped_files::prometheus_folder;

/// The one name promtool may complain of: the original design prescribes it.
const PRESCRIBED: &str = lifecycle_core::wire::metric::AGENT_COUNT;

/// Checks the files; what is wrong, in promtool's words.
///
/// # Errors
/// When it cannot be run.
pub(crate) fn files() -> Result<Vec<String>> {
    let checks = [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ];
    let mut problems = Vec::new();
    for args in checks {
        let mut command = program("promtool", args);
        let output =
            command.current_dir(prometheus_folder()).output().context("promtool could not be run")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            problems.push(format!("promtool {}: {}", args.join(" "), String::from_utf8_lossy(&said).trim()));
        }
    }
    Ok(problems)
}

/// What promtool finds wrong with the names and the HELP texts on these pages.
///
/// # Errors
/// When it cannot be run, or says nothing although it fails.
pub(crate) fn lint(pages: &[String]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for page in pages {
        let mut command = program("promtool", ["check", "metrics"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("promtool could not be run")?;
        // promtool reads to the end before it prints anything, so nothing can block. The pipe is closed when dropped.
        child.stdin.take().context("promtool has no input")?.write_all(page.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said.trim().is_empty() && !output.status.success() {
            bail!("promtool check metrics failed ({}) and said nothing", output.status);
        }
        problems.extend(complaints(&said));
    }
    problems.sort();
    problems.dedup();
    Ok(problems)
}

fn complaints(said: &str) -> impl Iterator<Item = String> {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| line.split(' ').next() != Some(PRESCRIBED))
        .map(|line| format!("promtool check metrics: {line}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_that_the_original_design_prescribes_is_forgiven_and_no_other() {
        let said = "agent_count_total non-counter metrics should not have \"_total\" suffix\nagent_count_totals no help text\n\n";
        assert_eq!(
            super::complaints(said).collect::<Vec<_>>(),
            ["promtool check metrics: agent_count_totals no help text"]
        );
    }
}
