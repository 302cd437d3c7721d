//! How many tasks a second go through one coordinator, from the first that is handed out to the last that is completed.
//! The work is `true`, so this is the cost of everything around it. The floor is a loop that does nothing but start
//! `true`.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lifecycle_core::wire::event::Payload;
use lifecycle_core::wire::keys::LIFECYCLE_CHANNEL;
use lifecycle_tests::Server;

use super::{asked, calls, next_event, task_ids, write_plan};
use crate::processes::{SOON, cpu_of, role};
use crate::report::{Better, CostReport, median};
use crate::step;

/// How many agents work at once.
const AGENTS: [u16; 3] = [1, 8, 64];
/// Tasks a second, whatever the number of agents.
const GOAL: f64 = 500.0;

/// Figures of one epic.
struct Rate {
    per_second: f64,
    /// CPU time of the coordinator and of the store, ms a task.
    coordinator: f64,
    store: f64,
    /// Commands at the store, a task.
    commands: f64,
}

pub(super) fn measure(tasks: u32, runs: u8, report: &mut CostReport) -> Result<()> {
    let server = Server::start()?;
    for agents in AGENTS {
        step(&format!("{tasks} tasks through a coordinator with {agents} agent(s)"));
        let (mut rates, mut floors) = (Vec::new(), Vec::new());
        // The two in turn, so that both see the same machine.
        for _ in 0..runs {
            rates.push(through_a_coordinator(&server, agents, tasks)?);
            floors.push(bare(agents, tasks)?);
        }
        let of = |figure: fn(&Rate) -> f64| median(rates.iter().map(figure).collect());
        let name = |what: &str| format!("{what}, {agents} agent(s)");
        let note = format!("`true` from a plain loop, {agents} at once");
        let unit = ("1/s", Better::More);
        report.add(
            name("tasks handed out and done"),
            unit,
            of(|rate| rate.per_second),
            Some(median(floors)),
            note,
        );
        report.goal(GOAL);
        let note = format!("and {:.2} ms of the store", of(|rate| rate.store));
        let unit = ("ms a task", Better::Less);
        report.add(name("  CPU of the coordinator"), unit, of(|rate| rate.coordinator), None, note);
        let note = "those of scripts included";
        report.add(
            name("  commands at the store"),
            ("a task", Better::Less),
            of(|rate| rate.commands),
            None,
            note,
        );
    }
    Ok(())
}

fn through_a_coordinator(server: &Server, agents: u16, tasks: u32) -> Result<Rate> {
    let folder = tempfile::tempdir()?;
    let listed: String = task_ids(tasks).map(|id| format!("[[sprint.task]]\nid = \"{id}\"\n")).collect();
    write_plan(folder.path(), agents, "\"true\"", &listed)?;
    let mut client = server.client()?;
    let mut events = server.client()?.subscribe(&[LIFECYCLE_CHANNEL])?;
    let mut coordinator =
        role(server, "coordinator")?.args(["run", "plan.toml"]).in_folder(folder.path()).spawn()?;
    let pids = [coordinator.pid(), server.pid().context("no server")?];
    let cpu = || -> Result<[f64; 2]> { Ok([cpu_of(&pids[..1])?, cpu_of(&pids[1..])?]) };
    let mut begun = None;
    let mut done = 0;
    while done < tasks {
        match next_event(&mut events, &coordinator)?.payload {
            Payload::TaskAssigned { .. } if begun.is_none() => {
                client.run(&["CONFIG", "RESETSTAT"])?;
                begun = Some((Instant::now(), cpu()?));
            }
            Payload::TaskCompleted { outcome, status, .. } => {
                ensure!(outcome.as_deref() == Some("completed"), "a task ended as {outcome:?}: {status:?}");
                done += 1;
            }
            _ => {}
        }
    }
    let (begun, before) = begun.context("tasks were completed that nobody was given")?;
    let seconds = begun.elapsed().as_secs_f64();
    let (after, commands) = (cpu()?, calls(&asked(&mut client)?));
    let status = coordinator.wait(SOON)?;
    ensure!(status.success(), "the coordinator ended with {status}:\n{}", coordinator.stderr());
    let tasks = f64::from(tasks);
    let ms = |process: usize| (after[process] - before[process]) * 1_000.0 / tasks;
    Ok(Rate { per_second: tasks / seconds, coordinator: ms(0), store: ms(1), commands: commands / tasks })
}

/// So many workers that each start `true`, wait for its end, and go on with the next.
fn bare(workers: u16, tasks: u32) -> Result<f64> {
    let begun_tasks = AtomicU32::new(0);
    let work = || -> Result<()> {
        while begun_tasks.fetch_add(1, Ordering::Relaxed) < tasks {
            let status = Command::new("true").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "`true` ended with {status}");
        }
        Ok(())
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker of the plain loop panicked")))
        })
    })?;
    Ok(f64::from(tasks) / begun.elapsed().as_secs_f64())
}
