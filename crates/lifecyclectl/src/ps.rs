//! `ps`: lists the agents, and how they are.

mod tree;

use clap::Args;
use lifecycle_cli::exit;
use lifecycle_cli::output::{self, Output, Table, age, printable, size};
use lifecycle_core::agent::liveness::Standing;
use lifecycle_core::wire::record::Role;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{AgentView, OperatorStore};
use serde::Serialize;

use crate::{epics, wording};

/// How many characters of its progress a listing shows of an agent.
const LONGEST_PROGRESS: usize = 40;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lifecyclectl ps
  lifecyclectl ps --state busy
  lifecyclectl ps --tree
  lifecyclectl ps --sprint api --output json | jq '.agents[] | select(.alive | not)'

On a terminal too narrow for all columns some are left out and the header ends with an ellipsis; --wide shows them.

LEASE is how long an agent may still be silent. An agent whose lease is over, or whose process was seen to \
end, waits for the next pass of a sweeper. Agents of kind `plain` speak the plain protocol: a heartbeat, no registration.")]
pub(crate) struct Arguments {
    /// Only agents in this state: starting, running, busy, waiting, draining, stopped
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only agents that work for this sprint
    #[arg(long, value_name = "SPRINT")]
    sprint: Option<String>,
    /// Show each agent below its parent; an agent whose parent is not shown stands for itself. JSON stays a flat list, which
    /// names parents
    #[arg(long)]
    tree: bool,
    /// Show every column whole, however narrow the terminal
    #[arg(long, short)]
    wide: bool,
}

/// Columns that a narrow terminal does without, the first to go first. None is left out anywhere else.
const DROPPED: &[&str] = &["HELD BY", "PARENT", "HOST:PID", "KIND", "MEMORY", "BEAT", "SPRINT", "STATE"];

/// One agent, as it is listed. Times are ms, of server time for registered agents.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    agent_id: String,
    alive: bool,
    plain: bool,
    role: Option<Role>,
    kind: Option<String>,
    state: Option<String>,
    epic: Option<String>,
    sprint: Option<String>,
    parent: Option<String>,
    host: Option<String>,
    pid: Option<u64>,
    incarnation: Option<String>,
    containment: Option<String>,
    lease_end: Option<ServerTime>,
    ended: Option<String>,
    last_beat: Option<ServerTime>,
    rss: Option<u64>,
    progress: Option<String>,
    #[serde(skip)]
    lease: String,
    /// What is drawn before its id in a tree.
    #[serde(skip)]
    before: String,
}

#[derive(Debug, Serialize)]
struct Listing {
    now: ServerTime,
    agents: Vec<Row>,
    counts: Counts,
    warnings: Vec<String>,
    /// Epics that wait for a coordinator.
    waiting: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    agents: u64,
    alive: u64,
    over: u64,
    ended: u64,
    silent: u64,
    plain: u64,
}

pub(crate) async fn run(arguments: &Arguments, store: &OperatorStore, output: Output) -> anyhow::Result<u8> {
    let seen = store.observe(1).await?;
    let fleet = store.fleet().await?;
    let now = store.server_time().await?;
    let wanted: Vec<&AgentView> = fleet.iter().filter(|view| arguments.take(view)).collect();
    let mut listing = Listing {
        now,
        counts: Counts::of(&wanted, now),
        agents: wanted.into_iter().map(|view| Row::of(view, now)).collect(),
        warnings: wording::warnings(&seen, store.settings()),
        waiting: epics::waiting(store, now).await?,
    };
    match output {
        Output::Json => output::print_json(&listing)?,
        Output::Table => {
            if arguments.tree {
                listing.arrange();
            }
            output::print_stdout(&listing.text(arguments.wide))?
        }
    };
    Ok(exit::OK)
}

impl Arguments {
    fn take(&self, view: &AgentView) -> bool {
        let row = |wanted: &Option<String>, found: Option<String>| wanted.is_none() || *wanted == found;
        row(&self.state, state(view)) && row(&self.sprint, sprint(view))
    }
}

fn state(view: &AgentView) -> Option<String> {
    match &view.record {
        Some(record) => Some(record.state.to_string()),
        None => view.beat.as_ref()?.state.clone(),
    }
}

fn sprint(view: &AgentView) -> Option<String> {
    view.record.as_ref()?.sprint.as_ref().map(ToString::to_string)
}

impl Counts {
    fn of(fleet: &[&AgentView], now: ServerTime) -> Self {
        let mut counts = Self::default();
        for view in fleet {
            counts.agents += 1;
            counts.plain += u64::from(view.record.is_none());
            *match view.signs_of_life().standing(now) {
                Standing::Alive { .. } => &mut counts.alive,
                Standing::Over { .. } => &mut counts.over,
                Standing::Ended(_) => &mut counts.ended,
                Standing::Silent => &mut counts.silent,
            } += 1;
        }
        counts
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {} alive", output::count(self.agents, "agent"), self.alive);
        for (number, words) in [
            (self.over, "whose lease is over"),
            (self.ended, "ended and not yet cleaned up"),
            (self.silent, "with neither lease nor heartbeat"),
        ] {
            if number > 0 {
                text.push_str(&format!(", {number} {words}"));
            }
        }
        if self.plain > 0 {
            text.push_str(&format!(" ({} on the plain protocol)", self.plain));
        }
        text
    }
}

