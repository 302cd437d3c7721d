//! `agent-sdk`: what a Rust agent embeds.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_sdk::{Agent, AgentError, AgentSettings, Attempt, Outcome, StopCause, Urgency, Work};
use lifecycle_core::wire::epic_record::EpicStatus;
use lifecycle_core::wire::ids::TaskId;
use lifecycle_core::wire::record::Role;
use lifecycle_core::wire::task::{Assignment, Cost, TaskRecord, TaskState};
use lifecycle_redis::{
    Assigned, CoordinatorStore, EpicClaim, Fenced, Incoming, ReapOutcome, SprintStarted, TaskRecords,
};
use lifecycle_tests::eventually;

use crate::fleet::SOON;
use crate::site::{ATTEMPTS, BOSS, Site, assignment, epic, known_sprint, reap_by_force, sprint, task};

const WORKER: &str = "shop.coder-1";

/// A site where agents beat often.
fn site() -> Site {
    Site::with(|settings| {
        settings.heartbeat.interval = Duration::from_millis(200);
        settings.sweep.orphan_threshold = Duration::from_secs(5);
    })
}

impl Site {
    fn embedded(&self, id: &str) -> AgentSettings {
        let settings = AgentSettings::new(id).unwrap().settings(self.store.settings().clone());
        settings.handle_signals(false)
    }

    fn embed(&self, settings: AgentSettings) -> Agent {
        self.done(Agent::register(settings))
    }

    /// A coordinator that runs the sprint.
    fn embedded_coordinator(&self) -> Agent {
        let boss = self.embed(self.embedded(BOSS).role(Role::Coordinator).epic(epic()));
        self.start_sprint(&boss.life());
        boss
    }

    /// A worker of that sprint.
    fn embedded_worker(&self) -> Agent {
        self.embed(self.embedded(WORKER).sprint(sprint()))
    }

    /// Hands the task out to the worker, which takes it in hand.
    fn assign(&self, boss: &Agent, worker: &Agent, attempt: u32) -> Assignment {
        let life = worker.life();
        let run = assignment(self.task_record(boss).run + 1, attempt);
        let given = eventually(SOON, "the worker's first beat, until which it is starting", || {
            let given = self.hand_out(&boss.life(), &life, &run);
            Ok((given != Fenced::Ok(Assigned::AgentBusy)).then_some(given))
        });
        assert_eq!(given.unwrap(), Fenced::Ok(Assigned::Ok));
        self.soon(worker.next_task()).unwrap()
    }

    fn task_records(&self, boss: &Agent) -> TaskRecords {
        self.done(coordinating(boss).task_records(&sprint()))
    }

    fn task_record(&self, boss: &Agent) -> TaskRecord {
        self.task_records(boss).readable.remove(task().as_str()).unwrap()
    }

    fn take_incoming(&self, boss: &Agent) -> Incoming {
        match self.done(coordinating(boss).take_incoming(&sprint())) {
            Fenced::Ok(incoming) => incoming,
            other => panic!("{other:?}"),
        }
    }

    fn shut_down(&self, agent: &Agent) -> u64 {
        self.done(agent.shutdown(StopCause::Done)).tasks_requeued
    }
}

fn coordinating(boss: &Agent) -> CoordinatorStore {
    boss.store().coordinator(&boss.life())
}

#[test]
fn a_task_is_recorded_once_and_a_result_of_a_reaped_life_does_not_count() {
    let site = site();
    let boss = site.embedded_coordinator();
    let first = site.embedded_worker();
    let given = site.assign(&boss, &first, 1);
    let attempt = site.runtime.block_on(first.run_task(given, async |_| {
        let reaped = reap_by_force(&site.store, WORKER).await;
        assert!(matches!(reaped, ReapOutcome::Reaped(removed) if removed.tasks_requeued == 1));
        Work::Completed("too late".into())
    }));
    assert!(matches!(attempt, Err(AgentError::Fenced)), "{attempt:?}");
    site.soon(first.fenced());
    assert_eq!(site.task_record(&boss).state, TaskState::Assigned, "it waits in the requeue");

    let back = site.take_incoming(&boss);
    assert_eq!((back.returned.len(), back.returned[0].run), (1, 1));
    assert_eq!(back.returned[0].cost, Cost::Nothing, "an operator's order costs a task nothing");
    let second = site.embedded_worker();
    let given = site.assign(&boss, &second, 1);
    let attempt = site.done(second.run_task(given, async |_| Work::Completed("in time".into())));
    assert_eq!(attempt, Attempt::Recorded(Outcome::Completed));
    let settled = site.task_record(&boss);
    assert_eq!(
        (settled.state, settled.attempt, settled.run, settled.detail.as_deref()),
        (TaskState::Completed, 1, 2, Some("in time"))
    );
    site.shut_down(&second);
}

#[test]
fn a_panic_is_a_failed_attempt_and_used_up_attempts_end_failed() {
    let site = site();
    let boss = site.embedded_coordinator();
    let worker = site.embedded_worker();
    for attempt in 1..=ATTEMPTS {
        assert_eq!(site.task_record(&boss).state, TaskState::Pending);
        let given = site.assign(&boss, &worker, attempt);
        let ended = site.done(worker.run_task(given, async |_| panic!("on purpose")));
        assert_eq!(ended, Attempt::Recorded(Outcome::Failed));
        site.take_incoming(&boss);
    }
    let settled = site.task_record(&boss);
    assert_eq!((settled.state, settled.detail.as_deref()), (TaskState::Failed, Some("panicked")));
}

