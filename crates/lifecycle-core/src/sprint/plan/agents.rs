//! The agents of a plan. One entry of the file becomes `count` agents. No two share a name, not even across sprints,
//! because epic and name are the agent's id in the whole store.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use bytesize::ByteSize;

use super::checker::Checker;
use super::problems::label;
use super::types::{AgentPlan, MAX_AGENTS, MAX_COUNT, MAX_TASK_TIMEOUT, PoolPlan, RESERVED_ENV_PREFIX};
use super::written::{self, Scalar, Spanned};
use crate::agent::memory_budget::MemoryBudget;
use crate::text::units::{parse_duration, parse_size};
use crate::wire::ids::{AgentId, AgentName, EpicId};

/// The names that agents have so far, over all sprints.
#[derive(Default)]
pub(super) struct Roster {
    /// The line of the entry each name comes from.
    taken: HashMap<AgentName, usize>,
    /// How many agents were asked for so far, by all entries.
    asked: u64,
}

impl Checker {
    /// The agents of one sprint.
    pub(super) fn agents(
        &mut self,
        sprint: (&str, Option<&EpicId>),
        entries: &[Spanned<written::Agent>],
        roster: &mut Roster,
    ) -> Option<Vec<AgentPlan>> {
        let entries: Vec<_> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.get_ref().spawn)
            .map(|(index, entry)| self.entry(sprint, index, entry, roster))
            .collect();
        Some(entries.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// What agents that somebody else starts may join.
    pub(super) fn pools(
        &mut self,
        sprint: &str,
        entries: &[Spanned<written::Agent>],
        roster: &mut Roster,
    ) -> Option<Vec<PoolPlan>> {
        let pools = entries.iter().enumerate().filter(|(_, entry)| !entry.get_ref().spawn);
        let pools: Vec<_> = pools.map(|(index, entry)| self.pool(sprint, index, entry, roster)).collect();
        pools.into_iter().collect()
    }

    fn pool(
        &mut self,
        sprint: &str,
        index: usize,
        entry: &Spanned<written::Agent>,
        roster: &mut Roster,
    ) -> Option<PoolPlan> {
        let (place, agent) = (entry.span(), entry.get_ref());
        let label = label("agent", agent.id.name(), index);
        let name: Option<AgentName> = self.id_of(&format!("{sprint}, "), &place, (&label, &agent.id));
        let of = format!("{sprint}, {label}: ");
        let started_elsewhere = [
            ("count", agent.count.is_some()),
            ("command", agent.command.as_ref().is_some_and(|command| !command.is_empty())),
            ("env", !agent.env.is_empty()),
            ("memory_limit", agent.memory_limit.is_some()),
            ("memory_soft_limit", agent.memory_soft_limit.is_some()),
        ];
        for (key, _) in started_elsewhere.iter().filter(|(_, is_there)| *is_there) {
            let mend = "with spawn = false somebody else starts its agents, and says this: remove it";
            self.refuse(&place, format!("{of}has {key}: {mend}"));
        }
        let task_timeout = self.task_timeout(&of, agent.task_timeout.as_ref());
        let name = name?;
        let names = self.expand(&of, &place, (&name, 1), roster)?;
        if names.iter().any(AgentName::is_reserved) {
            self.refuse(
                &place,
                format!("{of}the name is that of the epic's own coordinator: choose another"),
            );
            return None;
        }
        Some(PoolPlan { name, task_timeout: task_timeout? })
    }

    fn entry(
        &mut self,
        (sprint, epic): (&str, Option<&EpicId>),
        index: usize,
        entry: &Spanned<written::Agent>,
        roster: &mut Roster,
    ) -> Option<Vec<AgentPlan>> {
        let (place, agent) = (entry.span(), entry.get_ref());
        let label = label("agent", agent.id.name(), index);
        let kind = self.id_of(&format!("{sprint}, "), &place, (&label, &agent.id));
        let of = format!("{sprint}, {label}: ");
        let count = self.number(&of, "count", agent.count.as_ref(), (1, MAX_COUNT));
        if let Some(command) = &agent.command {
            self.command(&of, &place, command);
        }
        self.env(&of, &agent.env);
        let task_timeout = self.task_timeout(&of, agent.task_timeout.as_ref());
        let memory = self.memory(&of, agent);
        let kind: AgentName = kind?;
        let place = agent.id.text().map_or(place, Spanned::span);
        let names = self.expand(&of, &place, (&kind, count?), roster)?;
        let ids = self.ids(&of, &place, epic?, &names)?;
        let (task_timeout, (memory_limit, memory_soft_limit)) = (task_timeout?, memory?);
        let command: Vec<String> =
            agent.command.iter().flatten().map(|part| part.get_ref().clone()).collect();
        let env: BTreeMap<String, String> =
            agent.env.iter().map(|(name, value)| (name.clone(), value.get_ref().clone())).collect();
        let one = |(id, name)| AgentPlan {
            id,
            name,
            kind: kind.as_str().to_owned(),
            command: command.clone(),
            env: env.clone(),
            task_timeout,
            memory_limit,
            memory_soft_limit,
        };
        Some(ids.into_iter().zip(names).map(one).collect())
    }

    /// The ids of these names in the store.
    fn ids(
        &mut self,
        of: &str,
        place: &Range<usize>,
        epic: &EpicId,
        names: &[AgentName],
    ) -> Option<Vec<AgentId>> {
        if names.iter().any(AgentName::is_reserved) {
            let what = format!("{of}the name is that of the epic's own coordinator: choose another");
            self.refuse(place, what);
            return None;
        }
        // Ids grow longer with their number, so the last one alone can be too long.
        let ids = names.iter().map(|name| epic.agent(name)).collect();
        self.scoped(of, place, ids)
    }

    /// The names of one entry: its own name for one agent, numbered from 1 for several.
    fn expand(
        &mut self,
        of: &str,
        place: &Range<usize>,
        (kind, count): (&AgentName, u32),
        roster: &mut Roster,
    ) -> Option<Vec<AgentName>> {
        roster.asked += u64::from(count);
        if roster.asked > MAX_AGENTS {
            let asked = roster.asked;
            let what =
                format!("{of}the plan asks for {asked} agents up to here: use {MAX_AGENTS} or fewer in all");
            self.refuse(place, what);
            return None;
        }
        let names = match count {
            1 => Ok(vec![kind.clone()]),
            _ => (1..=count).map(|number| AgentName::new(format!("{kind}-{number}"))).collect(),
        };
        let names: Vec<AgentName> = match names {
            Ok(names) => names,
            Err(invalid) => {
                self.refuse(place, format!("{of}{invalid}, with the number that count adds: shorten the id"));
                return None;
            }
        };
        let taken = names.iter().find_map(|name| roster.taken.get(name).map(|line| (name, line)));
        if let Some((name, line)) = taken {
            let of_plan = "it must be unique in the plan";
            let what = format!("{of}the agent on line {line} has the id {:?} too: {of_plan}", name.as_str());
            self.refuse(place, what);
            return None;
        }
        let line = self.line(place);
        roster.taken.extend(names.iter().map(|name| (name.clone(), line)));
        Some(names)
    }

    fn command(&mut self, of: &str, place: &Range<usize>, command: &[Spanned<String>]) {
        let Some(program) = command.first() else {
            let mend = "add command = [\"PROGRAM\", \"ARGUMENT\"]";
            return self.refuse(place, format!("{of}has no command: {mend}"));
        };
        if program.get_ref().is_empty() {
            let what = format!("{of}command begins with an empty string: name a program there");
            self.refuse(&program.span(), what);
        }
        for part in command {
            self.no_nul(of, "command", part);
        }
    }

    fn env(&mut self, of: &str, env: &BTreeMap<String, Spanned<String>>) {
        for (name, value) in env {
            let wrong = if name.is_empty() {
                Some("is empty: give it a name")
            } else if name.contains(['=', '\0']) {
                Some("has '=' or NUL, which no environment can hold: remove it")
            } else if name.starts_with(RESERVED_ENV_PREFIX) {
                Some("is reserved for what the agent tells its command: choose another")
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.refuse(&value.span(), format!("{of}env name {name:?} {wrong}"));
            }
            self.no_nul(of, &format!("env {name:?}"), value);
        }
    }

    /// `None` when refused, `Some(None)` when absent.
    fn task_timeout(&mut self, of: &str, written: Option<&Spanned<Scalar>>) -> Option<Option<Duration>> {
        self.duration(of, "task_timeout", written, MAX_TASK_TIMEOUT)
    }

    /// A time over 0 and up to `most`; `None` when refused, `Some(None)` when absent.
    pub(super) fn duration(
        &mut self,
        of: &str,
        key: &str,
        written: Option<&Spanned<Scalar>>,
        most: Duration,
    ) -> Option<Option<Duration>> {
        let Some(written) = written else { return Some(None) };
        let time = match written.get_ref() {
            Scalar::Text(text) => parse_duration(text).and_then(|time| match time {
                Duration::ZERO => Err("is no time at all: use 1s or more".into()),
                _ if time > most && most == MAX_TASK_TIMEOUT => {
                    Err("is over a year: leave it out for no end".into())
                }
                _ if time > most => Err(format!("is over {}", humantime::format_duration(most))),
                _ => Ok(time),
            }),
            Scalar::Number(_) | Scalar::Other => {
                Err("is no text: write a duration with its unit, such as \"20m\"".into())
            }
        };
        self.accepted(of, key, written, time)
    }

    /// The hard limit and the soft one; `None` when one is refused.
    fn memory(&mut self, of: &str, agent: &written::Agent) -> Option<(Option<ByteSize>, Option<ByteSize>)> {
        let hard = self.size(of, "memory_limit", agent.memory_limit.as_ref());
        let soft = self.size(of, "memory_soft_limit", agent.memory_soft_limit.as_ref());
        let (hard, soft) = (hard?, soft?);
        let bytes = |size: Option<ByteSize>| size.map(|size| size.as_u64());
        let wrong = MemoryBudget { soft: bytes(soft), hard: bytes(hard) }.contradiction();
        if let (Some(wrong), Some(written)) = (wrong, &agent.memory_soft_limit) {
            self.refuse(&written.span(), format!("{of}memory_soft_limit {wrong}"));
            return None;
        }
        Some((hard, soft))
    }

    /// `None` when refused, `Some(None)` when absent.
    fn size(&mut self, of: &str, key: &str, written: Option<&Spanned<Scalar>>) -> Option<Option<ByteSize>> {
        let Some(written) = written else { return Some(None) };
        let limit = match written.get_ref() {
            Scalar::Text(text) => parse_size(text),
            Scalar::Number(bytes) => {
                u64::try_from(*bytes).map(ByteSize).map_err(|_| "is negative: use 1 or more bytes".into())
            }
            Scalar::Other => Err("is no size: write it as text, such as \"2GiB\"".into()),
        };
        let limit = limit.and_then(|limit| match limit.as_u64() {
            0 => Err("is no memory at all: leave it out for no limit".into()),
            _ => Ok(limit),
        });
        self.accepted(of, key, written, limit)
    }

    fn accepted<T>(
        &mut self,
        of: &str,
        key: &str,
        written: &Spanned<Scalar>,
        value: Result<T, String>,
    ) -> Option<Option<T>> {
        value.map_err(|why| self.refuse(&written.span(), format!("{of}{key} {why}"))).ok().map(Some)
    }
}
