//! Where the output of tasks goes, and what cannot be put in its way.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use lifecycle_tests::{Role, descendants, eventually};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

/// An epic of one agent whose tasks print what `script` prints, in a folder of its own.
struct Epic {
    folder: TempDir,
}

impl Epic {
    fn new(script: &str, tasks: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let tasks: String =
            tasks.iter().map(|task| format!("[[sprint.task]]\nid = \"{task}\"\nattempts = 1\n")).collect();
        let plan = format!(
            "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\n\
             command = [\"sh\", \"-c\", '''{script}''']\n{tasks}"
        );
        fs::write(folder.path().join("plan.toml"), plan).unwrap();
        Self { folder }
    }

    fn run(&self, fleet: &Fleet) -> Role {
        let coordinator = fleet.role("coordinator").args(["run", "plan.toml", "--output", "json"]);
        coordinator.in_folder(self.folder.path()).spawn().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("runs/shop/api").join(name)
    }

    /// How the task ended, in the record's words.
    fn detail(coordinator: &Role, task: &str) -> String {
        let summary: serde_json::Value = serde_json::from_str(&coordinator.stdout()).unwrap();
        let tasks = summary["sprints"][0]["tasks"].as_array().unwrap();
        tasks.iter().find(|one| one["taskId"] == task).unwrap().to_string()
    }
}

fn fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn what_stands_at_a_tasks_log_path_fails_that_attempt_by_name_and_the_agent_goes_on() {
    let fleet = Fleet::new();
    let epic = Epic::new("echo {task}", &["fifo", "link", "folder", "good"]);
    let outside = epic.folder.path().join("outside");
    fs::write(&outside, "mine\n").unwrap();
    fifo(&epic.path("fifo.log"));
    symlink(&outside, epic.path("link.log")).unwrap();
    fs::create_dir(epic.path("folder.log")).unwrap();
    let mut coordinator = epic.run(&fleet);
    assert_eq!(coordinator.wait(SOON * 3).unwrap().code(), Some(1), "{}", coordinator.stderr());
    for (task, problem) in [("fifo", "a FIFO"), ("link", "a symbolic link"), ("folder", "a folder")] {
        let detail = Epic::detail(&coordinator, task);
        assert!(
            detail.contains("failed") && detail.contains(&format!("{task}.log")) && detail.contains(problem),
            "{detail}"
        );
    }
    assert!(Epic::detail(&coordinator, "good").contains("completed"));
    assert_eq!(fs::read_to_string(epic.path("good.log")).unwrap(), "good\n");
    assert_eq!(fs::read_to_string(outside).unwrap(), "mine\n");
}

#[test]
fn a_link_in_place_of_a_folder_leads_no_log_outside_and_an_agents_own_log_is_no_fifo_either() {
    for plant_link in [true, false] {
        let fleet = Fleet::new().set("LIFECYCLE_COORDINATOR__RESTART_LIMIT", "0");
        let epic = Epic::new("echo {task}", &["one"]);
        let outside = TempDir::new().unwrap();
        if plant_link {
            fs::create_dir_all(epic.folder.path().join("runs/shop")).unwrap();
            symlink(outside.path(), epic.folder.path().join("runs/shop/api")).unwrap();
        } else {
            fifo(&epic.path("agents/coder.log"));
        }
        let mut coordinator = epic.run(&fleet);
        assert_eq!(coordinator.wait(SOON * 3).unwrap().code(), Some(1), "{}", coordinator.stderr());
        let named = if plant_link { "a symbolic link" } else { "a FIFO" };
        assert!(coordinator.stderr().contains(named), "{}", coordinator.stderr());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_agent_that_met_a_fifo_still_hears_sigterm() {
    let fleet = Fleet::new();
    // The FIFO is no log; the second task runs until it is ended.
    let epic = Epic::new("echo up > up; exec sleep 300", &["fifo", "then"]);
    fifo(&epic.path("fifo.log"));
    let coordinator = epic.run(&fleet);
    eventually(SOON, "the second task", || Ok(epic.folder.path().join("up").exists().then_some(()))).unwrap();
    let is_supervisor = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"--lifeline")
    };
    let supervisor = descendants(coordinator.pid()).into_iter().find(is_supervisor).unwrap();
    let pid = Pid::from_raw(supervisor.try_into().unwrap()).unwrap();
    // Twice: once asks, twice hurries.
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    eventually(SOON, "the end of the supervisor", || {
        Ok((!Path::new(&format!("/proc/{supervisor}")).exists()).then_some(()))
    })
    .unwrap();
}

#[test]
fn of_a_long_log_the_beginning_and_the_end_are_kept_and_what_is_missing_is_said() {
    let fleet = Fleet::new().set("LIFECYCLE_COORDINATOR__LOG_LIMIT", "64KiB");
    let epic = Epic::new(
        "echo begin; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end; echo {task} >&2",
        &["long"],
    );
    let mut coordinator = epic.run(&fleet);
    assert_eq!(coordinator.wait(SOON * 3).unwrap().code(), Some(0), "{}", coordinator.stderr());
    let kept = fs::read_to_string(epic.path("long.log")).unwrap();
    assert_eq!(kept.len(), 64 << 10);
    assert!(kept.starts_with("begin\nxxx") && kept.ends_with("xxx\nend\nlong\n"));
    let said = kept.lines().find(|line| line.starts_with("---")).unwrap();
    assert!(said.contains("the middle is missing") && said.contains("coordinator.log_limit"), "{said}");
}

#[test]
fn a_command_that_never_stops_printing_fills_no_disk_and_is_not_held_up() {
    let fleet = Fleet::new().set("LIFECYCLE_COORDINATOR__LOG_LIMIT", "64KiB");
    let epic = Epic::new(
        "until [ -e gate ]; do head -c 1000000 /dev/zero | tr '\\0' x; echo >> printed; sleep 0.02; done",
        &["endless"],
    );
    let mut coordinator = epic.run(&fleet);
    let log = epic.path("endless.log");
    let printed = || fs::read_to_string(epic.folder.path().join("printed")).unwrap_or_default().len() as u64;
    // So much was printed, and most of it takes no room any more.
    let mut seen = (0, 0);
    eventually(SOON, "a log with a hole", || {
        let used = log.metadata().map_or(0, |log| log.blocks() * 512);
        seen = (printed() * 1_000_000, used);
        Ok((seen.0 > 5_000_000 && used < seen.0 / 2).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: printed {}, in use {}", seen.0, seen.1));
    fs::write(epic.folder.path().join("gate"), "").unwrap();
    assert_eq!(coordinator.wait(SOON * 3).unwrap().code(), Some(0), "{}", coordinator.stderr());
    let kept = fs::read(&log).unwrap();
    assert!(kept.len() == 64 << 10 && !kept.contains(&0));
}
