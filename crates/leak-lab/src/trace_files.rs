//! The generated days as files that `lifecyclectl memory judge` reads.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use lifecycle_core::memory::trace::COLUMNS;

use crate::labelled_days::{AgentDay, Reading, TICK_MS};

/// When a written trace begins. Any time will do.
pub(crate) const START_MS: u64 = 1_700_006_400_000;

/// Writes one file with all of these agents, in order of time.
pub(crate) fn write(folder: &Path, name: &str, days: &[AgentDay]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let path = folder.join(format!("{name}.csv"));
    let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut out = BufWriter::new(file);
    writeln!(out, "{}", COLUMNS.join(","))?;
    let ticks = days.iter().map(|day| day.readings.len()).max().unwrap_or(0);
    for tick in 0..ticks {
        let at = START_MS + tick as u64 * TICK_MS;
        for day in days {
            let rss = match day.readings.get(tick) {
                Some(Reading::Rss(rss)) => rss.to_string(),
                Some(Reading::Restart) => String::new(),
                Some(Reading::Missing) | None => continue,
            };
            let limit = day.limit.map_or(String::new(), |limit| limit.to_string());
            writeln!(out, "{at},{},{},{rss},{limit}", day.id, day.kind)?;
        }
    }
    out.flush().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use lifecycle_tests::role_binary;

    use super::*;
    use crate::detection_rules::product_verdicts;
    use crate::labelled_days::{GroupSpec, KindGrouping};
    use crate::workload::Class;

    #[test]
    fn the_command_judges_a_written_trace_as_the_evaluation_does() {
        let folder = std::env::temp_dir().join(format!("leak-lab-{}", std::process::id()));
        let group = GroupSpec { class: Class::Mixture, leaking: true, seed: 7 };
        let days = group.generate(KindGrouping::Program);
        write(&folder, "day", &days).unwrap();
        let mut lifecyclectl = Command::new(role_binary("lifecyclectl").unwrap());
        let output = lifecyclectl.args(["memory", "judge"]).arg(folder.join("day.csv")).output().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let mut said: Vec<(u64, String, String)> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|alert| {
                let word = |name: &str| alert[name].as_str().unwrap().to_owned();
                (alert["timestampMs"].as_u64().unwrap() - START_MS, word("agentId"), word("verdict"))
            })
            .collect();
        let mut here: Vec<_> = days
            .iter()
            .zip(product_verdicts(&days, 1))
            .flat_map(|(day, verdicts)| {
                verdicts
                    .into_iter()
                    .map(|verdict| (verdict.at.as_ms(), day.id.clone(), verdict.finding.as_str().to_owned()))
            })
            .collect();
        said.sort();
        here.sort();
        assert!(!here.is_empty(), "this trace has leaks");
        assert_eq!(said, here, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
