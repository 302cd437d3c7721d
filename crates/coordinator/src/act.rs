//! Acting: what was decided, done. Whatever fails is decided anew by the next step.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_sdk::witness;
use futures_util::StreamExt as _;
use futures_util::stream;
use lifecycle_cli::output;
use lifecycle_cli::output::count;
use lifecycle_core::fate::ProcessFate;
use lifecycle_core::ids::{Incarnation, TaskId};
use lifecycle_core::plan::SprintPlan;
use lifecycle_core::record::AgentRecord;
use lifecycle_core::sprint::{Absence, Action, Exit, Process, SprintView, decide, seat_of, waited_for};
use lifecycle_core::sweep::Reason;
use lifecycle_core::task::{Assignment, Cost, TaskRecord, TaskState};
use lifecycle_redis::{Assigned, Judged, ReapOutcome, Target};

use crate::desk::{Desk, News, Trouble, written};
use crate::look::Looked;
use crate::pressure::Manner;
use crate::sprint::{Sprint, Stage};

/// Assignments that are on their way at once.
const AT_ONCE: usize = 32;

/// An id may be held for a moment by an agent that is leaving.
const HELD_AFTER: Duration = Duration::from_secs(1);
/// Time between two tries to remove a life of an earlier run, which may live.
const REAP_PAUSE: Duration = Duration::from_secs(1);

/// A task for an agent.
struct Gift {
    agent: usize,
    life: Incarnation,
    assignment: Assignment,
    /// The task's record once it is given.
    record: TaskRecord,
}

impl Sprint {
    /// One step of a running sprint. `true` if it changed something, so that there may be more to do at once.
    pub(crate) async fn work(&mut self, desk: &Desk) -> Result<bool, Trouble> {
        let Looked { seats, grips } = self.look(desk).await?;
        if self.stage != Stage::Running {
            return Ok(true);
        }
        let occupied = self.posts.iter().flat_map(|post| post.occupied.iter().cloned()).collect();
        let view = SprintView {
            plan: &self.plan,
            records: &self.records,
            grips: &grips,
            seats: &seats,
            occupied: &occupied,
            stopping: desk.urgency().is_some(),
            restart: desk.restart_policy(),
            lease: desk.settings().sweep.orphan_threshold,
        };
        let actions = decide(&view, desk.now());
        let waiting = waited_for(&view);
        self.tell_held(desk);
        self.tell_waiting(desk, &waiting);
        // A removal that was refused is no reason to try it again at once.
        let changed = actions.iter().any(|action| !matches!(action, Action::Reap { .. }));
        let (gifts, others): (Vec<Action>, Vec<Action>) =
            actions.into_iter().partition(|action| matches!(action, Action::Assign { .. }));
        for action in others {
            self.act(desk, action).await?;
        }
        self.hand_out(desk, gifts).await?;
        self.show(desk);
        Ok(changed)
    }

    async fn act(&mut self, desk: &Desk, action: Action) -> Result<(), Trouble> {
        match action {
            gift @ Action::Assign { .. } => self.hand_out(desk, vec![gift]).await,
            Action::Fail { task, record } => self.settle(desk, &task, record).await,
            Action::Recall { task, run, cost } => self.recall(desk, &task, run, cost).await,
            Action::Reap { agent, incarnation } => self.reap_earlier(desk, agent, incarnation).await,
            Action::Start { agent } => {
                self.launch(desk, agent);
                Ok(())
            }
            Action::End { agent } => {
                let now = desk.now();
                if let Some(child) = &mut self.posts[agent].child {
                    child.ask(Manner::Fenced, now);
                }
                Ok(())
            }
            Action::GiveUp { agent } => {
                self.give_up(desk, agent);
                Ok(())
            }
            Action::Complete => {
                self.stage = Stage::Winding(Manner::Finished);
                Ok(())
            }
        }
    }

