//! What `coordinator check` and `sweeper sweep` say: lines to paste and lines to read.

use std::fs;
use std::path::Path;

use lifecycle_tests::Role;

use super::{Site, ended};

#[test]
fn a_command_that_check_prints_can_be_pasted_into_a_shell() {
    let site = Site::start();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let command = r#"["printf", "<%s>", "it's", "$HOME; rm *", "--plain=a/b", "", "two\\nlines"]"#;
    let text = format!(
        "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\ncommand = {command}\n\
         [[sprint.task]]\nid = \"login\"\nattempts = 1\n"
    );
    fs::write(&plan, text).unwrap();
    let checked = ended(site.role("coordinator").arg("check").arg(&plan));
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let line =
        checked.stdout.lines().find_map(|line| line.trim().strip_prefix("agent shop.coder: ")).unwrap();
    assert!(line.starts_with("printf '<%s>' ") && line.contains(" --plain=a/b "), "{line}");
    let pasted = ended(Role::program("sh", Path::new("/bin/sh")).args(["-c", line]));
    assert_eq!(pasted.stdout, r"<it's><$HOME; rm *><--plain=a/b><><two\nlines>", "{line}");
    assert!(checked.stdout.ends_with("task login, up to 1 attempt"), "{}", checked.stdout);
}

#[test]
fn a_sweep_counts_in_the_singular_and_the_plural_and_cuts_ids_that_are_too_long() {
    let mut site = Site::start();
    let long = "a".repeat(10_000);
    site.plain(&long, 180_000);
    site.plain("plain-1", 1_000);
    let dry = ended(site.sweeper_command(&["sweep", "--dry-run"]));
    assert!(
        dry.stdout.ends_with("1 orphan, 1 healthy agent; a dry run, nothing was touched"),
        "{}",
        dry.stdout
    );
    let swept = ended(site.sweeper_command(&["sweep"]));
    assert!(
        swept.stdout.ends_with("1 orphan, 1 healthy agent; 1 cleaned, 1 key removed, 0 tasks handed back"),
        "{}",
        swept.stdout
    );
    let cut = format!("reaped 1 orphan: \"{}…\"", "a".repeat(127));
    assert!(swept.stderr.contains(&cut), "{}", swept.stderr);
    assert!(!swept.stderr.contains(&"a".repeat(128)), "{}", swept.stderr);
}
