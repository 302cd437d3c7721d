//! One run of a cell: start, wait for the tree, strike, watch, and clear away.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use lifecycle_tests::eventually::eventually;
use lifecycle_tests::plain::PlainClient;
use lifecycle_tests::process::Role;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::audit::{self, Entry};
use crate::ground::Ground;
use crate::matrix::{Cell, Mode, Who};
use crate::place::{Place, Places, one_line};
use crate::processes::{end_all, marked};
use crate::strike::Cast;
use crate::tree::{KINDS, Tree};
use crate::watch::{End, Watch};

/// What is alive then has survived.
pub(crate) const BOUND: Duration = Duration::from_secs(10);
/// How long those who look after processes may take to go, once the processes are gone.
const LEAVING: Duration = Duration::from_secs(10);
/// How long the audit may take to know of a life that is over: a lease, and a pass.
const TELLING: Duration = Duration::from_secs(20);
/// After so long `agent host` has seen what there is: it looks every 250 ms.
const SEEN_WITHIN: Duration = Duration::from_millis(700);
/// A tree stands for so long before the blow, in ms.
const STANDING: std::ops::RangeInclusive<u64> = 0..=150;

/// Tries cells one after the other, so that each has the machine for itself.
pub(crate) struct Runner<'a> {
    ground: &'a Ground,
    places: &'a Places<'a>,
    store: PlainClient,
    random: StdRng,
    runs: u16,
    started: u32,
    /// What was found of each mode at each place.
    refusals: Vec<(Who, Mode, Option<Refusal>)>,
}

/// A cell and what was seen.
pub(crate) struct CellResult {
    pub(crate) cell: Cell,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) runs: Vec<Run>,
}

/// Why a cell was not tried.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The trial cannot start roles this way on this host.
    Host(String),
    /// `agent run` says that it cannot have this mode.
    Product(String),
    /// It said nothing, or not in time.
    Trouble(String),
}

/// What was seen in one run.
#[derive(Default)]
pub(crate) struct Run {
    /// The agent, as the audit knows it.
    agent: String,
    pub(crate) end: End,
    /// Pids of those who looked after the tree and are still there when nothing of it is.
    pub(crate) idlers: Vec<i32>,
    pub(crate) audit: Vec<Entry>,
    /// Why it came to no end.
    pub(crate) trouble: Option<String>,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(ground: &'a Ground, places: &'a Places<'a>, random: StdRng, runs: u16) -> Result<Self> {
        let store = ground.server.client()?;
        Ok(Self { ground, places, store, random, runs, started: 0, refusals: Vec::new() })
    }

    pub(crate) fn run(&mut self, cell: Cell) -> CellResult {
        let refusal = self.refusal(cell);
        let mut runs = Vec::new();
        if refusal.is_none() {
            runs.extend((0..self.runs).map(|_| self.run_once(cell)));
        }
        CellResult { cell, refusal, runs }
    }

    /// Fills in what the audit says. That is asked for at the end, because a lease takes its time to end.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) fn hear_the_audit(&mut self, results: &mut [CellResult]) -> Result<()> {
        let mut waiting: Vec<&mut Run> = results.iter_mut().flat_map(|result| &mut result.runs).collect();
        let store = &mut self.store;
        // One that never comes shows in its cell.
        let _ = eventually(TELLING, "the audit to know of every life", || {
            let log = audit::read(store)?;
            for run in &mut waiting {
                run.audit = audit::of_first_life(&log, &run.agent);
            }
            Ok(waiting.iter().all(|run| run.trouble.is_some() || run.is_reaped()).then_some(()))
        });
        Ok(())
    }

    /// The product is asked once for each mode and place.
    fn refusal(&mut self, cell: Cell) -> Option<Refusal> {
        let place = match self.places.get(cell.who) {
            Ok(place) => place,
            Err(reason) => return Some(Refusal::Host(reason)),
        };
        let known = self.refusals.iter().find(|(who, mode, _)| (*who, *mode) == (cell.who, cell.mode));
        if let Some((.., refusal)) = known {
            return refusal.clone();
        }
        let refusal = match place.refusal(cell.mode) {
            Ok(said) => said.map(Refusal::Product),
            Err(error) => Some(Refusal::Trouble(one_line(&format!("{error:#}")))),
        };
        self.refusals.push((cell.who, cell.mode, refusal.clone()));
        refusal
    }

    fn run_once(&mut self, cell: Cell) -> Run {
        self.started += 1;
        let epic = format!("c{}", self.started);
        let agent = format!("{epic}.w");
        let folder = self.ground.root.join(&epic);
        let tried = self.try_once(cell, &epic, &agent);
        let cleared = end_all("the end of what a cell has started", || marked(&folder));
        match tried.and_then(|run| cleared.map(|()| run)) {
            Ok(run) => Run { agent, ..run },
            Err(error) => {
                let trouble = format!("{error:#}").replace('\n', " | ");
                Run { agent, trouble: Some(trouble), ..Run::default() }
            }
        }
    }

    fn try_once(&mut self, cell: Cell, epic: &str, agent: &str) -> Result<Run> {
        let place = self.places.get(cell.who).map_err(anyhow::Error::msg)?;
        let tree = Tree::plant(self.ground.folder(epic)?.join("tree"))?;
        let roles = self.ground.folder(&format!("{epic}/roles"))?;
        let plan = cell.target.has_coordinator().then(|| roles.join("plan.toml"));
        let command = tree.command(&self.ground.server.program().path);
        let mut role = match &plan {
            Some(plan) => start_coordinator(place, cell.mode, plan, epic, &command)?,
            None => start_supervisor(place, cell.mode, &roles, agent, &command)?,
        };
        tree.wait(|| problem(&mut role))?;
        let host = cell.target.has_host().then(|| start_host(place, cell.mode, &roles)).transpose()?;
        sleep(Duration::from_millis(self.random.random_range(STANDING)));

        let cast = Cast::find(agent, plan.as_deref())?;
        let victims = cast.victims(cell.target)?;
        let watch = Watch::begin(&tree);
        let struck = victims.strike(cell.blow, &mut self.random);
        let end = watch.until_gone(struck, BOUND)?;
        let idlers = if end.is_clean() { idlers(&cast) } else { Vec::new() };
        // Only now: dropping a role ends what it has started.
        drop((role, host));
        Ok(Run { end, idlers, ..Run::default() })
    }
}

