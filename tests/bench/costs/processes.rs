//! What supervising costs on the host: real processes of the shipped binaries, beside the bare command. CPU time is the
//! kernel's own account of each process.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::{PlainClient, Reply, Role, Server, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::report::{Better, CostReport, median};
use crate::step;

/// How often the short command is started.
pub(crate) const STARTS: usize = 21;
/// Longest wait for anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(120);

pub(crate) fn measure(
    server: &Server,
    supervisors: u16,
    idle: Duration,
    report: &mut CostReport,
) -> Result<()> {
    let mut client = server.client()?;
    start_latency(server, report)?;
    idle_cpu(server, &mut client, supervisors, idle, report)?;
    mass_exit(server, &mut client, supervisors, report)
}

pub(crate) fn role(server: &Server, name: &str) -> Result<lifecycle_tests::process::RoleCommand> {
    Ok(Role::command(name)?.env("LIFECYCLE_REDIS__URL", server.url()))
}

/// The two in turn, so that both see the same machine.
fn start_latency(server: &Server, report: &mut CostReport) -> Result<()> {
    step("starting a short command, supervised and bare");
    let agent = lifecycle_tests::role_binary("agent")?;
    let (mut supervised, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        supervised.push(took(
            Command::new(&agent)
                .args(["run", "--id", "bench-start", "--", "true"])
                .env("LIFECYCLE_REDIS__URL", server.url()),
        )?);
        bare.push(took(&mut Command::new("true"))?);
    }
    let note = "`true` by itself";
    report.add("agent run -- true", ("ms", Better::Less), median(supervised), Some(median(bare)), note);
    Ok(())
}

pub(crate) fn took(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(started.elapsed().as_secs_f64() * 1_000.0)
}

fn idle_cpu(
    server: &Server,
    client: &mut PlainClient,
    supervisors: u16,
    idle: Duration,
    report: &mut CostReport,
) -> Result<()> {
    step(&format!("{supervisors} idle supervisors"));
    let mut agents = Vec::new();
    for number in 0..supervisors {
        let id = format!("bench-idle-{number}");
        agents.push(role(server, "agent")?.args(["run", "--id", &id, "--", "sleep", "600"]).spawn()?);
    }
    registered(client, supervisors.into())?;
    let pids: Vec<u32> = agents.iter().map(Role::pid).collect();
    let (before, begun) = (cpu_of(&pids)?, Instant::now());
    std::thread::sleep(idle);
    let share = 100.0 * (cpu_of(&pids)? - before) / begun.elapsed().as_secs_f64();
    for agent in &agents {
        agent.signal(Signal::TERM)?;
    }
    for agent in &mut agents {
        agent.wait(SOON)?;
    }
    let note = format!("500 would take {:.1} %", share * 500.0 / f64::from(supervisors));
    report.add(format!("CPU of {supervisors} idle agents"), ("% of a core", Better::Less), share, None, note);
    Ok(())
}

/// All supervisors of one coordinator get SIGKILL at once. Measured until it has looked at what each had left behind.
fn mass_exit(
    server: &Server,
    client: &mut PlainClient,
    supervisors: u16,
    report: &mut CostReport,
) -> Result<()> {
    step(&format!("{supervisors} supervisors killed at once"));
    let folder = tempfile::tempdir()?;
    let tasks: String =
        (0..supervisors).map(|number| format!("[[sprint.task]]\nid = \"t{number}\"\n")).collect();
    let plan = format!(
        "[epic]\nid = \"bench\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"a\"\ncount = {supervisors}\n\
         command = [\"sleep\", \"600\"]\n{tasks}"
    );
    fs::write(folder.path().join("plan.toml"), plan)?;
    let sweeper = role(server, "sweeper")?.arg("run").env("LIFECYCLE_HTTP__LISTEN", "127.0.0.1:0").spawn()?;
    let coordinator =
        role(server, "coordinator")?.args(["run", "plan.toml"]).in_folder(folder.path()).spawn()?;
    registered(client, u64::from(supervisors) + 1)?;
    let mut pids = Vec::new();
    for number in ids(supervisors) {
        let state = KeySchema::default().state(&format!("bench.{number}"));
        let pid = client.text(&["HGET", &state, "pid"])?.context("an agent without a process")?;
        pids.push(Pid::from_raw(pid.parse()?).context("no pid")?);
    }
    let before = cpu_of(&[coordinator.pid()])?;
    for pid in &pids {
        kill_process(*pid, Signal::KILL)?;
    }
    let log = KeySchema::default().log();
    eventually(SOON, "every killed supervisor to be looked after", || {
        let Reply::Array(entries) = client.run(&["XRANGE", &log, "-", "+"])? else { return Ok(None) };
        let acknowledges = |entry: &&Reply| match entry {
            Reply::Array(parts) => {
                parts.iter().any(|part| part.texts().iter().any(|text| text == "acknowledge"))
            }
            _ => false,
        };
        Ok((entries.iter().filter(acknowledges).count() >= pids.len()).then_some(()))
    })?;
    let spent = cpu_of(&[coordinator.pid()])? - before;
    drop((coordinator, sweeper));
    let name = format!("CPU of a coordinator whose {supervisors} supervisors are killed");
    report.add(name, ("s", Better::Less), spent, None, "until each was looked after and acknowledged");
    Ok(())
}

/// As a plan expands `count`.
fn ids(supervisors: u16) -> Vec<String> {
    if supervisors == 1 { vec!["a".into()] } else { (1..=supervisors).map(|n| format!("a-{n}")).collect() }
}

pub(crate) fn registered(client: &mut PlainClient, count: u64) -> Result<()> {
    let active = KeySchema::default().active();
    eventually(SOON, "all to be registered", || {
        Ok((u64::try_from(client.int(&["SCARD", &active])?)? >= count).then_some(()))
    })
}

/// User and system time of these processes so far, in seconds: fields 14 and 15 of `/proc/PID/stat`.
pub(crate) fn cpu_of(pids: &[u32]) -> Result<f64> {
    #[allow(clippy::cast_precision_loss)] // Ticks of a benchmark.
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut ticks = 0.0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(')').context("a line without a name")?.1.split_whitespace();
        let times: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        ticks += times.iter().sum::<f64>();
    }
    Ok(ticks / per_second)
}