#[test]
fn a_panic_outside_of_tasks_releases_the_agent_and_goes_on_as_a_panic() {
    let site = site();
    let agent = site.embed(site.embedded(WORKER));
    site.done(agent.own_key("cache:of-the-coder"));
    let panicking = agent.clone();
    let ended = site.runtime.spawn(async move {
        panicking.live(async || panic!("a bug in the agent")).await.unwrap();
    });
    assert!(site.soon(ended).unwrap_err().is_panic(), "no success is reported");
    assert_eq!(site.done(site.store.operator().view(WORKER)), None);
    assert_eq!(
        site.done(site.store.operator().product_keys()).0,
        ["agents:log", "lifecycle:generation", "memory:stats"]
    );
    assert_eq!(agent.stop_requested().unwrap().cause, StopCause::Panic);
}

#[test]
fn declared_keys_go_with_the_agent_and_those_of_others_cannot_be_claimed() {
    let mut site = site();
    for (clean, id) in [(true, "a-1"), (false, "a-2")] {
        let agent = site.embed(site.embedded(id));
        site.done(agent.own_key("cache:x"));
        site.done(agent.depend_on(&["db".into()]));
        site.redis(&["SET", "cache:x", "1"]);
        site.redis(&["SET", "cache:y", "1"]);
        for claimed in ["agent:state:other", "agents:active", "sprint:tasks:s", ""] {
            assert!(site.runtime.block_on(agent.own_key(claimed)).is_err(), "{claimed}");
        }
        if clean {
            site.shut_down(&agent);
        } else {
            site.reap_by_force(&agent.life());
            let again = site.runtime.block_on(reap_by_force(&site.store, id));
            assert_eq!(again, ReapOutcome::AlreadyGone, "reaping twice does nothing twice");
            site.soon(agent.fenced());
            let claim = site.runtime.block_on(agent.own_key("cache:z"));
            assert!(matches!(claim, Err(AgentError::Fenced)));
        }
        assert!(!site.client.exists("cache:x").unwrap() && site.client.exists("cache:y").unwrap());
        let left: Vec<_> = site.keys().into_iter().filter(|key| key.starts_with("agent:")).collect();
        assert_eq!(left, [""; 0]);
    }
}

#[test]
fn shutting_down_hands_unfinished_tasks_back_and_one_not_begun_keeps_its_attempt() {
    let site = site();
    let boss = site.embedded_coordinator();
    let worker = site.embedded_worker();
    site.assign(&boss, &worker, 1);
    worker.request_stop(Urgency::Drain, StopCause::Requested);
    assert_eq!(site.runtime.block_on(worker.next_task()), None, "no work once asked to stop");
    assert_eq!(site.shut_down(&worker), 1);
    site.shut_down(&worker);
    site.take_incoming(&boss);
    let waiting = site.task_record(&boss);
    assert_eq!((waiting.state, waiting.attempt), (TaskState::Pending, 0));
}

#[test]
fn a_result_survives_a_store_that_lost_its_memory() {
    let site = site();
    let boss = site.embedded_coordinator();
    let worker = site.embedded_worker();
    let given = site.assign(&boss, &worker, 1);
    let known = site.task_records(&boss).readable;
    let incarnation = worker.life().incarnation;
    let flushed = tokio::sync::Notify::new();
    let attempt = worker.run_task(given, async |_| {
        site.server.client().unwrap().run(&["FLUSHALL"]).unwrap();
        flushed.notify_one();
        Work::Completed("kept".into())
    });
    let restore = async {
        flushed.notified().await;
        // As the coordinator's loop does: register again (its beat does), then put the sprint back.
        let tasks = known.into_iter().map(|(task, record)| (TaskId::new(task).unwrap(), record)).collect();
        let again = EpicClaim { epic: &epic(), plan: "", epoch: 1, place: &BTreeMap::new(), again: true };
        loop {
            // Refused until the beat has registered the coordinator again.
            coordinating(&boss).take_epic(again).await.unwrap();
            match coordinating(&boss).start_sprint(&epic(), &sprint(), known_sprint(&tasks)).await.unwrap() {
                Fenced::Ok(SprintStarted::Ok) if site.store.record(WORKER).await.unwrap().is_some() => break,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let (attempt, ()) = site.soon(async { tokio::join!(attempt, restore) });
    assert_eq!(attempt.unwrap(), Attempt::Recorded(Outcome::Completed));
    assert_eq!(site.task_record(&boss).detail.as_deref(), Some("kept"));
    assert_eq!(worker.life().incarnation, incarnation);
}

#[test]
fn losing_the_coordinator_orders_its_children_to_stop_and_leaves_the_sprint_to_its_epic() {
    let mut site = site();
    let boss = site.embedded_coordinator();
    let worker = site.embed(site.embedded(WORKER).sprint(sprint()).parent(boss.id().clone()));
    site.reap_by_force(&boss.life());
    let stop = site.soon(worker.shutdown_requested());
    assert_eq!((stop.urgency, stop.cause), (Urgency::Drain, StopCause::CoordinatorLost));
    site.done(worker.shutdown(stop.cause));
    let keys = site.keys();
    assert!(!keys.iter().any(|key| key.starts_with("agent:")), "{keys:?}");
    let record = site.done(site.store.epic(&epic())).unwrap();
    assert_eq!((record.status, record.epoch), (EpicStatus::Waiting, 1));
    assert_eq!(site.task_record(&boss).state, TaskState::Pending);
}
