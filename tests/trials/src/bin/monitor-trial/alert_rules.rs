//! The alert rules: their names, expressions and runbooks.
//!
//! The file is read by lines and not as YAML, because `alerts.yml` has one shape. An alert that is overlooked is noticed by
//! `live_checks.rs`, which compares the names with those that Prometheus loaded.

use std::collections::BTreeSet;

/// One rule.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AlertRule {
    pub(crate) name: String,
    pub(crate) expression: String,
    severity: String,
    summary: String,
    description: String,
    runbook: String,
}

/// The rules in the order of the file.
pub(crate) fn read(text: &str) -> Vec<AlertRule> {
    let mut alerts: Vec<AlertRule> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = indent(line);
        let Some((key, value)) = line.trim_start_matches([' ', '-']).split_once(':') else { continue };
        let mut value = value.trim().trim_matches('"').to_owned();
        if value.starts_with('|') || value.starts_with('>') {
            value.clear();
            while let Some(more) = lines.next_if(|more| more.trim().is_empty() || self::indent(more) > indent)
            {
                value.push_str(more.trim());
                value.push('\n');
            }
        }
        if key == "alert" {
            alerts.push(AlertRule { name: value, ..AlertRule::default() });
        } else if let Some(alert) = alerts.last_mut() {
            match key {
                "expr" => alert.expression = value,
                "severity" => alert.severity = value,
                "summary" => alert.summary = value,
                "description" => alert.description = value,
                "runbook_url" => alert.runbook = value,
                _ => {}
            }
        }
    }
    alerts
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// What is wrong with the rules, their runbooks (`docs/operations.md`) and their tests.
pub(crate) fn problems(alerts: &[AlertRule], runbooks: &str, tests: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let sections = sections(runbooks);
    for alert in alerts {
        let mut wrong = |what: &str| problems.push(format!("alert {} {what}", alert.name));
        let texts = [&alert.expression, &alert.severity, &alert.summary];
        if texts.iter().any(|text| text.is_empty()) {
            wrong("lacks an expression, a severity or a summary");
        }
        if !alert.description.contains("$value") {
            wrong("does not tell its value in the description");
        }
        let anchor = format!("docs/operations.md#{}", alert.name.to_lowercase());
        if alert.runbook != anchor {
            wrong(&format!("does not lead to its runbook: its runbook_url must be {anchor}"));
        }
        if !sections.contains(alert.name.as_str()) {
            wrong(&format!("has no runbook: docs/operations.md lacks the heading `### {}`", alert.name));
        }
        // Only a case that fires spells the annotations.
        if !tests.contains(&format!("runbook_url: {anchor}\n")) {
            wrong("has no test that fires it");
        }
        if tests.matches(&format!("lertname: {}", alert.name)).count() + quoted(tests, &alert.name) < 3 {
            wrong("has no test of what must not fire it, beside that of the healthy fleet");
        }
    }
    let known: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    problems.extend(sections.difference(&known).map(|name| format!("the runbook {name} is for no alert")));
    problems
}

fn quoted(tests: &str, name: &str) -> usize {
    tests.matches(&format!("alertname=\"{name}\"")).count()
}

/// The headings under `## Runbooks`.
fn sections(runbooks: &str) -> BTreeSet<&str> {
    let after = runbooks.split_once("\n## Runbooks\n").map_or("", |(_, after)| after);
    let own = after.split("\n## ").next().unwrap_or_default();
    own.lines().filter_map(|line| line.strip_prefix("### ")).map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = include_str!("../../../../../monitor/prometheus/alerts.yml");
    const TESTS: &str = include_str!("../../../../../monitor/prometheus/alerts_test.yml");
    const RUNBOOKS: &str = include_str!("../../../../../docs/operations.md");

    #[test]
    fn the_alerts_that_were_asked_for_are_there() {
        let mut names: Vec<String> = read(RULES).into_iter().map(|alert| alert.name).collect();
        names.sort();
        let expected = [
            "AgentLeaks",
            "BeatNearTtl",
            "CleanupFailures",
            "LeakSuspected",
            "MemoryGrowth",
            "NoSweeper",
            "OrphanBacklog",
            "ResidueFound",
            "StoreDown",
            "SweepHeld",
            "SweeperStalled",
        ];
        assert_eq!(names, expected);
        assert_eq!(problems(&read(RULES), RUNBOOKS, TESTS), Vec::<String>::new());
    }

    #[test]
    fn expressions_of_one_line_and_of_many_are_read_to_their_end() {
        let text =
            "- alert: A\n  expr: a > 1\n  for: 1m\n- alert: B\n  expr: |\n    b\n      unless c\n  for: 2m\n";
        let expressions: Vec<String> = read(text).into_iter().map(|alert| alert.expression).collect();
        assert_eq!(expressions, ["a > 1", "b\nunless c\n"]);
    }

    #[test]
    fn an_alert_without_runbook_or_test_and_a_runbook_without_alert_are_named() {
        let rules = RULES.replace("alert: StoreDown", "alert: StoreGone");
        let said = problems(&read(&rules), RUNBOOKS, TESTS).join("\n");
        for expected in [
            "alert StoreGone does not lead to its runbook",
            "docs/operations.md lacks the heading `### StoreGone`",
            "alert StoreGone has no test that fires it",
            "alert StoreGone has no test of what must not",
            "the runbook StoreDown is for no alert",
        ] {
            assert!(said.contains(expected), "{expected} is not in:\n{said}");
        }
    }
}
