//! The tables: what each judge found and what it cried over for nothing.

use serde_json::{Value, json};

use super::interval;
use super::judges::Judge;
use super::outcome::{BANDS, Outcome};
use super::record::Recorded;

/// Leaks from this rate on, in MiB/h, must be found at the first and soon at the second.
const FOUND_FROM: f64 = 200.0;
const SOON_FROM: f64 = 1_228.8;
const SLOW: (f64, f64) = (60.0, 200.0);

/// A figure, its interval and what it should be.
pub(super) struct Target {
    name: &'static str,
    figure: f64,
    interval: (f64, f64),
    wanted: f64,
    at_most: bool,
}

impl Target {
    pub(super) fn met(&self) -> bool {
        if self.at_most { self.figure <= self.wanted } else { self.figure >= self.wanted }
    }
}

/// What the detector should reach.
pub(super) fn targets(outcome: &Outcome) -> [Target; 4] {
    let share = |from: f64, to: f64| {
        let (hits, of) = outcome.recall(from, to);
        (hits as f64 / of.max(1) as f64, interval::share(hits, of))
    };
    let (fast, fast_interval) = share(FOUND_FROM, f64::INFINITY);
    let (slow, slow_interval) = share(SLOW.0, SLOW.1);
    let never = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    let delay = interval::median(&mut outcome.delays(SOON_FROM, f64::INFINITY)).unwrap_or(never);
    let least = |name, figure, interval, wanted| Target { name, figure, interval, wanted, at_most: false };
    let most = |name, figure, interval, wanted| Target { name, figure, interval, wanted, at_most: true };
    [
        most("false alarms per agent-day", outcome.all_clean().rate(), false_alarms(outcome), 0.02),
        least("recall from 200 MB/h", fast, fast_interval, 0.95),
        least("recall at 60-200 MB/h", slow, slow_interval, 0.90),
        most("median delay from 1.2 GB/h, min", delay.0, (delay.1, delay.2), 15.0),
    ]
}

/// The wider of the two intervals: alerts that come by themselves, and alerts that come in groups.
fn false_alarms(outcome: &Outcome) -> (f64, f64) {
    let clean = outcome.all_clean();
    let (low, high) = interval::events(clean.alerts);
    let grouped = interval::of_groups(&outcome.groups);
    ((low / clean.days).min(grouped.0), (high / clean.days).max(grouped.1))
}

/// All of it as text for people.
pub(super) fn text(outcomes: &[(Judge, Outcome)], recorded: &[Recorded]) -> String {
    let mut lines = vec![String::new(), "False alarms per agent-day [95 %]".into()];
    lines.push(row("", outcomes, |(judge, _)| judge.name().into()));
    if let Some((_, first)) = outcomes.first() {
        for class in first.clean.keys() {
            lines.push(row(class.name(), outcomes, |(_, outcome)| {
                let clean = outcome.clean.get(class).copied().unwrap_or_default();
                let (low, high) = interval::events(clean.alerts);
                span(clean.rate(), (low / clean.days, high / clean.days))
            }));
        }
    }
    lines.push(row("all", outcomes, |(_, outcome)| span(outcome.all_clean().rate(), false_alarms(outcome))));
    lines.extend([String::new(), "Leaks found: recall [95 %]".into()]);
    for (from, to, name) in BANDS {
        lines.push(row(name, outcomes, |(_, outcome)| {
            let (hits, of) = outcome.recall(from, to);
            span(hits as f64 / of.max(1) as f64, interval::share(hits, of))
        }));
    }
    lines
        .extend([String::new(), "Median delay in minutes, those never found counted as never [95 %]".into()]);
    for (from, to, name) in BANDS {
        lines.push(row(name, outcomes, |(_, outcome)| {
            let median = interval::median(&mut outcome.delays(from, to));
            median.map_or("-".into(), |(middle, low, high)| span(middle, (low, high)))
        }));
    }
    lines.extend(real(recorded));
    if let Some((_, detector)) = outcomes.first() {
        lines.extend([String::new(), "Targets".into()]);
        lines.extend(targets(detector).iter().map(Target::line));
    }
    lines.join("\n")
}

fn row(name: &str, outcomes: &[(Judge, Outcome)], cell: impl Fn(&(Judge, Outcome)) -> String) -> String {
    let cells = outcomes.iter().map(|outcome| format!("{:>26}", cell(outcome)));
    format!("  {name:<14}{}", cells.collect::<String>()).trim_end().to_owned()
}

fn span(figure: f64, (low, high): (f64, f64)) -> String {
    format!("{} [{}, {}]", short(figure), short(low), short(high))
}

/// Three figures or so.
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

fn real(recorded: &[Recorded]) -> Vec<String> {
    let mut lines = Vec::new();
    if !recorded.is_empty() {
        lines.extend([String::new(), "Real processes (50 ms recorded as one minute)".into()]);
    }
    for process in recorded {
        lines.push(format!("  {:<34}{}", process.name, process.said()));
    }
    lines
}

/// The same for programs.
pub(super) fn json(outcomes: &[(Judge, Outcome)], recorded: &[Recorded]) -> Value {
    let judges = outcomes.iter().map(|(judge, outcome)| {
        let clean = outcome.all_clean();
        let classes: serde_json::Map<String, Value> = outcome
            .clean
            .iter()
            .map(|(class, clean)| (class.name().to_owned(), json!(clean.rate())))
            .collect();
        let bands: Vec<Value> =
            BANDS.iter().map(|(from, to, name)| band(outcome, *from, *to, name)).collect();
        json!({
            "judge": judge.name(), "cleanAgentDays": clean.days, "falseAlarms": clean.alerts,
            "falseAlarmsPerAgentDay": clean.rate(), "interval": false_alarms(outcome),
            "falseAlarmsByClass": classes, "leaks": bands,
        })
    });
    let targets = outcomes.first().map(|(_, detector)| {
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
    json!({ "judges": judges.collect::<Vec<_>>(), "real": real, "targets": targets.map(Vec::from) })
}

fn band(outcome: &Outcome, from: f64, to: f64, name: &str) -> Value {
    let (hits, of) = outcome.recall(from, to);
    let median = interval::median(&mut outcome.delays(from, to)).map(
        |(middle, low, high)| json!({ "minutes": finite(middle), "interval": [finite(low), finite(high)] }),
    );
    json!({ "rate": name, "leaks": of, "found": hits, "interval": interval::share(hits, of), "medianDelay": median })
}

/// JSON knows no infinity; null is "never".
fn finite(figure: f64) -> Option<f64> {
    figure.is_finite().then_some(figure)
}
