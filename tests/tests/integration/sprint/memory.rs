//! Agents with a memory limit in a sprint.

use std::time::Duration;

use lifecycle_core::wire::event::Payload;

use super::{Stage, finish, nothing_is_left, sprint, task};
use crate::fleet::{Fleet, SOON};

#[test]
fn an_agent_over_its_soft_memory_limit_finishes_its_task_and_a_fresh_one_does_the_next() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(5));
    let mut alerts = fleet.server.client().unwrap().subscribe(&["system:alerts"]).unwrap();
    let script = "[ $LIFECYCLE_TASK_ID = small ] || x=$(head -c 60000000 /dev/zero | tr '\\0' a); \
                  echo $LIFECYCLE_TASK_ID $LIFECYCLE_TOKEN >> lives; until [ -e gate ]; do sleep 0.02; done";
    let plan = sprint("s", &[], 1, script, &[("large", ""), ("small", "needs = [\"large\"]")]);
    let stage = Stage::new(&plan.replace("count = 1", "count = 1\nmemory_soft_limit = \"40MiB\""));
    let mut coordinator = stage.coordinator(&fleet);
    let (_, alert) = alerts.next(SOON).unwrap().unwrap();
    let alert: lifecycle_core::wire::event::Event = lifecycle_core::wire::codec::decode(&alert).unwrap();
    assert_eq!(alert.agent_id.as_deref(), Some("shop.s-coder"));
    assert!(
        matches!(alert.payload, Payload::MemoryLimitExceeded { reason: Some(limit), .. } if limit == "soft")
    );
    stage.open("gate");
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(code, Some(0), "{summary}");
    for id in ["large", "small"] {
        assert_eq!(
            (&task(&summary, id)["state"], &task(&summary, id)["attempts"]),
            (&"completed".into(), &1.into())
        );
    }
    let lives = stage.lines("lives");
    let token = |index: usize| lives[index].split(' ').nth(1).unwrap().to_owned();
    assert!(lives.len() == 2 && token(0) != token(1), "two lives of one id: {lives:?}");
    nothing_is_left(&mut fleet, &coordinator);
}