    /// Gives tasks to agents, many at once: with a large fleet, one after the other would keep most of it waiting.
    async fn hand_out(&mut self, desk: &Desk, gifts: Vec<Action>) -> Result<(), Trouble> {
        let gifts = gifts.into_iter().filter_map(|gift| self.gift(gift));
        let life = desk.life();
        let mut given = stream::iter(gifts.collect::<Vec<_>>())
            .map(async |gift: Gift| {
                let id = &self.plan.agents[gift.agent].id;
                let store = desk.store();
                let reply = store.assign_task(&life, id, gift.life, &gift.assignment).await;
                (gift, reply)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        given.sort_by_key(|(gift, _)| gift.agent);
        let mut trouble = None;
        for (gift, reply) in given {
            // Any other answer means that something changed since we looked.
            match reply.map_err(Trouble::from).and_then(written) {
                Ok(Assigned::Ok) => self.note_given(&gift),
                Ok(_) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn gift(&self, action: Action) -> Option<Gift> {
        let Action::Assign { task, agent, incarnation } = action else { return None };
        let planned = self.plan.tasks.iter().find(|planned| planned.id == task)?;
        let waiting = self.records.get(&task)?;
        let record = TaskRecord {
            state: TaskState::Assigned,
            attempt: waiting.attempt + 1,
            run: waiting.run + 1,
            agent_id: Some(self.plan.agents[agent].id.to_string()),
            incarnation: Some(incarnation),
            detail: None,
            ..waiting.clone()
        };
        let assignment = Assignment {
            sprint: self.plan.id.clone(),
            run: record.run,
            attempt: record.attempt,
            max_attempts: record.max_attempts,
            input: planned.input.clone(),
            timeout: self.plan.agents[agent].task_timeout,
            task,
        };
        Some(Gift { agent, life: incarnation, assignment, record })
    }

    fn note_given(&mut self, gift: &Gift) {
        self.records.insert(gift.assignment.task.clone(), gift.record.clone());
        self.posts[gift.agent].given += 1;
    }

    async fn settle(&mut self, desk: &Desk, task: &TaskId, to: TaskRecord) -> Result<(), Trouble> {
        // The next look tells of it.
        written(desk.store().settle_task(&desk.life(), &self.plan.id, task, &to).await?).map(drop)
    }

    /// Whatever comes in is taken by the next look, this one too.
    async fn recall(&mut self, desk: &Desk, task: &TaskId, run: u32, cost: Cost) -> Result<(), Trouble> {
        let (store, life) = (desk.store(), desk.life());
        let why = "lost with the store's memory";
        written(store.recall_task(&life, &self.plan.id, (task, run), cost, why).await?).map(drop)
    }

    /// Removes an earlier life of one of our agents, if it is over.
    async fn reap_earlier(
        &mut self,
        desk: &Desk,
        agent: usize,
        incarnation: Incarnation,
    ) -> Result<(), Trouble> {
        let now = desk.now();
        let post = &mut self.posts[agent];
        if post.reap_tried.is_some_and(|tried| now.saturating_sub(tried) < REAP_PAUSE) {
            return Ok(());
        }
        post.reap_tried = Some(now);
        let id = self.plan.agents[agent].id.clone();
        if let Some(record) = &self.posts[agent].record
            && record.ended.is_none()
        {
            // On this very host its end can be proven, and what it left running ended.
            witness::bear(desk.store(), record, id.as_str(), desk.agent.id().as_str()).await?;
        }
        self.reap(desk, id.as_str(), incarnation, Reason::ProcessExited).await
    }

    /// Removes a registration that is over. The script looks for itself: a life whose end nobody has proven, and whose
    /// lease runs, stays.
    pub(crate) async fn reap(
        &self,
        desk: &Desk,
        id: &str,
        incarnation: Incarnation,
        reason: Reason,
    ) -> Result<(), Trouble> {
        let record = desk.store().record(id).await?.filter(|record| record.incarnation == incarnation);
        let Some(record) = record else { return Ok(()) };
        let reason = if record.ended.is_some() { reason } else { Reason::StaleHeartbeat };
        let target = Target {
            id,
            record: Some(&record),
            judged: Judged::Missing,
            left_behind: &[],
            reason,
            force: false,
            token: None,
            by: desk.agent.id().as_str(),
            process: self.known_of(id, incarnation),
        };
        if let ReapOutcome::Reaped(removed) = desk.store().reap(&target).await? {
            let keys = output::count(removed.keys_deleted, "key");
            self.say(desk, &format!("{id} cleaned up, {keys} removed"));
        }
        Ok(())
    }

    /// Ids that somebody else holds, each said once.
    fn tell_held(&mut self, desk: &Desk) {
        let now = desk.now();
        let mut held = Vec::new();
        for (post, agent) in self.posts.iter_mut().zip(&self.plan.agents) {
            let since = match post.process {
                Process::NotStarted { since } | Process::Vacant { since, .. } => since,
                Process::Running | Process::GivenUp { .. } => continue,
            };
            let Some(record) = &post.record else { continue };
            let is_over = record.ended.is_some() || post.has_buried(record.incarnation);
            let is_news = post.told_held != Some(record.incarnation);
            if !is_over && is_news && now.saturating_sub(since) >= HELD_AFTER {
                post.told_held = Some(record.incarnation);
                held.push(held_line(agent.id.as_str(), record));
            }
        }
        held.iter().for_each(|line| self.warn(desk, line));
    }

    /// What the tasks wait for where nobody is there to do them, said once.
    fn tell_waiting(&mut self, desk: &Desk, absent: &[(usize, Absence)]) {
        let line = waiting_line(&self.plan, &self.records, absent);
        if line != self.told_waiting {
            if let Some(line) = &line {
                self.warn(desk, line);
            }
            self.told_waiting = line;
        }
    }

    /// What was proven of the processes of a life.
    fn known_of(&self, id: &str, life: Incarnation) -> ProcessFate {
        let buried = seat_of(&self.plan, id).and_then(|seat| self.posts[seat].buried.as_ref());
        buried.filter(|buried| buried.life == life).map_or(ProcessFate::Unknown, |buried| buried.fate.process)
    }

    fn launch(&mut self, desk: &Desk, agent: usize) {
        let now = desk.now();
        let again = self.count_restart(desk, agent, now);
        let plan = &self.plan.agents[agent];
        let (news, sprint) = (desk.news.clone(), self.number);
        let exited = move |status| {
            // The loop has ended if nobody listens.
            let _ = news.send(News::Exited { sprint, agent, status });
        };
        match desk.launcher.start(&self.plan, plan, exited) {
            Ok(child) => {
                let post = &mut self.posts[agent];
                (post.process, post.child) = (Process::Running, Some(child));
                (post.missing_since, post.reaped, post.told_held) = (None, None, None);
                if let Some(again) = again {
                    self.warn(desk, &again);
                }
            }
            Err(error) => {
                self.posts[agent].process = Process::Vacant { since: now, how: Exit::Crashed };
                self.warn(desk, &format!("{} could not be started: {error}", plan.id));
            }
        }
    }

    /// What to say of it, if this is a restart.
    fn count_restart(&mut self, desk: &Desk, agent: usize, now: Duration) -> Option<String> {
        let post = &mut self.posts[agent];
        let Process::Vacant { how, .. } = post.process else { return None };
        let id = &self.plan.agents[agent].id;
        match how {
            Exit::Crashed => {}
            // It never was there.
            Exit::Held => return None,
            Exit::Left | Exit::Spent | Exit::NoStore | Exit::Fenced => {
                return Some(format!("{id} is started again"));
            }
        }
        post.restarts.push(now);
        let policy = desk.restart_policy();
        let recent = post.restarts.iter().filter(|at| now.saturating_sub(**at) <= policy.window).count();
        Some(format!("{id} is started again ({recent} of {})", count(policy.limit.into(), "time")))
    }

    fn give_up(&mut self, desk: &Desk, agent: usize) {
        let Process::Vacant { since, .. } = self.posts[agent].process else { return };
        self.posts[agent].process = Process::GivenUp { since };
        let id = &self.plan.agents[agent].id;
        let log = desk.launcher.agent_log(&self.plan, &self.plan.agents[agent]);
        self.warn(
            desk,
            &format!(
                "{id} is given up, it ended as often as it was started; its own words are in {}",
                log.display()
            ),
        );
    }
}

fn held_line(id: &str, record: &AgentRecord) -> String {
    let pid = record.pid.map(|pid| format!(" by pid {pid}")).unwrap_or_default();
    let parent = record.parent.as_deref().map(|parent| format!(", started by {parent}")).unwrap_or_default();
    format!("{id} is held{pid} on {}{parent}: not started here until it is free", record.host)
}

fn waiting_line(
    plan: &SprintPlan,
    records: &BTreeMap<TaskId, TaskRecord>,
    absent: &[(usize, Absence)],
) -> Option<String> {
    let (first, _) = absent.first()?;
    let pending = records.values().filter(|record| record.state == TaskState::Pending).count();
    let of = |wanted: Absence| absent.iter().filter(|(_, absence)| *absence == wanted).count() as u64;
    let reasons = [
        (Absence::Retired, "not to be replaced"),
        (Absence::Held, "held by somebody else"),
        (Absence::GivenUp, "given up"),
    ];
    let reasons =
        reasons.map(|(absence, words)| (of(absence), words)).into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<String> =
        reasons.map(|(number, words)| format!("{} {words}", count(number, "id"))).collect();
    let id = &plan.agents[*first].id;
    Some(format!(
        "{} for an agent ({}); `lifecyclectl restart {id}` asks for one that left or was given up",
        if pending == 1 { "1 task waits".into() } else { format!("{pending} tasks wait") },
        reasons.join(", ")
    ))
}
