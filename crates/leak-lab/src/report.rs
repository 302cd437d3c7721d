//! The report: false alarms, recall and delay of each rule, and whether the detector meets its targets.

use serde_json::{Value, json};

use crate::confidence_interval;
use crate::detection_rules::DetectionRule;
use crate::real_processes::RecordedProcess;
use crate::score::{RATE_BANDS, Score};

/// In MiB/h: leaks must be found from the first rate on and found soon from the second.
const FOUND_FROM: f64 = 200.0;
const SOON_FROM: f64 = 1_228.8;
const SLOW: (f64, f64) = (60.0, 200.0);

/// A figure with its interval, and the bound it should keep.
pub(crate) struct Target {
    name: &'static str,
    figure: f64,
    interval: (f64, f64),
    wanted: f64,
    at_most: bool,
}

impl Target {
    pub(crate) fn met(&self) -> bool {
        if self.at_most { self.figure <= self.wanted } else { self.figure >= self.wanted }
    }
}

/// The targets of the product's detector.
pub(crate) fn targets(score: &Score) -> [Target; 4] {
    let share = |from: f64, to: f64| {
        let (hits, of) = score.recall(from, to);
        (hits as f64 / of.max(1) as f64, confidence_interval::share(hits, of))
    };
    let (fast, fast_interval) = share(FOUND_FROM, f64::INFINITY);
    let (slow, slow_interval) = share(SLOW.0, SLOW.1);
    let never = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    let delay = confidence_interval::median(&mut score.delays(SOON_FROM, f64::INFINITY)).unwrap_or(never);
    let least = |name, figure, interval, wanted| Target { name, figure, interval, wanted, at_most: false };
    let most = |name, figure, interval, wanted| Target { name, figure, interval, wanted, at_most: true };
    [
        most("false alarms per agent-day", score.all_false_alarms().rate(), false_alarms(score), 0.02),
        least("recall from 200 MB/h", fast, fast_interval, 0.95),
        least("recall at 60-200 MB/h", slow, slow_interval, 0.90),
        most("median delay from 1.2 GB/h, min", delay.0, (delay.1, delay.2), 15.0),
    ]
}

/// The wider of two intervals: one as if alerts were independent, one for alerts that come in groups.
fn false_alarms(score: &Score) -> (f64, f64) {
    let clean = score.all_false_alarms();
    let (low, high) = confidence_interval::events(clean.alerts);
    let grouped = confidence_interval::of_groups(&score.groups);
    ((low / clean.days).min(grouped.0), (high / clean.days).max(grouped.1))
}

/// The report as a text for people.
pub(crate) fn text(scores: &[(DetectionRule, Score)], recorded: &[RecordedProcess]) -> String {
    let mut lines = vec![String::new(), "False alarms per agent-day [95 %]".into()];
    lines.push(row("", scores, |(rule, _)| rule.name().into()));
    if let Some((_, first)) = scores.first() {
        for class in first.false_alarms.keys() {
            lines.push(row(class.name(), scores, |(_, score)| {
                let clean = score.false_alarms.get(class).copied().unwrap_or_default();
                let (low, high) = confidence_interval::events(clean.alerts);
                span(clean.rate(), (low / clean.days, high / clean.days))
            }));
        }
    }
    lines.push(row("all", scores, |(_, score)| span(score.all_false_alarms().rate(), false_alarms(score))));
    lines.extend([String::new(), "Leaks found: recall [95 %]".into()]);
    for (from, to, name) in RATE_BANDS {
        lines.push(row(name, scores, |(_, score)| {
            let (hits, of) = score.recall(from, to);
            span(hits as f64 / of.max(1) as f64, confidence_interval::share(hits, of))
        }));
    }
    lines
        .extend([String::new(), "Median delay in minutes, those never found counted as never [95 %]".into()]);
    for (from, to, name) in RATE_BANDS {
        lines.push(row(name, scores, |(_, score)| {
            let median = confidence_interval::median(&mut score.delays(from, to));
            median.map_or("-".into(), |(middle, low, high)| span(middle, (low, high)))
        }));
    }
    lines.extend(real(recorded));
    if let Some((_, detector)) = scores.first() {
        lines.extend([String::new(), "Targets".into()]);
        lines.extend(targets(detector).iter().map(Target::line));
    }
    lines.join("\n")
}

