//! Carries out what was decided. A step that fails is decided anew by the next look.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use agent_sdk::process::{host_memory, process_here};
use agent_sdk::witness;
use futures_util::{StreamExt as _, stream};
use lifecycle_cli::output;
use lifecycle_cli::output::count;
use lifecycle_core::agent::stop_level::StopLevel;
use lifecycle_core::sprint::decide::{
    Action, Exit, Process, SprintView, WhyAbsent, decide, slot_of, waited_for,
};
use lifecycle_core::sprint::plan::SprintPlan;
use lifecycle_core::wire::ids::{AgentId, Incarnation, TaskId};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::AgentRecord;
use lifecycle_core::wire::task::{Assignment, Cost, TaskRecord, TaskState};
use lifecycle_redis::{Assigned, ReapOutcome};

use crate::child_events::ChildEvent;
use crate::children::Child;
use crate::context::{Context, Trouble, written};
use crate::observe::Observed;
use crate::sprint::{Sprint, Stage};

/// Assignments that are sent at once.
const AT_ONCE: usize = 32;

/// How long an id may be held without a warning: an agent that is leaving holds it for a moment.
const HELD_AFTER: Duration = Duration::from_secs(1);
/// Pause between two tries to remove a life of an earlier run, which may live.
const REAP_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two looks whether a host that was full has room for an agent again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// A task that is to be given to an agent.
struct Handout {
    agent: usize,
    life: Incarnation,
    assignment: Assignment,
    /// The task's record once it is given.
    record: TaskRecord,
}

impl Sprint {
    /// One step of a running sprint. `true` if it changed something, so that there may be more to do at once.
    pub(crate) async fn work(&mut self, context: &Context) -> Result<bool, Trouble> {
        self.take_in_tasks(context, true).await?;
        let Observed { slots, grips } = self.observe(context).await?;
        if self.stage != Stage::Running {
            return Ok(true);
        }
        let occupied = self.slots.iter().flat_map(|slot| slot.occupied.iter().cloned()).collect();
        let view = SprintView {
            plan: &self.plan,
            records: &self.records,
            grips: &grips,
            slots: &slots,
            occupied: &occupied,
            stopping: context.urgency().is_some(),
            paused: self.record.paused.is_some(),
            may_grow: self.may_grow(),
            server_now: self.server_now,
            restart: context.restart_policy(),
            lease: context.settings().sweep.orphan_threshold,
        };
        let actions = decide(&view, context.now());
        let waiting = waited_for(&view);
        self.tell_held(context);
        self.tell_waiting(context, waiting.as_deref());
        // A removal that was refused is no reason to try again at once.
        let changed = self.has_more || actions.iter().any(|action| !matches!(action, Action::Reap { .. }));
        let (handouts, others): (Vec<Action>, Vec<Action>) =
            actions.into_iter().partition(|action| matches!(action, Action::Assign { .. }));
        for action in others {
            self.act(context, action).await?;
        }
        self.hand_out(context, handouts).await?;
        self.show(context);
        Ok(changed)
    }

    async fn act(&mut self, context: &Context, action: Action) -> Result<(), Trouble> {
        match action {
            handout @ Action::Assign { .. } => self.hand_out(context, vec![handout]).await,
            Action::Fail { task, record, lost } => self.settle(context, &task, record, lost.as_ref()).await,
            Action::Recall { task, run, cost } => self.recall(context, &task, run, cost).await,
            Action::Reap { agent, incarnation } => self.reap_earlier(context, agent, incarnation).await,
            Action::Start { agent } => {
                self.launch(context, agent);
                Ok(())
            }
            Action::Adopt { agent, incarnation } => self.adopt_agent(context, agent, incarnation).await,
            Action::End { agent } => {
                let now = context.now();
                if let Some(child) = &mut self.slots[agent].child {
                    child.ask(StopLevel::Fenced, now);
                }
                Ok(())
            }
            Action::GiveUp { agent } => {
                self.give_up(context, agent);
                Ok(())
            }
            Action::Complete => {
                self.stage = Stage::Finishing(StopLevel::Finished);
                Ok(())
            }
        }
    }