fn start_coordinator(
    place: &Place<'_>,
    mode: Mode,
    plan: &Path,
    epic: &str,
    command: &[String],
) -> Result<Role> {
    // One attempt and one crash: what comes after the blow is of no interest.
    let text = format!(
        "[epic]\nid = \"{epic}\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"w\"\ncommand = {command:?}\n\
         [[sprint.task]]\nid = \"t\"\nattempts = 1\nmax_crashes = 1\n"
    );
    fs::write(plan, text)?;
    let folder = plan.parent().unwrap_or(plan);
    place.role("coordinator", mode, folder, &["run".to_owned(), plan.display().to_string()])?.spawn()
}

fn start_supervisor(
    place: &Place<'_>,
    mode: Mode,
    folder: &Path,
    agent: &str,
    command: &[String],
) -> Result<Role> {
    let run = ["run", "--id", agent, "--"].map(str::to_owned);
    place.role("agent", mode, folder, &[&run[..], command].concat())?.spawn()
}

/// Starts the daemon of the host, and waits until it has looked at the tree: it cannot end what it has never seen.
fn start_host(place: &Place<'_>, mode: Mode, folder: &Path) -> Result<Role> {
    let words = ["host", "--log-level", "info"].map(str::to_owned);
    let host = place.role("agent", mode, folder, &words)?.spawn()?;
    host.wait_for_line(|line| line.contains("looking after"), LEAVING)?;
    sleep(SEEN_WITHIN);
    Ok(host)
}

/// What a role said that has ended before its time.
fn problem(role: &mut Role) -> Option<String> {
    match role.is_running() {
        Ok(true) => None,
        Ok(false) => Some(one_line(&role.stderr())),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Who of the cast does not leave, although there is nothing left to look after.
fn idlers(cast: &Cast) -> Vec<i32> {
    let gone = eventually(LEAVING, "the rest to leave", || Ok(cast.alive().is_empty().then_some(())));
    if gone.is_ok() { Vec::new() } else { cast.alive().iter().map(|process| process.pid).collect() }
}

impl Refusal {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Host(reason) | Self::Product(reason) | Self::Trouble(reason) => reason,
        }
    }
}

impl Run {
    pub(crate) fn is_reaped(&self) -> bool {
        self.audit.iter().any(Entry::removes)
    }
}

impl CellResult {
    /// A few words, before the audit is known.
    pub(crate) fn progress(&self) -> String {
        if let Some(refusal) = &self.refusal {
            return format!("not here: {}", refusal.reason());
        }
        let runs: Vec<String> = self.runs.iter().map(Run::progress).collect();
        runs.join(", ")
    }
}

impl Run {
    fn progress(&self) -> String {
        match (&self.trouble, self.end.took) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(took)) if self.end.is_clean() => format!("0 left after {} ms", took.as_millis()),
            _ => format!("{} of {} LEFT", self.end.kinds.len(), KINDS.len()),
        }
    }
}
