//! What the containment modes cost: the start of a command, and the processes that guard it, beside what other programs take
//! for a part of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::program::on_path;
use lifecycle_tests::{PlainClient, Role, Server, descendants, role_binary};

use crate::processes::{SOON, STARTS, cpu_of, registered, role, took};
use crate::report::{Better, CostReport, median};
use crate::step;

const MODE: &str = "LIFECYCLE_CONTAINMENT__MODE";
/// From the weakest on.
const MODES: [&str; 3] = ["none", "guard", "auto"];
const MILLISECONDS: (&str, Better) = ("ms", Better::Less);
/// What the strongest layer may add to a start, in ms.
const START_GOAL: f64 = 5.0;
/// What the guard of an agent may have of memory of its own, in KiB.
const MEMORY_GOAL: f64 = 1024.0;

/// Programs that hold a command, too, with the arguments that make them do it.
const OTHERS: [(&str, &[&str]); 2] = [
    ("bwrap", &["--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc"]),
    ("tini", &["-s", "--"]),
];

pub(crate) fn measure(
    server: &Server,
    supervisors: u16,
    idle: Duration,
    report: &mut CostReport,
) -> Result<()> {
    start_cost(server, report)?;
    guards(server, supervisors, idle, report)
}

/// All ways in turn, so that they see the same machine.
fn start_cost(server: &Server, report: &mut CostReport) -> Result<()> {
    step("starting a short command in each containment mode");
    let agent = role_binary("agent")?;
    let supervised = |mode| {
        let mut command = Command::new(&agent);
        command.args(["run", "--id", "bench-mode", "--", "true"]);
        command.env("LIFECYCLE_REDIS__URL", server.url()).env(MODE, mode);
        command
    };
    let mut ways: Vec<(&str, Command)> = vec![("bare", Command::new("true"))];
    ways.extend(OTHERS.iter().filter_map(|(name, args)| Some((*name, holding(name, args)?))));
    ways.extend(MODES.map(|mode| (mode, supervised(mode))));

    let mut refused = BTreeMap::new();
    for (name, way) in &mut ways {
        refused.extend(refusal(way)?.map(|why| (*name, why)));
    }
    ways.retain(|(name, _)| !refused.contains_key(name));
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..STARTS {
        for (name, way) in &mut ways {
            times.entry(name).or_default().push(took(way)?);
        }
    }
    let medians = times.into_iter().map(|(name, times)| (name, median(times))).collect();
    Starts { medians, refused }.report(report);
    Ok(())
}

/// `true`, held by another program; `None` where that is not installed.
fn holding(name: &str, args: &[&str]) -> Option<Command> {
    let mut command = Command::new(on_path(name)?);
    command.args(args).arg("true");
    Some(command)
}

/// What a way says that does not work here.
fn refusal(way: &mut Command) -> Result<Option<String>> {
    // Into a file: a pipe would stay open for as long as anything that was started.
    let mut said = tempfile::tempfile()?;
    let status = way.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?).status()?;
    if status.success() {
        return Ok(None);
    }
    let mut text = String::new();
    said.rewind()?;
    said.read_to_string(&mut text)?;
    let last = text.lines().last().unwrap_or("it did not say why");
    Ok(Some(last.trim_start_matches("error: ").to_owned()))
}

/// How long a start takes, by the name of the way.
struct Starts {
    medians: BTreeMap<&'static str, f64>,
    refused: BTreeMap<&'static str, String>,
}

impl Starts {
    fn report(&self, report: &mut CostReport) {
        for mode in MODES {
            let (baseline, note) =
                if mode == "none" { ("bare", "`true` by itself") } else { ("none", "mode none") };
            let name = format!("agent run -- true, mode {mode}");
            match self.medians.get(mode) {
                Some(ours) => {
                    report.add(name, MILLISECONDS, *ours, self.medians.get(baseline).copied(), note)
                }
                None => report.not_here(name, MILLISECONDS, self.why_not(mode)),
            }
        }
        for (other, _) in OTHERS {
            self.report_added(other, report);
        }
    }

    /// What containing adds to a start, beside what another program adds to that of a bare command.
    fn report_added(&self, other: &'static str, report: &mut CostReport) {
        let name = "added to a start by mode auto";
        let Some(ours) = self.added("auto", "none") else {
            return report.not_here(name, MILLISECONDS, self.why_not("auto"));
        };
        match self.added(other, "bare") {
            Some(theirs) => {
                report.add(name, MILLISECONDS, ours, Some(theirs), format!("by {other}, to a bare command"));
            }
            None => report.add(
                name,
                MILLISECONDS,
                ours,
                None,
                format!("{other} is not here: {}", self.why_not(other)),
            ),
        }
        report.goal(START_GOAL);
    }

