//! A folder with a plan for `coordinator run`, what is written into it, and what is asked of it afterwards.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lifecycle_tests::process::MARKER_VARIABLE;
use lifecycle_tests::{Role, eventually, processes_with_env};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

/// A whole sprint on a busy machine.
pub(super) const SPRINT: Duration = Duration::from_secs(60);

/// A folder with a plan, in which its commands run and leave their marks.
pub(super) struct Stage {
    pub(super) folder: TempDir,
}

impl Stage {
    pub(super) fn new(plan: &str) -> Self {
        Self::of_epic("shop", plan)
    }

    pub(super) fn of_epic(epic: &str, plan: &str) -> Self {
        let stage = Self { folder: tempfile::Builder::new().prefix("lifecycle-plan-").tempdir().unwrap() };
        stage.write_plan(epic, plan);
        stage
    }

    pub(super) fn write_plan(&self, epic: &str, plan: &str) {
        fs::write(self.path("plan.toml"), format!("[epic]\nid = {epic:?}\n{plan}")).unwrap();
    }

    pub(super) fn coordinator(&self, fleet: &Fleet) -> Role {
        let command = fleet.role("coordinator").args(["run", "plan.toml", "--output", "json"]);
        command.in_folder(self.folder.path()).spawn().unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn open(&self, gate: &str) {
        fs::write(self.path(gate), "").unwrap();
    }

    pub(super) fn wait_for_lines(&self, name: &str, count: usize) -> Vec<String> {
        eventually(SOON, &format!("{count} lines in {name}"), || {
            let lines = self.lines(name);
            Ok((lines.len() >= count).then_some(lines))
        })
        .unwrap()
    }
}

/// One sprint; its agents are called `<id>-coder-1`, `<id>-coder-2`, …; a task is `(id, further lines)`.
pub(super) fn sprint(
    id: &str,
    after: &[&str],
    agents: usize,
    script: &str,
    tasks: &[(&str, &str)],
) -> String {
    let mut text = format!(
        "[[sprint]]\nid = \"{id}\"\nafter = {after:?}\n[[sprint.agent]]\nid = \"{id}-coder\"\ncount = {agents}\n\
         command = [\"sh\", \"-c\", '''{script}''']\n"
    );
    for (task, more) in tasks {
        text += &format!("[[sprint.task]]\nid = \"{task}\"\n{more}\n");
    }
    text
}

/// Waits until `gate` is there.
pub(super) fn until(gate: &str) -> String {
    format!("until [ -e {gate} ]; do sleep 0.02; done")
}

/// Hangs in the first attempt, completes in any other.
pub(super) fn hang_once() -> String {
    format!(
        "echo $LIFECYCLE_AGENT_ID >> begun; [ $LIFECYCLE_TASK_ATTEMPT -gt 1 ] || {{ {}; }}",
        until("never")
    )
}

pub(super) fn finish(coordinator: &mut Role) -> (Option<i32>, serde_json::Value) {
    let code = coordinator.wait(SPRINT).unwrap().code();
    let stdout = coordinator.stdout();
    let summary = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout:?}, {}", coordinator.stderr()));
    (code, summary)
}

pub(super) fn task<'a>(summary: &'a serde_json::Value, id: &str) -> &'a serde_json::Value {
    let sprints = summary["sprints"].as_array().unwrap();
    let mut tasks = sprints.iter().flat_map(|sprint| sprint["tasks"].as_array().unwrap());
    tasks.find(|task| task["taskId"] == id).unwrap()
}

pub(super) fn pid_of(fleet: &mut Fleet, agent: &str) -> Option<Pid> {
    let pid = fleet.client.text(&["HGET", &format!("agent:state:{agent}"), "pid"]).unwrap()?;
    Pid::from_raw(pid.parse().unwrap())
}

pub(super) fn kill(fleet: &mut Fleet, agent: &str) {
    kill_process(pid_of(fleet, agent).unwrap(), Signal::KILL).unwrap();
}

fn no_process_is_left(coordinator: &Role) {
    eventually(SOON, "the last process of the epic to vanish", || {
        let left = processes_with_env(MARKER_VARIABLE, coordinator.marker());
        Ok(left.is_empty().then_some(()))
    })
    .unwrap();
}

/// No process is left, and no key but those of the epic, which waits for the next coordinator.
pub(super) fn only_the_epic_waits(fleet: &mut Fleet, coordinator: &Role) {
    no_process_is_left(coordinator);
    let mut left = Vec::new();
    let kept =
        |key: &String| key.starts_with("epic:") || key.starts_with("sprint:") || *key == "epics:waiting";
    let waits = eventually(SOON, "the epic to wait, and all else to vanish", || {
        left = fleet.residue();
        let status = fleet.client.text(&["HGET", "epic:state:shop", "status"]).unwrap();
        Ok((left.iter().all(kept) && status.as_deref() == Some("waiting")).then_some(()))
    });
    waits.unwrap_or_else(|error| panic!("{error}: {left:?}"));
    let mut verify = fleet.role("lifecyclectl").args(["verify"]).spawn().unwrap();
    assert_eq!(verify.wait(SOON).unwrap().code(), Some(0), "{}", verify.stdout());
    assert!(verify.stdout().contains("epic shop waits: "), "{}", verify.stdout());
}

pub(super) fn nothing_is_left(fleet: &mut Fleet, coordinator: &Role) {
    no_process_is_left(coordinator);
    let mut left = Vec::new();
    let gone = eventually(SOON, "the last key of the epic to vanish", || {
        left = fleet.residue();
        Ok(left.is_empty().then_some(()))
    });
    gone.unwrap_or_else(|error| panic!("{error}: {left:?}"));
}