    /// Gives tasks to agents, many at once. One after the other would keep most of a large fleet waiting.
    async fn hand_out(&mut self, context: &Context, handouts: Vec<Action>) -> Result<(), Trouble> {
        let handouts = handouts.into_iter().filter_map(|handout| self.handout(handout));
        let store = context.store();
        let mut given = stream::iter(handouts.collect::<Vec<_>>())
            .map(async |handout: Handout| {
                let id = &self.plan.agents[handout.agent].id;
                let reply = store.assign_task(id, handout.life, &handout.assignment).await;
                (handout, reply)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        given.sort_by_key(|(handout, _)| handout.agent);
        let mut trouble = None;
        for (handout, reply) in given {
            // Any other answer means that something has changed since the look.
            match reply.map_err(Trouble::from).and_then(written) {
                Ok(Assigned::Ok) => self.note_given(&handout),
                Ok(_) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn handout(&self, action: Action) -> Option<Handout> {
        let Action::Assign { task, agent, incarnation } = action else { return None };
        let planned = self.plan.tasks.get(*self.places.get(&task)?)?;
        let waiting = self.records.get(&task)?;
        let record = TaskRecord {
            state: TaskState::Assigned,
            attempt: waiting.attempt + 1,
            run: waiting.run + 1,
            agent_id: Some(self.plan.agents[agent].id.to_string()),
            incarnation: Some(incarnation),
            detail: None,
            not_before: None,
            ..waiting.clone()
        };
        let assignment = Assignment {
            sprint: self.plan.id.clone(),
            run: record.run,
            attempt: record.attempt,
            max_attempts: record.max_attempts,
            input: planned.input.clone(),
            timeout: planned.timeout.or(self.plan.agents[agent].task_timeout),
            needs: planned.needs.clone(),
            assigned_at: None,
            task,
        };
        Some(Handout { agent, life: incarnation, assignment, record })
    }

    fn note_given(&mut self, handout: &Handout) {
        self.records.insert(handout.assignment.task.clone(), handout.record.clone());
        self.slots[handout.agent].given += 1;
    }

    async fn settle(
        &mut self,
        context: &Context,
        task: &TaskId,
        to: TaskRecord,
        lost: Option<&TaskId>,
    ) -> Result<(), Trouble> {
        // If it was not settled, somebody has changed it, or what it needs, and has told so.
        if written(context.store().settle_task(&self.plan.id, task, &to, lost).await?)? {
            self.adopt(context, &BTreeMap::from([(task.to_string(), to)]));
        }
        Ok(())
    }

    /// Requeues a lost run. The next look takes it in, and so may this one.
    async fn recall(
        &mut self,
        context: &Context,
        task: &TaskId,
        run: u32,
        cost: Cost,
    ) -> Result<(), Trouble> {
        let store = context.store();
        let why = "lost with the store's memory";
        written(store.recall_task(&self.plan.id, (task, run), cost, why).await?).map(drop)
    }

    /// Removes an earlier life of one of our agents, if it is over.
    async fn reap_earlier(
        &mut self,
        context: &Context,
        agent: usize,
        incarnation: Incarnation,
    ) -> Result<(), Trouble> {
        let now = context.now();
        let slot = &mut self.slots[agent];
        if slot.reap_tried.is_some_and(|tried| now.saturating_sub(tried) < REAP_PAUSE) {
            return Ok(());
        }
        slot.reap_tried = Some(now);
        let id = self.plan.agents[agent].id.clone();
        if let Some(record) = &self.slots[agent].record
            && record.ended.is_none()
        {
            // On this very host the end of that life can be proven, and the processes it left running are ended.
            witness::bear(&context.store(), record, id.as_str(), context.agent.id().as_str()).await?;
        }
        self.reap(context, id.as_str(), incarnation, Reason::ProcessExited).await
    }

    /// Removes a registration that is over. The script checks it itself: a life stays if its end is not proven and its
    /// lease runs.
    pub(crate) async fn reap(
        &self,
        context: &Context,
        id: &str,
        incarnation: Incarnation,
        reason: Reason,
    ) -> Result<(), Trouble> {
        let record = context.store().record(id).await?.filter(|record| record.incarnation == incarnation);
        let Some(record) = record else { return Ok(()) };
        let reason = if record.ended.is_some() { reason } else { Reason::StaleHeartbeat };
        let process = self.known_of(id, incarnation);
        let outcome = context.store().reap_over(id, &record, reason, process).await?;
        if let ReapOutcome::Reaped(removed) = outcome {
            let keys = output::count(removed.keys_deleted, "key");
            self.say(context, &format!("{id} reaped, {keys} removed"));
        }
        Ok(())
    }

    /// Warns of ids that other agents hold, once for each.
    fn tell_held(&mut self, context: &Context) {
        let now = context.now();
        let mut held = Vec::new();
        for (slot, agent) in self.slots.iter_mut().zip(&self.plan.agents) {
            let since = match slot.process {
                Process::NotStarted { since } | Process::Vacant { since, .. } => since,
                Process::Running | Process::Elsewhere | Process::GivenUp { .. } => continue,
            };
            let Some(record) = slot.record.as_ref().filter(|_| !slot.has_joined) else { continue };
            let is_news = slot.told_held != Some(record.incarnation);
            if !slot.is_over(record) && is_news && now.saturating_sub(since) >= HELD_AFTER {
                slot.told_held = Some(record.incarnation);
                held.push(held_line(agent.id.as_str(), record));
            }
        }
        held.iter().for_each(|line| self.warn(context, line));
    }

    /// Tells what the tasks wait for if no agent is there to do them, once.
    fn tell_waiting(&mut self, context: &Context, absent: Option<&[(usize, WhyAbsent)]>) {
        let line = absent.and_then(|absent| waiting_line(&self.plan, &self.records, absent));
        if line != self.told_waiting {
            if let Some(line) = &line {
                self.warn(context, line);
            }
            self.told_waiting = line;
        }
    }

    /// What is known of the processes of a life.
    fn known_of(&self, id: &str, life: Incarnation) -> ProcessFate {
        let ended = slot_of(&self.plan, id).and_then(|slot| self.slots[slot].ended.as_ref());
        ended.filter(|ended| ended.life == life).map_or(ProcessFate::Unknown, |ended| ended.fate.process)
    }

    fn launch(&mut self, context: &Context, agent: usize) {
        let now = context.now();
        if self.is_host_full(context) {
            self.slots[agent].process = Process::NotStarted { since: now + FULL_PAUSE };
            return;
        }
        let again = self.count_restart(context, agent, now);
        let plan = &self.plan.agents[agent];
        let (child_events, sprint) = (context.child_events.clone(), self.number);
        let exited = move |status| {
            // Nothing listens any more once the loop has ended.
            let _ = child_events.send(ChildEvent::Exited { sprint, agent, status });
        };
        match context.launcher.start(&self.plan, plan, exited) {
            Ok(child) => {
                let slot = &mut self.slots[agent];
                (slot.process, slot.child) = (Process::Running, Some(child));
                (slot.missing_since, slot.reaped, slot.told_held) = (None, None, None);
                if let Some(again) = again {
                    self.warn(context, &again);
                }
            }
            Err(error) => {
                self.slots[agent].process = Process::Vacant { since: now, how: Exit::Crashed };
                self.warn(context, &format!("{} could not be started: {error}", plan.id));
            }
        }
    }

    /// Whether the host has no room for another agent. It is said when that begins and when it ends.
    fn is_host_full(&mut self, context: &Context) -> bool {
        let reserve = context.settings().host.memory_reserve.as_u64();
        let full = host_memory().and_then(|host| host.why_full(reserve));
        match (&full, self.told_full) {
            (Some(why), false) => {
                self.warn(
                    context,
                    &format!("no further agent is started, because this host is short of memory: {why}"),
                );
            }
            (None, true) => self.say(context, "this host has memory again: agents are started"),
            _ => {}
        }
        self.told_full = full.is_some();
        full.is_some()
    }

    /// Takes over a living agent of an earlier coordinator. If it has just ended, the next look tells.
    async fn adopt_agent(
        &mut self,
        context: &Context,
        agent: usize,
        life: Incarnation,
    ) -> Result<(), Trouble> {
        let id = self.plan.agents[agent].id.clone();
        let slot = &self.slots[agent];
        let process = slot.record.as_ref().filter(|_| !slot.has_joined).and_then(process_here);
        if !written(context.store().adopt_agent(&id, life).await?)? {
            return Ok(());
        }
        self.take_over_work(context, &id, life).await?;
        let Some(process) = process else {
            let host =
                self.slots[agent].record.as_ref().map(|record| record.host.clone()).unwrap_or_default();
            self.slots[agent].is_elsewhere(life);
            if !self.slots[agent].has_joined {
                self.say(context, &format!("{id} adopted, on {host}"));
            }
            return Ok(());
        };
        let ended = tell_end(context.clone(), self.number, agent, id.clone(), life);
        match Child::adopted(process, life, ended) {
            Ok(child) => {
                let slot = &mut self.slots[agent];
                (slot.process, slot.child) = (Process::Running, Some(child));
                (slot.missing_since, slot.reaped, slot.told_held) = (None, None, None);
                self.say(context, &format!("{id} adopted"));
            }
            Err(error) => self.warn(context, &format!("{id} could not be adopted: {error}")),
        }
        Ok(())
    }

    /// Takes over what an adopted agent has in hand. That is on record already, unless the store lost its memory while the epic
    /// had no coordinator: then only the agent knows of it.
    async fn take_over_work(
        &mut self,
        context: &Context,
        id: &AgentId,
        life: Incarnation,
    ) -> Result<(), Trouble> {
        let in_hand = context.store().assignments(id).await?;
        for run in in_hand.into_iter().filter(|run| run.sprint == self.plan.id) {
            let Some(seen) = self.records.get(&run.task) else { continue };
            let known = TaskRecord {
                state: TaskState::Assigned,
                attempt: run.attempt,
                run: run.run,
                agent_id: Some(id.to_string()),
                incarnation: Some(life),
                detail: None,
                not_before: None,
                assigned_at: run.assigned_at,
                ..seen.clone()
            };
            let forwarded = if seen.state == TaskState::Pending && seen.is_behind(&known) {
                let reply = context.store().forward_task(&self.plan.id, &run.task, (seen, &known)).await?;
                written(reply)?
            } else {
                false
            };
            if forwarded {
                let lost = "the store lost what it knew of this epic; only what living agents have in hand is not begun again";
                self.warn(context, &format!("{} is in hand with {id}: {lost}", run.task));
                self.records.insert(run.task, known);
            }
        }
        Ok(())
    }

    /// Counts a restart. Returns what to tell people, if it is one.
    fn count_restart(&mut self, context: &Context, agent: usize, now: Duration) -> Option<String> {
        let slot = &mut self.slots[agent];
        let Process::Vacant { how, .. } = slot.process else { return None };
        let id = &self.plan.agents[agent].id;
        match how {
            Exit::Crashed => {}
            // The agent never registered, so this is no restart.
            Exit::Held => return None,
            Exit::Left | Exit::Spent | Exit::NoStore | Exit::Fenced => {
                return Some(format!("{id} is started again"));
            }
        }
        slot.restarts.push(now);
        let policy = context.restart_policy();
        let recent = slot.restarts.iter().filter(|at| now.saturating_sub(**at) <= policy.window).count();
        Some(format!("{id} is started again ({recent} of {})", count(policy.limit.into(), "time")))
    }

    fn give_up(&mut self, context: &Context, agent: usize) {
        let Process::Vacant { since, .. } = self.slots[agent].process else { return };
        self.slots[agent].process = Process::GivenUp { since };
        let id = &self.plan.agents[agent].id;
        let log = context.launcher.agent_log(&self.plan, &self.plan.agents[agent]);
        self.warn(
            context,
            &format!(
                "{id} is given up, it ended as often as it was started; its own words are in {}",
                log.display()
            ),
        );
    }
}

/// Tells that an adopted agent's process has ended. Only its own parent can learn how; that its life is still registered
/// means that it did not leave by itself.
async fn tell_end(context: Context, sprint: usize, agent: usize, id: AgentId, life: Incarnation) {
    let record = context.store().record(id.as_str()).await;
    let has_left = record.is_ok_and(|record| record.is_none_or(|record| record.incarnation != life));
    let status = if has_left {
        Ok(ExitStatus::default())
    } else {
        Err(io::Error::other("its exit was not ours to see"))
    };
    let _ = context.child_events.send(ChildEvent::Exited { sprint, agent, status });
}

fn held_line(id: &str, record: &AgentRecord) -> String {
    let pid = record.pid.map(|pid| format!(" by pid {pid}")).unwrap_or_default();
    let parent = record.parent.as_deref().map(|parent| format!(", started by {parent}")).unwrap_or_default();
    format!("{id} is held{pid} on {}{parent}: not started here until it is free", record.host)
}

fn waiting_line(
    plan: &SprintPlan,
    records: &BTreeMap<TaskId, TaskRecord>,
    absent: &[(usize, WhyAbsent)],
) -> Option<String> {
    let pools = || plan.pools.iter().map(|pool| pool.name.as_str());
    let pending = records.values().filter(|record| record.state == TaskState::Pending).count();
    let of = |wanted: WhyAbsent| absent.iter().filter(|(_, absence)| *absence == wanted).count() as u64;
    let reasons = [
        (WhyAbsent::Retired, "not to be replaced"),
        (WhyAbsent::Held, "held by somebody else"),
        (WhyAbsent::GivenUp, "given up"),
    ];
    let reasons =
        reasons.map(|(absence, words)| (of(absence), words)).into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<String> =
        reasons.map(|(number, words)| format!("{} {words}", count(number, "id"))).collect();
    let waiting = if pending == 1 { "1 task waits".into() } else { format!("{pending} tasks wait") };
    if let Some(pool) = pools().next() {
        let (epic, name) = plan.id.as_str().split_once('.')?;
        return Some(format!(
            "{waiting} for an agent to join ({}): `agent run --epic {epic} --sprint {name} --pool {pool} -- CMD`",
            pools().collect::<Vec<_>>().join(", ")
        ));
    }
    let id = &plan.agents[absent.first()?.0].id;
    Some(format!(
        "{waiting} for an agent ({}); `lifecyclectl restart {id}` asks for one that left or was given up",
        reasons.join(", ")
    ))
}
