//! What the loader accepts, whom it believes, and every text it refuses with.

use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use lifecycle_core::wire::codec::Wire;
use proptest::prelude::*;

use super::*;

/// The sources of a test: a folder with this `lifecycle.toml`, these variables and flags.
fn load(
    file: Option<&str>,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        std::fs::write(folder.path().join(DEFAULT_FILE), text).unwrap();
    }
    sources(folder.path(), variables, flags).load()
}

type Outcome = Result<Settings, SettingsError>;

fn sources(
    folder: &Path,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Sources {
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let sources = Sources { folder: folder.to_owned(), environment, ..Sources::default() };
    flags
        .iter()
        .fold(sources, |sources, (flag, setting, value)| sources.with_flag(flag, setting, Some(value)))
}

#[track_caller]
fn refused(outcome: Outcome, lines: &[&str]) {
    assert_eq!(outcome.unwrap_err().to_string(), lines.join("\n"));
}

#[test]
fn without_any_source_the_defaults_hold() {
    assert_eq!(load(None, &[], &[]).unwrap(), Settings::default());
    assert_eq!(load(Some(""), &[], &[]).unwrap(), Settings::default());
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    for sources in 0..8 {
        let [file, variable, flag] = [1, 2, 4].map(|bit| sources & bit != 0);
        let text = file.then_some("[redis]\nurl = \"redis://file\"\n");
        let variables = [("LIFECYCLE_REDIS__URL", "redis://variable")];
        let flags = [("--redis-url", "redis.url", "redis://flag")];
        let settings = load(text, &variables[..variable.into()], &flags[..flag.into()]).unwrap();
        let expected = match (file, variable, flag) {
            (_, _, true) => "redis://flag",
            (_, true, false) => "redis://variable",
            (true, false, false) => "redis://file",
            (false, false, false) => "redis://127.0.0.1:6379",
        };
        assert_eq!(settings.redis.url, expected);
    }
}

#[test]
fn sources_complete_each_other_within_a_section() {
    let file = "[sweep]\ngrace = \"200ms\"\nbatch = 7\n";
    let settings = load(Some(file), &[("LIFECYCLE_SWEEP__BATCH", "8")], &[]).unwrap();
    assert_eq!((settings.sweep.grace, settings.sweep.batch), (Duration::from_millis(200), 8));
    assert_eq!(settings.sweep.lock_ttl, Duration::from_secs(300));
}

#[test]
fn every_kind_of_setting_can_be_given_by_variable() {
    let settings = load(
        None,
        &[
            ("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", "90s"),
            ("LIFECYCLE_SWEEP__HOLD_FRACTION", "1"),
            ("LIFECYCLE_SWEEP__HOLD_MINIMUM", "3"),
            ("LIFECYCLE_HEARTBEAT__PUBLISH", "false"),
            ("LIFECYCLE_MEMORY__LEAK_THRESHOLD", "2GiB"),
            ("LIFECYCLE_WIRE__FORMAT", "json"),
            ("LIFECYCLE_HTTP__LISTEN", "[::1]:80"),
            ("LIFECYCLE_COORDINATOR__RUNS_DIR", "2026"),
            ("LIFECYCLE_COORDINATOR__AGENT_PROGRAM", "/opt/agent"),
            ("LIFECYCLE_LOG__LEVEL", "info,sweeper=debug"),
            ("LIFECYCLE_REDIS__TLS__CA", "/etc/store.pem"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(settings.sweep.orphan_threshold, Duration::from_secs(90));
    assert!((settings.sweep.hold_fraction - 1.0).abs() < f64::EPSILON);
    assert_eq!(settings.sweep.hold_minimum, 3);
    assert!(!settings.heartbeat.publish);
    assert_eq!(settings.memory.leak_threshold.as_u64(), 2 << 30);
    assert_eq!(settings.wire.format, Wire::Json);
    assert_eq!(settings.http.listen.port(), 80);
    assert_eq!(settings.coordinator.runs_dir, PathBuf::from("2026"));
    assert_eq!(settings.coordinator.agent_program, Some("/opt/agent".into()));
    assert_eq!(settings.log.level, "info,sweeper=debug");
    assert_eq!(settings.redis.tls.ca, Some("/etc/store.pem".into()));
}

#[test]
fn a_section_within_a_section_is_read_from_the_file_and_its_mistakes_have_their_place() {
    let settings = load(Some("[redis.tls]\nca = \"ca.pem\"\n"), &[], &[]).unwrap();
    assert_eq!(settings.redis.tls.ca, Some("ca.pem".into()));
    refused(
        load(Some("[redis.tls]\nac = \"ca.pem\"\n"), &[("LIFECYCLE_REDIS__TLS__CB", "x")], &[]),
        &[
            "redis.tls.ac (from lifecycle.toml, line 2): there is no setting \"ac\" in redis.tls; known are ca",
            "redis.tls.cb (from LIFECYCLE_REDIS__TLS__CB): there is no setting \"cb\" in redis.tls; did you mean LIFECYCLE_REDIS__TLS__CA?",
        ],
    );
    let deep = format!("LIFECYCLE_{}", "A__".repeat(20_000));
    let error = load(None, &[(&deep, "x")], &[]).unwrap_err();
    assert_eq!(error.mistakes.len(), 1);
}

#[test]
fn text_settings_keep_values_that_look_like_numbers_as_they_were_written() {
    for value in
        ["00123", "12345", "true", "1e3", "-0", "0x10", "18446744073709551616", "[a]", "{a=1}", "'q'"]
    {
        let variables = [("LIFECYCLE_REDIS__PASSWORD", value), ("LIFECYCLE_REDIS__URL", value)];
        let settings = load(None, &variables, &[]).unwrap();
        assert_eq!(settings.redis.password.as_deref(), Some(value));
        assert_eq!(settings.redis.url, value);
    }
    // TOML makes 1000 of it before anybody sees how it was written.
    for number in ["1e3", "12345", "0x1f", "1_000", "true"] {
        refused(
            load(Some(&format!("redis.password = {number}")), &[], &[]),
            &["redis.password (from lifecycle.toml, line 1): this is not text: put the password in quotes"],
        );
    }
}

#[test]
fn a_commands_own_default_is_weaker_than_every_source() {
    let folder = tempfile::tempdir().unwrap();
    let level = |variables: &[(&str, &str)]| {
        let quiet = sources(folder.path(), variables, &[]).with_default("log.level", "warn");
        quiet.load().unwrap().log.level
    };
    assert_eq!(level(&[]), "warn");
    assert_eq!(level(&[("LIFECYCLE_LOG__LEVEL", "info")]), "info", "the default of others, but asked for");
    std::fs::write(folder.path().join(DEFAULT_FILE), "log.level = \"info\"").unwrap();
    assert_eq!(level(&[]), "info");
}

#[test]
fn the_variables_that_the_product_hands_to_its_processes_are_no_settings() {
    let variables = [
        ("LIFECYCLE_AGENT_ID", "coder-1"),
        ("LIFECYCLE_TASK_ID", "login"),
        ("LIFECYCLE_TASK_INPUT", "a__b"),
        ("LIFECYCLE_TASK_ATTEMPT", "1"),
        ("LIFECYCLE_TOKEN", "x"),
        ("LIFECYCLE_INCARNATION", "1"),
        ("LIFECYCLE_LIFELINE", "3"),
        ("LIFECYCLE_TEST_REDIS__URL", "redis://x"),
        ("LIFECYCLE_TEST__X", "y"),
        ("LIFECYCLE_REDIS_SERVICE_HOST", "a service link"),
        ("OTHER_REDIS__URL", "redis://x"),
    ];
    assert_eq!(load(None, &variables, &[]).unwrap(), Settings::default());
}

#[test]
fn a_variable_set_to_nothing_counts_as_not_set() {
    let variables = [("LIFECYCLE_REDIS__PASSWORD", ""), ("LIFECYCLE_SWEEP__INTERVAL", "")];
    assert_eq!(load(None, &variables, &[]).unwrap(), Settings::default());
}

#[test]
fn a_misspelt_variable_is_refused_with_the_one_that_was_meant() {
    refused(
        load(
            None,
            &[
                ("LIFECYCLE_SWEPE__INTERVAL", "1s"),
                ("LIFECYCLE_SWEEP__INTERVALL", "1s"),
                ("LIFECYCLE_SWEEP__INTERVAL__X", "1s"),
                ("LIFECYCLE_BANANA__X", "1"),
            ],
            &[],
        ),
        &[
            "swepe.interval (from LIFECYCLE_SWEPE__INTERVAL): there is no section \"swepe\"; did you mean LIFECYCLE_SWEEP__INTERVAL?",
            "sweep.intervall (from LIFECYCLE_SWEEP__INTERVALL): there is no setting \"intervall\" in sweep; did you mean LIFECYCLE_SWEEP__INTERVAL?",
            "sweep.interval.x (from LIFECYCLE_SWEEP__INTERVAL__X): a section is not a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h",
            "banana.x (from LIFECYCLE_BANANA__X): there is no section \"banana\"; known are redis, heartbeat, sweep, memory, shutdown, containment, host, wire, http, coordinator, log",
        ],
    );
}

#[test]
fn all_mistakes_of_all_sources_are_reported_with_the_place_of_each() {
    let file = "swepe = { a = 1 }\n\n[heartbeat]\ninterval = 30\nhold = true\npublish = \"yes\"\n[memory]\nttl = \"1h\"\n";
    refused(
        load(Some(file), &[("LIFECYCLE_SWEEP__BATCH", "-5")], &[("--redis-url", "redis.uri", "x")]),
        &[
            "swepe (from lifecycle.toml, line 1): there is no section \"swepe\"; did you mean sweep?",
            "heartbeat.interval (from lifecycle.toml, line 4): 30 is not a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h; the default is \"30s\"",
            "heartbeat.hold (from lifecycle.toml, line 5): there is no setting \"hold\" in heartbeat; known are interval, ttl, publish",
            "heartbeat.publish (from lifecycle.toml, line 6): \"yes\" is not true or false; the default is true",
            "sweep.batch (from LIFECYCLE_SWEEP__BATCH): -5 is not a whole number, 0 or more; the default is 1000",
            "redis.uri (from --redis-url): there is no setting \"uri\" in redis; did you mean redis.url?",
        ],
    );
}

#[test]
fn a_mistake_in_the_file_is_reported_even_where_a_variable_overrides_it() {
    refused(
        load(Some("[sweep]\ninterval = \"soon\"\n"), &[("LIFECYCLE_SWEEP__INTERVAL", "60s")], &[]),
        &[
            "sweep.interval (from lifecycle.toml, line 2): \"soon\" is not a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h; the default is \"1m\"",
        ],
    );
}

#[test]
fn each_kind_of_value_is_refused_with_what_would_be_right() {
    for (name, value, line) in [
        (
            "LIFECYCLE_HEARTBEAT__INTERVAL",
            "30",
            "heartbeat.interval (from LIFECYCLE_HEARTBEAT__INTERVAL): \"30\" is not a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h; the default is \"30s\"",
        ),
        (
            "LIFECYCLE_MEMORY__LEAK_THRESHOLD",
            "much",
            "memory.leak_threshold (from LIFECYCLE_MEMORY__LEAK_THRESHOLD): \"much\" is not a size: write a number with its unit, such as 512MiB, 2GiB or 100MB; the default is \"100MB\"",
        ),
        (
            "LIFECYCLE_SWEEP__HOLD_FRACTION",
            "a third",
            "sweep.hold_fraction (from LIFECYCLE_SWEEP__HOLD_FRACTION): \"a third\" is not a number; the default is 0.3",
        ),
        (
            "LIFECYCLE_SWEEP__BATCH",
            "1.5",
            "sweep.batch (from LIFECYCLE_SWEEP__BATCH): 1.5 is not a whole number, 0 or more; the default is 1000",
        ),
        (
            "LIFECYCLE_HEARTBEAT__PUBLISH",
            "1",
            "heartbeat.publish (from LIFECYCLE_HEARTBEAT__PUBLISH): 1 is not true or false; the default is true",
        ),
        (
            "LIFECYCLE_WIRE__FORMAT",
            "1",
            "wire.format (from LIFECYCLE_WIRE__FORMAT): \"1\" is not known: use msgpack or json; the default is \"msgpack\"",
        ),
        (
            "LIFECYCLE_HTTP__LISTEN",
            "localhost",
            "http.listen (from LIFECYCLE_HTTP__LISTEN): this is not an address with its port; the default is \"127.0.0.1:9464\"",
        ),
        (
            "LIFECYCLE_LOG__LEVEL",
            "infoo",
            "log.level (from LIFECYCLE_LOG__LEVEL): \"infoo\" is no level: use error, warn, info, debug, trace or off, or targets such as info,sweeper=debug",
        ),
    ] {
        refused(load(None, &[(name, value)], &[]), &[line]);
    }
}

#[test]
fn values_of_a_wrong_shape_in_the_file_are_refused() {
    refused(
        load(Some("redis = 5\nlog.level = [\"info\"]\nsweep.batch.size = 3\nhttp.listen = 9464\n"), &[], &[]),
        &[
            "redis (from lifecycle.toml, line 1): this is not a section of settings",
            "log.level (from lifecycle.toml, line 2): a list is not text in quotes; the default is \"info\"",
            "sweep.batch (from lifecycle.toml, line 3): a section is not a whole number, 0 or more; the default is 1000",
            "http.listen (from lifecycle.toml, line 4): 9464 is not an address with its port; the default is \"127.0.0.1:9464\"",
        ],
    );
}

#[test]
fn a_contradiction_names_the_source_of_the_setting_at_fault_and_of_its_counterpart() {
    refused(
        load(Some("[heartbeat]\ninterval = \"100s\"\n"), &[], &[]),
        &[
            "sweep.orphan_threshold (default): 2m is below twice heartbeat.interval (1m 40s), so one late beat would look like death: use 3m 20s or more (heartbeat.interval is from lifecycle.toml, line 2)",
        ],
    );
    refused(
        load(
            Some("[heartbeat]\nttl = \"10s\"\n"),
            &[("LIFECYCLE_SWEEP__ORPHAN_THRESHOLD", "90s"), ("LIFECYCLE_SWEEP__BATCH", "0")],
            &[],
        ),
        &[
            "heartbeat.ttl (from lifecycle.toml, line 2): 10s is below sweep.orphan_threshold (1m 30s), so a beat would vanish before its agent is judged: use 1m 30s or more (sweep.orphan_threshold is from LIFECYCLE_SWEEP__ORPHAN_THRESHOLD)",
            "sweep.batch (from LIFECYCLE_SWEEP__BATCH): 0 is out of range: use 1 to 10000",
        ],
    );
}

#[test]
fn the_checks_of_the_caller_are_reported_with_the_source_too() {
    let sources = sources(Path::new("no/such/folder"), &[], &[("--redis-url", "redis.url", "http://x")]);
    let error = sources
        .load_checked(|settings| {
            vec![Contradiction {
                setting: "redis.url",
                problem: format!("{:?} is no store", settings.redis.url),
            }]
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "redis.url (from --redis-url): \"http://x\" is no store");
}

#[test]
fn the_named_file_is_read_instead_of_the_one_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DEFAULT_FILE), "not TOML").unwrap();
    let named = folder.path().join("other.toml");
    std::fs::write(&named, "[sweep]\nbatch = 9\n").unwrap();
    let sources = Sources { config: Some(named), ..sources(folder.path(), &[], &[]) };
    assert_eq!(sources.load().unwrap().sweep.batch, 9);
}

#[test]
fn parent_folders_are_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DEFAULT_FILE), "[sweep]\nbatch = 9\n").unwrap();
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    assert_eq!(sources(&below, &[], &[]).load().unwrap(), Settings::default());
}