fn row(
    name: &str,
    scores: &[(DetectionRule, Score)],
    cell: impl Fn(&(DetectionRule, Score)) -> String,
) -> String {
    let cells = scores.iter().map(|score| format!("{:>26}", cell(score)));
    format!("  {name:<14}{}", cells.collect::<String>()).trim_end().to_owned()
}

fn span(figure: f64, (low, high): (f64, f64)) -> String {
    format!("{} [{}, {}]", short(figure), short(low), short(high))
}

/// Three significant figures or so.
fn short(figure: f64) -> String {
    match figure {
        figure if figure.is_infinite() => "never".into(),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 2.0 => format!("{figure:.1}"),
        figure => format!("{figure:.3}"),
    }
}

impl Target {
    fn line(&self) -> String {
        let sign = if self.at_most { "<=" } else { ">=" };
        let met = if self.met() { "met" } else { "NOT MET" };
        let figure = span(self.figure, self.interval);
        format!("  {:<34}{figure:>26}  {sign} {:<6}{met}", self.name, self.wanted)
    }
}

fn real(recorded: &[RecordedProcess]) -> Vec<String> {
    let mut lines = Vec::new();
    if !recorded.is_empty() {
        lines.extend([String::new(), "Real processes (50 ms recorded as one minute)".into()]);
    }
    for process in recorded {
        lines.push(format!("  {:<34}{}", process.name, process.said()));
    }
    lines
}

/// The report as JSON for programs.
pub(crate) fn json(scores: &[(DetectionRule, Score)], recorded: &[RecordedProcess]) -> Value {
    let rules = scores.iter().map(|(rule, score)| {
        let clean = score.all_false_alarms();
        let classes: serde_json::Map<String, Value> = score
            .false_alarms
            .iter()
            .map(|(class, clean)| (class.name().to_owned(), json!(clean.rate())))
            .collect();
        let bands: Vec<Value> =
            RATE_BANDS.iter().map(|(from, to, name)| band(score, *from, *to, name)).collect();
        json!({
            "judge": rule.name(), "cleanAgentDays": clean.days, "falseAlarms": clean.alerts,
            "falseAlarmsPerAgentDay": clean.rate(), "interval": false_alarms(score),
            "falseAlarmsByClass": classes, "leaks": bands,
        })
    });
    let targets = scores.first().map(|(_, detector)| {
        targets(detector).map(|target| {
            json!({
                "name": target.name, "figure": finite(target.figure), "wanted": target.wanted,
                "interval": [finite(target.interval.0), finite(target.interval.1)], "met": target.met(),
            })
        })
    });
    let real: Vec<Value> = recorded
        .iter()
        .map(|process| json!({ "name": process.name, "leaks": process.leaks, "right": process.right(), "said": process.said() }))
        .collect();
    json!({ "judges": rules.collect::<Vec<_>>(), "real": real, "targets": targets.map(Vec::from) })
}

fn band(score: &Score, from: f64, to: f64, name: &str) -> Value {
    let (hits, of) = score.recall(from, to);
    let median = confidence_interval::median(&mut score.delays(from, to)).map(
        |(middle, low, high)| json!({ "minutes": finite(middle), "interval": [finite(low), finite(high)] }),
    );
    json!({ "rate": name, "leaks": of, "found": hits, "interval": confidence_interval::share(hits, of), "medianDelay": median })
}

/// JSON knows no infinity; null is "never".
fn finite(figure: f64) -> Option<f64> {
    figure.is_finite().then_some(figure)
}
