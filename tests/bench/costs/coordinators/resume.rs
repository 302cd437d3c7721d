//! How long `coordinator resume` takes on a large epic that waits, until it hands out its first task.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lifecycle_core::wire::codec::Wire;
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::ids::{EpicId, Incarnation, SprintId};
use lifecycle_core::wire::keys::{KeySchema, LIFECYCLE_CHANNEL};
use lifecycle_core::wire::task::{TaskRecord, TaskState};
use lifecycle_core::wire::time::ServerTime;
use lifecycle_tests::{Role, Server};
use rustix::process::Signal;

use super::{AGENT, EPIC, SPRINT, next_event, task_ids, write_plan};
use crate::processes::{SOON, role};
use crate::report::{Better, CostReport, median};
use crate::step;

/// Seconds until the first task is handed out.
const GOAL: f64 = 2.0;
/// Records that are written at once.
const CHUNK: usize = 1_000;
/// When the records say that the tasks were done.
const EARLIER_MS: u64 = 1_764_000_000_000;

/// Seconds from the start of the coordinator.
struct Resumed {
    /// Until it had the epic.
    taken: f64,
    /// Until its agent was there.
    agent: f64,
    /// Until a task was handed out.
    handed_out: f64,
    /// The most memory it has taken, in MB.
    memory: f64,
}

pub(super) fn measure(tasks: u32, runs: u8, report: &mut CostReport) -> Result<()> {
    step(&format!("an epic with {tasks} tasks is begun, half of it done, and left waiting"));
    let server = Server::start()?;
    let folder = tempfile::tempdir()?;
    let listed: String = task_ids(tasks).map(|id| format!("[[sprint.task]]\nid = \"{id}\"\n")).collect();
    write_plan(folder.path(), 1, "\"true\"", &listed)?;
    let begun = start(&server, folder.path(), &["run", "plan.toml"])?;
    complete_half(&server, tasks)?;
    let mut resumed = Vec::new();
    for _ in 0..runs {
        step(&format!("resuming {tasks} tasks"));
        resumed.push(start(&server, folder.path(), &["resume", EPIC])?);
    }
    let of = |figure: fn(&Resumed) -> f64| median(resumed.iter().map(figure).collect());
    let note = format!(
        "the epic was its own after {:.2} s, its agent there after {:.2} s",
        of(|resumed| resumed.taken),
        of(|resumed| resumed.agent)
    );
    let name = format!("resuming {tasks} tasks, half of them done");
    report.add(name, ("s", Better::Less), of(|resumed| resumed.handed_out), None, note);
    report.goal(GOAL);
    let note = format!("the most that it had; begun anew its first task took {:.2} s", begun.handed_out);
    report.add(
        "  memory of that coordinator",
        ("MB", Better::Less),
        of(|resumed| resumed.memory),
        None,
        note,
    );
    Ok(())
}

/// Starts a coordinator and measures until its first hand-out. After that it is stopped, which leaves the epic waiting.
fn start(server: &Server, folder: &Path, arguments: &[&str]) -> Result<Resumed> {
    let mut events = server.client()?.subscribe(&[LIFECYCLE_CHANNEL])?;
    let agent = format!("{EPIC}.{AGENT}");
    let begun = Instant::now();
    let seconds = || begun.elapsed().as_secs_f64();
    let mut coordinator =
        role(server, "coordinator")?.args(arguments.iter().copied()).in_folder(folder).spawn()?;
    let (mut taken, mut registered) = (f64::NAN, f64::NAN);
    let handed_out = loop {
        let event = next_event(&mut events, &coordinator)?;
        match event.payload {
            Payload::EpicResumed { .. } => taken = seconds(),
            Payload::AgentRegistered { .. } if event.agent_id.as_deref() == Some(agent.as_str()) => {
                registered = seconds();
            }
            Payload::TaskAssigned { .. } => break seconds(),
            _ => {}
        }
    };
    let memory = peak_memory(coordinator.pid())?;
    pause(&mut coordinator)?;
    Ok(Resumed { taken, agent: registered, handed_out, memory })
}

fn pause(coordinator: &mut Role) -> Result<()> {
    coordinator.signal(Signal::TERM)?;
    let status = coordinator.wait(SOON)?;
    ensure!(status.code() == Some(143), "the coordinator ended with {status}:\n{}", coordinator.stderr());
    Ok(())
}

/// Puts every other task on record as done, as an earlier coordinator would have left it.
fn complete_half(server: &Server, tasks: u32) -> Result<()> {
    let done = TaskRecord {
        state: TaskState::Completed,
        attempt: 1,
        run: 1,
        agent_id: Some(format!("{EPIC}.{AGENT}")),
        incarnation: Some(Incarnation(1)),
        detail: Some("exit 0".into()),
        assigned_at: Some(ServerTime::from_store_ms(EARLIER_MS)),
        ended_at: Some(ServerTime::from_store_ms(EARLIER_MS + 1_000)),
        ..TaskRecord::pending(3, 3)
    };
    let done = Wire::MsgPack.encode(&done)?;
    let sprint = SprintId::new(format!("{EPIC}.{SPRINT}"))?;
    let key = KeySchema::default().sprint_tasks(&sprint);
    let ids: Vec<String> = task_ids(tasks).step_by(2).collect();
    let mut client = server.client()?;
    for chunk in ids.chunks(CHUNK) {
        let mut command: Vec<&[u8]> = vec![b"HSET", key.as_bytes()];
        command.extend(chunk.iter().flat_map(|id| [id.as_bytes(), done.as_slice()]));
        client.command(&command)?;
    }
    let waiting = KeySchema::default().epic_state(&EpicId::new(EPIC)?);
    let status = client.text(&["HGET", &waiting, "status"])?;
    ensure!(status.as_deref() == Some("waiting"), "the epic does not wait for a coordinator: {status:?}");
    Ok(())
}

/// The most resident memory that a process has had, in MB: `VmHWM` of `/proc/PID/status`, in KiB.
fn peak_memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.split_whitespace().next().context("an empty VmHWM")?.parse()?;
    Ok(kib * 1.024 / 1_000.0)
}
