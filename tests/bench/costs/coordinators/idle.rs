//! What a coordinator costs that can do nothing: its only agent works on a task that does not end, and every other task
//! needs that one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_core::wire::record::AgentState;
use lifecycle_tests::{Server, eventually};

use super::{AGENT, EPIC, asked, calls, task_ids, write_plan};
use crate::processes::{SOON, cpu_of, role};
use crate::report::{Better, CostReport};
use crate::step;

/// Percent of a core.
const GOAL: f64 = 1.0;
/// How many of the store's commands are named.
const NAMED: usize = 3;

pub(super) fn measure(pending: u32, idle: Duration, report: &mut CostReport) -> Result<()> {
    step(&format!("an idle coordinator with {pending} tasks that nobody can take"));
    let server = Server::start()?;
    let folder = tempfile::tempdir()?;
    let waiting: String = task_ids(pending)
        .map(|id| format!("[[sprint.task]]\nid = \"{id}\"\nneeds = [\"first\"]\n"))
        .collect();
    let tasks = format!("[[sprint.task]]\nid = \"first\"\n{waiting}");
    write_plan(folder.path(), 1, "\"sleep\", \"600\"", &tasks)?;
    let mut client = server.client()?;
    let coordinator =
        role(&server, "coordinator")?.args(["run", "plan.toml"]).in_folder(folder.path()).spawn()?;
    let state = KeySchema::default().state(&format!("{EPIC}.{AGENT}"));
    eventually(SOON, "the only agent to be at work", || {
        let state = client.text(&["HGET", &state, "state"])?;
        Ok((state.as_deref() == Some(AgentState::Busy.as_str())).then_some(()))
    })?;
    let store = [server.pid().context("no server")?];
    client.run(&["CONFIG", "RESETSTAT"])?;
    let (before, store_before, begun) = (cpu_of(&[coordinator.pid()])?, cpu_of(&store)?, Instant::now());
    std::thread::sleep(idle);
    let seconds = begun.elapsed().as_secs_f64();
    let share = |cpu: f64| 100.0 * cpu / seconds;
    let spent = (cpu_of(&[coordinator.pid()])? - before, cpu_of(&store)? - store_before);
    let mut asked = asked(&mut client)?;
    let name = format!("CPU of an idle coordinator, {pending} tasks wait");
    let note = format!("over {seconds:.0} s; the store's: {:.2} %", share(spent.1));
    report.add(name, ("% of a core", Better::Less), share(spent.0), None, note);
    report.goal(GOAL);
    asked.sort_by(|(.., one), (.., other)| other.total_cmp(one));
    let most: Vec<String> = asked
        .iter()
        .take(NAMED)
        .map(|(command, calls, usec)| {
            format!("{command} {:.1}/s of {:.2} ms", calls / seconds, usec / calls / 1_000.0)
        })
        .collect();
    let unit = ("1/s", Better::Less);
    report.add("  commands at the store", unit, calls(&asked) / seconds, None, most.join(", "));
    Ok(())
}
