//! `agent-sdk`: what a Rust agent embeds.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_sdk::{Agent, AgentError, AgentSettings, Attempt, Outcome, StopCause, Urgency, Work};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::{EpicId, SprintId, TaskId};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::Role;
use lifecycle_core::wire::task::{Assignment, Cost, TaskRecord, TaskState};
use lifecycle_redis::{Assigned, Fenced, Reap, ReapOutcome};
use lifecycle_tests::Server;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn settings(server: &Server) -> Settings {
    let mut settings = Settings::default();
    settings.redis.url = server.url();
    settings.heartbeat.interval = Duration::from_millis(200);
    settings.sweep.orphan_threshold = Duration::from_secs(5);
    settings
}

fn wanted(server: &Server, id: &str) -> AgentSettings {
    AgentSettings::new(id).unwrap().settings(settings(server)).handle_signals(false)
}

/// A coordinator with one sprint `s` of one task `t`.
async fn sprint(server: &Server) -> Agent {
    let epic = EpicId::new("e").unwrap();
    let coordinator =
        Agent::register(wanted(server, "e.coordinator").role(Role::Coordinator).epic(epic.clone()))
            .await
            .unwrap();
    let tasks = BTreeMap::from([(TaskId::new("t").unwrap(), TaskRecord::pending(2, 3))]);
    let started = coordinator
        .store()
        .coordinator(&coordinator.life())
        .start_sprint(&epic, &sprint_id(), &tasks, &[])
        .await;
    assert!(matches!(started.unwrap(), Fenced::Ok(_)));
    coordinator
}

fn sprint_id() -> SprintId {
    SprintId::new("s").unwrap()
}

fn task(attempt: u32) -> Assignment {
    Assignment {
        task: TaskId::new("t").unwrap(),
        sprint: sprint_id(),
        run: attempt,
        attempt,
        max_attempts: 2,
        input: "work".into(),
        timeout: None,
    }
}

async fn worker(server: &Server) -> Agent {
    Agent::register(wanted(server, "worker-1").sprint(sprint_id())).await.unwrap()
}

async fn assign(coordinator: &Agent, worker: &Agent, attempt: u32) -> Assignment {
    let life = worker.life();
    let task = Assignment { run: record(coordinator).await.run + 1, ..task(attempt) };
    let store = coordinator.store().coordinator(&coordinator.life());
    let given = timeout(SOON, async {
        loop {
            match store.assign_task(worker.id(), life.incarnation, &task).await.unwrap() {
                // Until its first beat it is starting.
                Fenced::Ok(Assigned::AgentBusy) => tokio::task::yield_now().await,
                given => return given,
            }
        }
    });
    assert_eq!(given.await.unwrap(), Fenced::Ok(Assigned::Ok));
    timeout(SOON, worker.next_task()).await.unwrap().unwrap()
}

async fn record(coordinator: &Agent) -> TaskRecord {
    coordinator
        .store()
        .coordinator(&coordinator.life())
        .task_records(&sprint_id())
        .await
        .unwrap()
        .readable
        .remove("t")
        .unwrap()
}

async fn reap(by: &Agent, id: &str) -> ReapOutcome {
    let now = by.store().server_time().await.unwrap();
    let suspect = by.store().sweeper().suspects(&[(id.into(), now)], now).await.unwrap().remove(0);
    let target = Reap { force: true, ..Reap::of(&suspect, Reason::Operator, "test") };
    by.store().sweeper().reap(&target).await.unwrap()
}