#[test]
fn a_named_file_that_is_missing_is_refused_together_with_other_mistakes() {
    let sources = Sources {
        config: Some("no/such.toml".into()),
        ..sources(Path::new(""), &[("LIFECYCLE_SWEEP__BATCH", "x")], &[])
    };
    refused(
        sources.load(),
        &[
            "no/such.toml: there is no such file: create it or leave --config out",
            "sweep.batch (from LIFECYCLE_SWEEP__BATCH): \"x\" is not a whole number, 0 or more; the default is 1000",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_as_settings_is_refused() {
    refused(
        load(Some("[sweep]\nbatch = = 3\n"), &[], &[]),
        &["lifecycle.toml, line 2: this is not TOML: invalid string, expected `\"`, `'`"],
    );
    refused(
        load(Some("[sweep]\nbatch = 3\nbatch = 4\n"), &[], &[]),
        &["lifecycle.toml, line 3: this is not TOML: duplicate key `batch` in table `sweep`"],
    );

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DEFAULT_FILE), b"\xff\xfe").unwrap();
    refused(
        sources(folder.path(), &[], &[]).load(),
        &["lifecycle.toml: this is not UTF-8 text, so it is no settings file"],
    );
    std::fs::remove_file(folder.path().join(DEFAULT_FILE)).unwrap();
    std::fs::create_dir(folder.path().join(DEFAULT_FILE)).unwrap();
    let error = sources(folder.path(), &[], &[]).load().unwrap_err().to_string();
    assert!(error.starts_with("lifecycle.toml: this settings file cannot be read: "), "{error}");
}

#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    let environment = vec![("LIFECYCLE_REDIS__URL".into(), OsString::from_vec(vec![0xff]))];
    refused(
        Sources { environment, folder: "no/such/folder".into(), ..Sources::default() }.load(),
        &["redis.url (from LIFECYCLE_REDIS__URL): the value is not UTF-8 text"],
    );
}

