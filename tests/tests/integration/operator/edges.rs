//! Readers that go, stores that are not there, command lines that are wrong.

use lifecycle_tests::{Role, role_binary};

use super::{Ended, Site, ended};

/// The shell opens the pipe while a reader is there, and runs the command when that reader has certainly gone.
fn without_reader(site: &Site, args: &str) -> Ended {
    let script = format!("mkfifo pipe; : < pipe & exec 3> pipe; wait; \"$CTL\" {args} >&3; echo \"code $?\"");
    let shell = Role::program("sh", std::path::Path::new("/bin/sh")).args(["-c", &script]);
    ended(
        shell.env("CTL", role_binary("lifecyclectl").unwrap()).env("LIFECYCLE_REDIS__URL", site.server.url()),
    )
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mut site = Site::start();
    site.plain("plain-1", 1_000);
    for args in
        ["ps", "inspect plain-1", "ps --output json", "memory", "hold", "verify", "events --follow", "--help"]
    {
        let ended = without_reader(&site, args);
        assert_eq!(ended.stdout, "code 0", "{args}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{args}: {}", ended.stderr);
    }
}

#[test]
fn without_a_store_every_command_ends_with_69_and_one_line() {
    let mut site = Site::start();
    site.server.kill().unwrap();
    for args in [
        &["ps"][..],
        &["inspect", "a"],
        &["events"],
        &["events", "--follow"],
        &["drain", "a"],
        &["stop", "a", "--wait"],
        &["reap", "a"],
        &["hold"],
        &["verify"],
        &["doctor"],
        &["memory"],
    ] {
        let ended = ended(site.command(args).env("LIFECYCLE_REDIS__START_TIMEOUT", "200ms"));
        assert_eq!(ended.code, Some(69), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("no store answered"), "{}", ended.stderr);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_before_any_store_is_asked() {
    let site = Site::start();
    for args in [
        &["pss"][..],
        &["inspect"],
        &["reap"],
        &["ps", "--output", "xml"],
        &["events", "--follow", "--count", "3"],
        &["drain", "a", "--wait", "soon"],
        &["hold", "relase"],
        &["memory", "jugde"],
        &["memory", "--top", "0"],
        &["memory", "--top", "3", "judge", "trace.csv"],
        &["top"],
        &["ps", "--redis-url", "nonsense"],
    ] {
        site.refused(args, 2);
    }
    assert!(site.ok(&["completions", "bash"]).contains("lifecyclectl"));
}
