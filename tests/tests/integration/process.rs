//! The harness's roles: output as it comes, exit codes as they are, nothing left behind.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use lifecycle_tests::process::{MARKER_VARIABLE, RoleCommand};
use lifecycle_tests::{Role, eventually, processes_with_env};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> RoleCommand {
    Role::program("sh", Path::new("/bin/sh")).args(["-c", script])
}

#[test]
fn output_is_seen_while_the_process_runs_and_kept_by_stream() {
    let role = shell("echo data; echo log >&2; exec sleep 60").spawn().unwrap();
    role.wait_for_line(|line| line == "data", SOON).unwrap();
    role.wait_for_line(|line| line == "log", SOON).unwrap();
    assert_eq!((role.stdout().as_str(), role.stderr().as_str()), ("data", "log"));
}

#[test]
fn a_line_that_never_comes_is_an_error_that_shows_what_came() {
    let role = shell("echo something else").spawn().unwrap();
    let error = role.wait_for_line(|line| line == "data", SOON).unwrap_err().to_string();
    assert!(error.contains("something else"), "{error}");
}

#[test]
fn the_exit_code_is_the_processes_own() {
    let mut role = shell("exit 70").spawn().unwrap();
    assert_eq!(role.wait(SOON).unwrap().code(), Some(70));
    role.signal(Signal::TERM).expect_err("it has ended");
}

#[test]
fn stop_asks_first() {
    let mut role =
        shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done").spawn().unwrap();
    role.wait_for_line(|line| line == "up", SOON).unwrap();
    assert_eq!(role.stop(SOON).unwrap().code(), Some(3));
    assert_eq!(role.stdout(), "up\nbye");
}

#[test]
fn settings_of_the_surroundings_do_not_leak_into_a_role() {
    let mut role = shell("env | grep ^LIFECYCLE_ | cut -d= -f1").env("LIFECYCLE_GIVEN", "1").spawn().unwrap();
    role.wait(SOON).unwrap();
    let mut seen = role.output().all();
    seen.sort();
    assert_eq!(seen, ["LIFECYCLE_GIVEN"]);
}

#[test]
fn dropping_a_role_ends_what_it_started_even_in_a_new_session_without_parent() {
    let role = shell("(setsid sleep 300 &) ; sleep 301 & echo up; wait").spawn().unwrap();
    role.wait_for_line(|line| line == "up", SOON).unwrap();
    let marker = role.marker().to_owned();
    eventually(SOON, "the shell and both sleepers", || {
        Ok((processes_with_env(MARKER_VARIABLE, &marker).len() == 3).then_some(()))
    })
    .unwrap();
    drop(role);
    assert_eq!(processes_with_env(MARKER_VARIABLE, &marker), [0_u32; 0]);
}

#[test]
fn an_unbuilt_binary_is_named_together_with_the_way_to_build_it() {
    let error = lifecycle_tests::role_binary("no-such-role").unwrap_err().to_string();
    assert!(error.contains("no-such-role") && error.contains("cargo build --workspace --bins"), "{error}");
}