    fn added(&self, way: &str, to: &str) -> Option<f64> {
        Some(self.medians.get(way)? - self.medians.get(to)?)
    }

    fn why_not(&self, way: &str) -> &str {
        self.refused.get(way).map_or("not on PATH", String::as_str)
    }
}

/// Memory, CPU and wake-ups of the processes that guard idle agents.
fn guards(server: &Server, supervisors: u16, idle: Duration, report: &mut CostReport) -> Result<()> {
    step(&format!("the guards of {supervisors} idle agents"));
    let mut client = server.client()?;
    let figures = [
        ("private memory of the guard of an agent", ("KiB", Better::Less)),
        ("CPU of idle guards", ("% of a core", Better::Less)),
        ("wake-ups of idle guards", ("a second", Better::Less)),
    ];
    let mut agents = match idle_agents(server, &mut client, supervisors) {
        Ok(agents) => agents,
        Err(error) => {
            let why = format!("{error:#}");
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            figures.into_iter().for_each(|(name, unit)| report.not_here(name, unit, why));
            return Ok(());
        }
    };
    let guards: Vec<u32> = agents.iter().flat_map(guards_of).collect();
    if guards.is_empty() {
        figures.into_iter().for_each(|(name, unit)| report.not_here(name, unit, "no `agent hold` runs"));
    } else {
        let measured = idle_cost(&guards, supervisors, idle)?;
        let note = format!("{} processes of {supervisors} agents", guards.len());
        for ((name, unit), ours) in figures.into_iter().zip(measured) {
            report.add(name, unit, ours, None, note.clone());
            report.goal(if unit.0 == "KiB" { MEMORY_GOAL } else { 0.0 });
        }
    }
    for agent in &mut agents {
        agent.stop(SOON)?;
    }
    Ok(())
}

/// # Errors
/// When one does not start; with what it wrote.
fn idle_agents(server: &Server, client: &mut PlainClient, count: u16) -> Result<Vec<Role>> {
    let start = |number: u16| {
        let id = format!("bench-guarded-{number}");
        let command = role(server, "agent")?.env(MODE, "auto");
        command.args(["run", "--id", &id, "--", "sleep", "600"]).spawn()
    };
    let mut first = start(0)?;
    // One that is refused ends at once.
    if registered_or_ended(client, &mut first)? {
        anyhow::bail!("{}", first.stderr());
    }
    let mut agents = vec![first];
    for number in 1..count {
        agents.push(start(number)?);
    }
    registered(client, count.into())?;
    Ok(agents)
}

fn registered_or_ended(client: &mut PlainClient, agent: &mut Role) -> Result<bool> {
    lifecycle_tests::eventually(SOON, "an agent to register", || {
        let is_registered = client.int(&["SCARD", &KeySchema::default().active()])? > 0;
        Ok(if agent.is_running()? { is_registered.then_some(false) } else { Some(true) })
    })
}

/// Every `agent hold` below a supervisor.
fn guards_of(agent: &Role) -> Vec<u32> {
    let holds = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|name| name.ends_with(b"agent")) && words.next() == Some(b"hold")
    };
    descendants(agent.pid()).into_iter().filter(holds).collect()
}

/// Private memory in KiB an agent, and over the idle time CPU in percent of a core and wake-ups a second.
fn idle_cost(guards: &[u32], agents: u16, idle: Duration) -> Result<[f64; 3]> {
    let memory = sum(guards, "smaps_rollup", &["Private_Clean:", "Private_Dirty:"])? / f64::from(agents);
    let (cpu, wakes, begun) = (cpu_of(guards)?, wake_ups(guards)?, Instant::now());
    std::thread::sleep(idle);
    let seconds = begun.elapsed().as_secs_f64();
    Ok([memory, 100.0 * (cpu_of(guards)? - cpu) / seconds, (wake_ups(guards)? - wakes) / seconds])
}

/// How often they have gone to sleep so far, which they can do only after they were woken.
fn wake_ups(guards: &[u32]) -> Result<f64> {
    sum(guards, "status", &["voluntary_ctxt_switches:"])
}

/// The sum of these fields of a file of each process, in the file's unit.
fn sum(pids: &[u32], file: &str, fields: &[&str]) -> Result<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        for field in fields {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let value = line.and_then(|line| line.split_whitespace().next());
            sum += value.with_context(|| format!("{file} without {field}"))?.parse::<f64>()?;
        }
    }
    Ok(sum)
}