#[test]
fn the_password_appears_in_no_error() {
    for file in [
        "redis.password = [\"hunter2\"]",
        "redis.password = { hunter2 = 1 }",
        "redis.pasword = \"hunter2\"",
        "[redis]\npassword = hunter2",
        "[redis]\npassword = \"hunter2",
        "redis = \"hunter2\"",
    ] {
        let error = load(Some(file), &[], &[]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{file}: {error}");
    }
    refused(
        load(Some("redis.password = [\"hunter2\"]"), &[], &[]),
        &["redis.password (from lifecycle.toml, line 1): this is not text: put the password in quotes"],
    );
}

proptest! {
    #[test]
    fn whatever_is_written_each_mistake_is_one_line(name in "[A-Z_]{0,12}", value in "\\PC{0,8}|[\\n\\r\\t]|-?[0-9.e]{1,6}") {
        let variables = [
            (format!("LIFECYCLE_{name}"), value.clone()),
            (format!("LIFECYCLE_SWEEP__{name}"), value.clone()),
            ("LIFECYCLE_SWEEP__GRACE".into(), value.clone()),
            ("LIFECYCLE_WIRE__FORMAT".into(), value.clone()),
            ("LIFECYCLE_SWEEP__BATCH".into(), value),
        ];
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if let Err(error) = load(None, &variables, &[]) {
            prop_assert!(!error.mistakes.is_empty());
            prop_assert_eq!(error.to_string().lines().count(), error.mistakes.len());
        }
    }

    #[test]
    fn whatever_the_file_holds_it_is_read_or_refused(text in "(\\[?[a-z]{1,6}\\]?|sweep|redis|=|\\.|\n|\"[a-z0-9]*\"|[0-9]{1,3}|\\{|\\}){0,12}") {
        if let Err(error) = load(Some(&text), &[], &[]) {
            prop_assert_eq!(error.to_string().lines().count(), error.mistakes.len());
        }
    }
}
