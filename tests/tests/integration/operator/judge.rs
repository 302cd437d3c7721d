//! `lifecyclectl memory judge`: recorded traces, good and bad. No store is there.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use lifecycle_tests::Role;
use serde_json::Value;

use super::{Ended, SOON, ended};

const HEADER: &str = "timestampMs,agentId,kind,rssBytes,limitBytes\n";
const MB: u64 = 1 << 20;
const START_MS: u64 = 1_700_000_000_000;
const QUIET_MINUTES: u64 = 360;

fn judge(trace: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    fs::write(&path, trace).unwrap();
    judge_file(path.to_str().unwrap())
}

fn judge_file(path: &str) -> Ended {
    let command = Role::command("lifecyclectl").unwrap().args(["memory", "judge", path]);
    // A store that cannot be: asking it would fail.
    ended(command.env("LIFECYCLE_REDIS__URL", "redis://127.0.0.1:1"))
}

fn alerts(trace: &str) -> Vec<Value> {
    let Ended { code, stdout, stderr } = judge(trace);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The one line of a trace that is refused.
fn refused(trace: &str) -> String {
    let Ended { code, stdout, stderr } = judge(trace);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// Each minute: one agent that stays, one that leaks 1.2 GB/h after six hours and one that runs to its limit then.
fn three_agents(minutes: u64) -> String {
    let mut trace = HEADER.to_owned();
    for tick in 0..minutes * 6 {
        let at = START_MS + tick * 10_000;
        let since = tick.saturating_sub(QUIET_MINUTES * 6);
        let noise = tick * 7_919 % 13 * 4_096;
        let quiet = 200 * MB + noise;
        let leaking = quiet + since * 20 * MB / 6;
        let running = (quiet + since * 150 * MB).min(4_000 * MB);
        writeln!(trace, "{at},quiet-1,coder,{quiet},").unwrap();
        writeln!(trace, "{at},leaking-1,coder,{leaking},{}", 8_192 * MB).unwrap();
        writeln!(trace, "{at},running-1,builder,{running},{}", 4_096 * MB).unwrap();
    }
    trace
}

#[test]
fn a_trace_with_a_leak_and_a_runaway_has_one_alert_of_each() {
    let alerts = alerts(&three_agents(QUIET_MINUTES + 20));
    let [runaway, leak] = alerts.as_slice() else { panic!("{alerts:?}") };
    for (alert, agent, kind, verdict) in
        [(runaway, "running-1", "builder", "runaway"), (leak, "leaking-1", "coder", "leak")]
    {
        assert_eq!(
            (alert["agentId"].as_str(), alert["kind"].as_str(), alert["verdict"].as_str()),
            (Some(agent), Some(kind), Some(verdict))
        );
        let at = alert["timestampMs"].as_u64().unwrap();
        let onset = START_MS + QUIET_MINUTES * 60_000;
        assert!((onset..onset + 15 * 60_000).contains(&at), "{alert}");
        assert!(alert["limitReachedMs"].as_u64().unwrap() > at, "{alert}");
        assert!((0.0..=1.0).contains(&alert["confidence"].as_f64().unwrap()), "{alert}");
    }
    let slope = leak["slopeBytesPerHour"].as_u64().unwrap() / MB;
    assert!((1_150..1_250).contains(&slope), "{leak}");
    let fields: Vec<&String> = leak.as_object().unwrap().keys().collect();
    assert_eq!(fields.len(), 7, "{fields:?}");
}

#[test]
fn a_restart_in_a_trace_is_no_growth() {
    let mut trace = three_agents(QUIET_MINUTES);
    let mut at = START_MS + QUIET_MINUTES * 60_000;
    for step in 0..12 {
        writeln!(trace, "{at},quiet-1,coder,,").unwrap();
        for _ in 0..60 {
            at += 10_000;
            writeln!(trace, "{at},quiet-1,coder,{},", (300 + step * 100) * MB).unwrap();
        }
    }
    assert_eq!(alerts(&trace), Vec::<Value>::new());
}

#[test]
fn a_bad_trace_is_refused_by_the_number_of_its_line() {
    let row = |rest: &str| format!("{HEADER}5,a,k,1,\n{rest}\n");
    for (trace, words) in [
        (row("6,a,k,many,"), ["line 3", "rssBytes", "many"]),
        (row("6,a,k,-1,"), ["line 3", "rssBytes", "-1"]),
        (row("6,a,k"), ["line 3", "3 fields", "5"]),
        (row("6,,k,1,"), ["line 3", "agentId", "empty"]),
        (row(",a,k,1,"), ["line 3", "timestampMs", "empty"]),
        (row("4,a,k,1,"), ["line 3", "goes back", "from 5 to 4"]),
        (row("\n6,a,k,1,"), ["line 4", "blank line", "before"]),
        ("timestampMs,agentId,rssBytes\n1,a,1\n".to_owned(), ["line 1", "no column", "kind"]),
        ("1,a,k,5\n2,a,k,5\n".to_owned(), ["line 1", "no column", "timestampMs"]),
        (String::new(), ["line 1", "no header", "empty"]),
        (format!("{HEADER}{}", "9".repeat(100_000)), ["line 2", "longer", "65536"]),
    ] {
        let error = refused(&trace);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
}

#[test]
fn what_is_no_trace_at_all_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    for path in [path.to_str().unwrap(), folder.path().to_str().unwrap()] {
        let Ended { code, stdout, stderr } = judge_file(path);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
        assert!(stderr.contains(path), "{stderr}");
    }
    fs::write(&path, [HEADER.as_bytes(), b"5,a\xff,k,1,\n"].concat()).unwrap();
    let Ended { code, stderr, .. } = judge_file(path.to_str().unwrap());
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("line 2: it is no UTF-8"), "{stderr}");
}

#[test]
fn alerts_before_a_bad_line_have_been_given() {
    let Ended { code, stdout, stderr } = judge(&format!("{}rubbish\n", three_agents(QUIET_MINUTES + 20)));
    assert_eq!((code, stdout.lines().count()), (Some(2), 2), "{stderr}");
    assert!(stderr.contains(&format!("line {}", (QUIET_MINUTES + 20) * 6 * 3 + 2)), "{stderr}");
}

#[test]
fn windows_line_ends_a_byte_order_mark_and_blank_lines_at_the_end_change_nothing() {
    let plain = three_agents(QUIET_MINUTES + 20);
    let windows = format!("\u{feff}{}\r\n\r\n", plain.replace('\n', "\r\n"));
    assert_eq!(alerts(&windows), alerts(&plain));
    assert_eq!(alerts(plain.trim_end()), alerts(&plain), "without an end of the last line");
    assert_eq!(alerts(HEADER), Vec::<Value>::new());
}

#[test]
fn a_trace_comes_from_standard_input_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    fs::write(&path, three_agents(QUIET_MINUTES + 20)).unwrap();
    let shell = Role::program("sh", std::path::Path::new("/bin/sh"));
    let command = shell.args(["-c", "\"$CTL\" memory judge - < \"$TRACE\""]);
    let command = command.env("CTL", lifecycle_tests::role_binary("lifecyclectl").unwrap());
    let Ended { code, stdout, stderr } = ended(command.env("TRACE", &path));
    assert_eq!((code, stdout.lines().count()), (Some(0), 2), "{stderr}");
}