#[tokio::test]
async fn a_task_is_recorded_once_and_a_result_of_a_reaped_life_does_not_count() {
    let server = Server::start().unwrap();
    let coordinator = sprint(&server).await;
    let first = worker(&server).await;
    let given = assign(&coordinator, &first, 1).await;
    let attempt = first
        .run_task(given, async |_| {
            assert!(matches!(reap(&coordinator, "worker-1").await, ReapOutcome::Reaped(removed) if removed.tasks_requeued == 1));
            Work::Completed("too late".into())
        })
        .await;
    assert!(matches!(attempt, Err(AgentError::Fenced)), "{attempt:?}");
    timeout(SOON, first.fenced()).await.unwrap();
    assert_eq!(record(&coordinator).await.state, TaskState::Assigned, "it waits in the requeue");

    let Fenced::Ok(back) =
        coordinator.store().coordinator(&coordinator.life()).take_incoming(&sprint_id()).await.unwrap()
    else {
        panic!("the coordinator was fenced")
    };
    assert_eq!((back.returned.len(), back.returned[0].run), (1, 1));
    assert_eq!(back.returned[0].cost, Cost::Nothing, "an operator's order costs a task nothing");
    let second = worker(&server).await;
    let given = assign(&coordinator, &second, 1).await;
    let attempt = second.run_task(given, async |_| Work::Completed("in time".into())).await.unwrap();
    assert_eq!(attempt, Attempt::Recorded(Outcome::Completed));
    let settled = record(&coordinator).await;
    assert_eq!(
        (settled.state, settled.attempt, settled.run, settled.detail.as_deref()),
        (TaskState::Completed, 1, 2, Some("in time"))
    );
    second.shutdown(StopCause::Done).await.unwrap();
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_used_up_attempts_end_failed() {
    let server = Server::start().unwrap();
    let coordinator = sprint(&server).await;
    let worker = worker(&server).await;
    for attempt in 1..=2 {
        assert_eq!(record(&coordinator).await.state, TaskState::Pending);
        let given = assign(&coordinator, &worker, attempt).await;
        let ended = worker.run_task(given, async |_| panic!("on purpose")).await.unwrap();
        assert_eq!(ended, Attempt::Recorded(Outcome::Failed));
        coordinator.store().coordinator(&coordinator.life()).take_incoming(&sprint_id()).await.unwrap();
    }
    let settled = record(&coordinator).await;
    assert_eq!((settled.state, settled.detail.as_deref()), (TaskState::Failed, Some("panicked")));
}

#[tokio::test]
async fn a_panic_outside_of_tasks_releases_the_agent_and_goes_on_as_a_panic() {
    let server = Server::start().unwrap();
    let agent = Agent::register(wanted(&server, "worker-1")).await.unwrap();
    let store = agent.store().clone();
    agent.own_key("cache:worker-1").await.unwrap();
    let panicking = agent.clone();
    let ended = tokio::spawn(async move {
        panicking.live(async || panic!("a bug in the agent")).await.unwrap();
    });
    assert!(timeout(SOON, ended).await.unwrap().unwrap_err().is_panic(), "no success is reported");
    assert_eq!(store.operator().view("worker-1").await.unwrap(), None);
    assert_eq!(
        store.operator().product_keys().await.unwrap().0,
        ["agents:log", "lifecycle:generation", "memory:stats"]
    );
    assert_eq!(agent.stop_requested().unwrap().cause, StopCause::Panic);
}

#[tokio::test]
async fn declared_keys_go_with_the_agent_and_those_of_others_cannot_be_claimed() {
    let server = Server::start().unwrap();
    let mut client = server.client().unwrap();
    for (clean, id) in [(true, "a-1"), (false, "a-2")] {
        let agent = Agent::register(wanted(&server, id)).await.unwrap();
        agent.own_key("cache:x").await.unwrap();
        agent.depend_on(&["db".into()]).await.unwrap();
        client.run(&["SET", "cache:x", "1"]).unwrap();
        client.run(&["SET", "cache:y", "1"]).unwrap();
        for claimed in ["agent:state:other", "agents:active", "sprint:tasks:s", ""] {
            assert!(agent.own_key(claimed).await.is_err(), "{claimed}");
        }
        if clean {
            agent.shutdown(StopCause::Done).await.unwrap();
        } else {
            assert!(matches!(reap(&agent, id).await, ReapOutcome::Reaped(_)));
            assert_eq!(reap(&agent, id).await, ReapOutcome::AlreadyGone, "reaping twice does nothing twice");
            timeout(SOON, agent.fenced()).await.unwrap();
            assert!(matches!(agent.own_key("cache:z").await, Err(AgentError::Fenced)));
        }
        assert!(!client.exists("cache:x").unwrap() && client.exists("cache:y").unwrap());
        let left: Vec<_> =
            client.keys().unwrap().into_iter().filter(|key| key.starts_with("agent:")).collect();
        assert_eq!(left, [""; 0]);
    }
}

#[tokio::test]
async fn shutting_down_hands_unfinished_tasks_back_and_one_not_begun_keeps_its_attempt() {
    let server = Server::start().unwrap();
    let coordinator = sprint(&server).await;
    let worker = worker(&server).await;
    assign(&coordinator, &worker, 1).await;
    worker.request_stop(Urgency::Drain, StopCause::Requested);
    assert_eq!(worker.next_task().await, None, "no work once asked to stop");
    assert_eq!(worker.shutdown(StopCause::Done).await.unwrap().tasks_requeued, 1);
    worker.shutdown(StopCause::Done).await.unwrap();
    coordinator.store().coordinator(&coordinator.life()).take_incoming(&sprint_id()).await.unwrap();
    let waiting = record(&coordinator).await;
    assert_eq!((waiting.state, waiting.attempt), (TaskState::Pending, 0));
}

#[tokio::test]
async fn a_result_survives_a_store_that_lost_its_memory() {
    let server = Server::start().unwrap();
    let coordinator = sprint(&server).await;
    let worker = worker(&server).await;
    let given = assign(&coordinator, &worker, 1).await;
    let known = coordinator
        .store()
        .coordinator(&coordinator.life())
        .task_records(&sprint_id())
        .await
        .unwrap()
        .readable;
    let incarnation = worker.life().incarnation;
    let flushed = tokio::sync::Notify::new();
    let attempt = worker.run_task(given, async |_| {
        server.client().unwrap().run(&["FLUSHALL"]).unwrap();
        flushed.notify_one();
        Work::Completed("kept".into())
    });
    let restore = async {
        flushed.notified().await;
        // As the coordinator's loop does: register again (its beat does), then put the sprint back.
        let tasks = known.into_iter().map(|(task, record)| (TaskId::new(task).unwrap(), record)).collect();
        let epic = EpicId::new("e").unwrap();
        loop {
            let life = coordinator.life();
            match coordinator
                .store()
                .coordinator(&life)
                .start_sprint(&epic, &sprint_id(), &tasks, &[])
                .await
                .unwrap()
            {
                Fenced::Ok(_) if coordinator.store().record("worker-1").await.unwrap().is_some() => break,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let (attempt, ()) = timeout(SOON, async { tokio::join!(attempt, restore) }).await.unwrap();
    assert_eq!(attempt.unwrap(), Attempt::Recorded(Outcome::Completed));
    assert_eq!(record(&coordinator).await.detail.as_deref(), Some("kept"));
    assert_eq!(worker.life().incarnation, incarnation);
}

#[tokio::test]
async fn losing_the_coordinator_orders_its_children_to_stop_and_takes_the_sprint_with_it() {
    let server = Server::start().unwrap();
    let coordinator = sprint(&server).await;
    let wanted = wanted(&server, "worker-1").sprint(sprint_id()).parent(coordinator.id().clone());
    let worker = Agent::register(wanted).await.unwrap();
    assert!(matches!(reap(&worker, "e.coordinator").await, ReapOutcome::Reaped(_)));
    let stop = timeout(SOON, worker.shutdown_requested()).await.unwrap();
    assert_eq!((stop.urgency, stop.cause), (Urgency::Terminate, StopCause::CoordinatorLost));
    worker.shutdown(stop.cause).await.unwrap();
    let keys = server.client().unwrap().keys().unwrap();
    assert!(
        !keys
            .iter()
            .any(|key| key.starts_with("sprint:") || key.starts_with("epic:") || key.starts_with("agent:")),
        "{keys:?}"
    );
}
