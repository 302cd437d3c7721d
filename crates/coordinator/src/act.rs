//! Acting: what was decided, done. Whatever fails is decided anew by the next step.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use lifecycle_cli::output;
use lifecycle_cli::output::count;
use lifecycle_core::fate::ProcessFate;
use lifecycle_core::ids::{Incarnation, TaskId};
use lifecycle_core::sprint::{Action, Exit, Process, SprintView, decide, seat_of};
use lifecycle_core::sweep::Reason;
use lifecycle_core::task::{Assignment, TaskRecord, TaskState};
use lifecycle_redis::{Assigned, Judged, ReapOutcome, Target};

use crate::desk::{Desk, News, Trouble, written};
use crate::look::Looked;
use crate::pressure::Manner;
use crate::sprint::{Sprint, Stage};

/// Assignments that are on their way at once.
const AT_ONCE: usize = 32;

/// A task for an agent.
struct Gift {
    agent: usize,
    life: Incarnation,
    assignment: Assignment,
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
        let changed = !actions.is_empty();
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
            Action::Fail { task, record } => self.settle(desk, &task, TaskState::Pending, record).await,
            Action::Requeue { task, record } => self.settle(desk, &task, TaskState::Assigned, record).await,
            Action::Reap { agent, incarnation } => {
                self.reap(desk, self.plan.agents[agent].id.as_str(), incarnation, Reason::ProcessExited).await
            }
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
                let reply = desk.store().assign_task(&life, id, gift.life, &gift.assignment).await;
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
        let record = self.records.get(&task)?;
        let assignment = Assignment {
            sprint: self.plan.id.clone(),
            attempt: record.attempt + 1,
            max_attempts: planned.attempts,
            input: planned.input.clone(),
            timeout: self.plan.agents[agent].task_timeout,
            task,
        };
        Some(Gift { agent, life: incarnation, assignment })
    }

    fn note_given(&mut self, gift: &Gift) {
        let Some(record) = self.records.get_mut(&gift.assignment.task) else { return };
        record.state = TaskState::Assigned;
        record.attempt = gift.assignment.attempt;
        record.agent_id = Some(self.plan.agents[gift.agent].id.to_string());
        (record.incarnation, record.detail) = (Some(gift.life), None);
        self.posts[gift.agent].given += 1;
    }

    async fn settle(
        &mut self,
        desk: &Desk,
        task: &TaskId,
        from: TaskState,
        to: TaskRecord,
    ) -> Result<(), Trouble> {
        let reply = desk.store().settle_task(&desk.life(), &self.plan.id, task, from, &to).await?;
        if written(reply)? && !to.state.is_settled() {
            let detail = to.detail.as_deref().unwrap_or_default();
            self.warn(desk, &format!("{task} waits again ({detail})"));
        }
        // The next look tells of the rest.
        Ok(())
    }

    /// Removes a registration. Only called for lives that are known to be over, or have no business here.
    pub(crate) async fn reap(
        &self,
        desk: &Desk,
        id: &str,
        incarnation: Incarnation,
        reason: Reason,
    ) -> Result<(), Trouble> {
        let record = desk.store().record(id).await?.filter(|record| record.incarnation == incarnation);
        let Some(record) = record else { return Ok(()) };
        let target = Target {
            id,
            record: Some(&record),
            judged: Judged::Missing,
            left_behind: &[],
            reason,
            force: true,
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
        match desk.launcher.start(&self.plan.id, plan, exited) {
            Ok(child) => {
                let post = &mut self.posts[agent];
                (post.process, post.child) = (Process::Running, Some(child));
                (post.missing_since, post.reaped) = (None, None);
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
        if how != Exit::Crashed {
            return Some(format!("{id} is started again"));
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
        let log = desk.launcher.agent_log(&self.plan.id, id);
        self.warn(
            desk,
            &format!(
                "{id} is given up, it ended as often as it was started; its own words are in {}",
                log.display()
            ),
        );
    }
}