#[test]
fn a_million_samples_are_judged_while_one_waits() {
    let mut trace = HEADER.to_owned();
    for tick in 0..10_000_u64 {
        for agent in 0..100 {
            let rss = (200 + agent + tick * 7_919 % 31) * MB;
            writeln!(trace, "{},agent-{agent},coder,{rss},", START_MS + tick * 10_000).unwrap();
        }
    }
    let begin = Instant::now();
    assert_eq!(alerts(&trace), Vec::<Value>::new());
    assert!(begin.elapsed() < SOON, "{:?}, and this is without optimisation", begin.elapsed());
}

#[test]
fn with_output_table_the_alerts_are_a_table_and_else_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    fs::write(&path, three_agents(QUIET_MINUTES + 180)).unwrap();
    let path = path.to_str().unwrap();
    let judged = |more: &[&str]| {
        let Ended { code, stdout, stderr } = ended(
            Role::command("lifecyclectl").unwrap().args(["memory", "judge", path]).args(more.iter().copied()),
        );
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout
    };
    let (lines, json, table) = (judged(&[]), judged(&["--output", "json"]), judged(&["--output", "table"]));
    assert_eq!(lines, json);
    let alerts: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("TIME ") && !table.contains('{'), "{table}");
    assert_eq!(rows.len(), alerts.len() + 1, "{table}");
    for (row, alert) in rows[1..].iter().zip(&alerts) {
        assert!(row.contains(alert["agentId"].as_str().unwrap()), "{row}");
        assert!(row.contains(alert["verdict"].as_str().unwrap()) && row.contains("/h"), "{row}");
    }
}