impl Row {
    pub(crate) fn of(view: &AgentView, now: ServerTime) -> Self {
        let (record, beat) = (view.record.as_ref(), view.beat.as_ref());
        let known = view.signs_of_life();
        let standing = known.standing(now);
        let filled = |text: &String| (!text.is_empty()).then(|| text.clone());
        let beat_pid = beat.and_then(|beat| beat.pid);
        Self {
            agent_id: view.id.clone(),
            alive: matches!(standing, Standing::Alive { .. }),
            plain: record.is_none(),
            role: record.map(|record| record.role),
            kind: record.and_then(|record| filled(&record.kind)),
            state: state(view),
            epic: record.and_then(|record| record.epic.as_ref()).map(ToString::to_string),
            sprint: sprint(view),
            parent: record.and_then(|record| record.parent.clone()),
            host: record.and_then(|record| filled(&record.host)),
            pid: record.map_or(beat_pid, |record| record.pid.map(u64::from)),
            incarnation: record.map(|record| record.incarnation.to_string()),
            containment: record.and_then(|record| record.containment).map(|layers| layers.to_string()),
            lease_end: view.lease_end,
            ended: known.ended.clone(),
            last_beat: view.last_beat(),
            rss: beat.and_then(|beat| beat.memory_usage).map(|memory| memory.rss),
            progress: record
                .and_then(|record| record.progress.clone())
                .or_else(|| beat.and_then(|beat| beat.progress.clone())),
            lease: wording::lease(standing, now),
            before: String::new(),
        }
    }

    /// What the agent is, in a word or two: its kind, and its role unless it is a worker.
    pub(crate) fn nature(&self) -> String {
        match (self.role, &self.kind) {
            (None, _) => "plain".into(),
            (Some(Role::Worker), Some(kind)) => kind.clone(),
            (Some(role), Some(kind)) if kind != role.as_str() => format!("{kind} ({role})"),
            (Some(role), _) => role.to_string(),
        }
    }

    /// `host:pid`, as far as it is known.
    pub(crate) fn place(&self) -> Option<String> {
        match (&self.host, self.pid) {
            (Some(host), Some(pid)) => Some(format!("{host}:{pid}")),
            (Some(host), None) => Some(host.clone()),
            (None, Some(pid)) => Some(format!("pid {pid}")),
            (None, None) => None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.agent_id
    }

    pub(crate) fn lease(&self) -> &str {
        &self.lease
    }

    pub(crate) fn alive(&self) -> bool {
        self.alive
    }

    /// Names and texts of all fields, for people.
    pub(crate) fn described(&self, now: ServerTime) -> Vec<(&'static str, String)> {
        let fields = [
            ("kind", Some(self.nature())),
            ("state", self.state.clone()),
            ("epic", self.epic.clone()),
            ("sprint", self.sprint.clone()),
            ("parent", self.parent.clone()),
            ("process", self.place()),
            ("incarnation", self.incarnation.clone()),
            ("held by", self.containment.clone()),
            ("lease", Some(self.lease.clone())),
            ("last beat", self.last_beat.map(|beat| format!("{} ago", age(now.ms_since(beat))))),
            ("memory", self.rss.map(size)),
            ("progress", self.progress.clone()),
        ];
        fields.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
    }
}

/// The beginning of a text; `inspect` shows all of it.
fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_PROGRESS {
        return text.to_string();
    }
    let beginning: String = text.chars().take(LONGEST_PROGRESS - 1).collect();
    format!("{}…", beginning.trim_end())
}

impl Listing {
    /// Puts each agent below its parent.
    fn arrange(&mut self) {
        let relations: Vec<_> =
            self.agents.iter().map(|row| (row.agent_id.as_str(), row.parent.as_deref())).collect();
        let arranged = tree::arranged(&relations, tree::Strokes::for_stdout());
        let mut rows: Vec<Option<Row>> = std::mem::take(&mut self.agents).into_iter().map(Some).collect();
        let placed = arranged.into_iter().filter_map(|(place, before)| {
            let row = rows.get_mut(place)?.take()?;
            Some(Row { before, ..row })
        });
        self.agents = placed.collect();
    }

    fn text(&self, wide: bool) -> String {
        let mut table = Table::new([
            "AGENT", "KIND", "STATE", "SPRINT", "PARENT", "HOST:PID", "HELD BY", "LEASE", "BEAT", "MEMORY",
            "PROGRESS",
        ]);
        table = if wide { table.wide() } else { table.drop_first(DROPPED) };
        let shown = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        for row in &self.agents {
            table.row([
                format!("{}{}", row.before, row.agent_id),
                row.nature(),
                shown(row.state.clone()),
                shown(row.sprint.clone()),
                shown(row.parent.clone()),
                shown(row.place()),
                shown(row.containment.clone()),
                row.lease.clone(),
                shown(row.last_beat.map(|beat| age(self.now.ms_since(beat)))),
                shown(row.rss.map(size)),
                shown(
                    row.progress
                        .as_deref()
                        .map(|progress| if wide { progress.into() } else { cut(progress) }),
                ),
            ]);
        }
        let mut text = if self.agents.is_empty() { String::new() } else { table.to_string() };
        text.push_str(&self.counts.text());
        text.push('\n');
        for waiting in &self.waiting {
            text.push_str(&format!("{waiting}\n"));
        }
        for warning in &self.warnings {
            text.push_str(&format!("note: {}\n", printable(warning)));
        }
        text
    }
}
