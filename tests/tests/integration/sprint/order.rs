//! What a plan has begin after what: sprints after sprints, tasks after the tasks they need.

use super::{Stage, finish, nothing_is_left, sprint, task, until};
use crate::fleet::Fleet;

#[test]
fn sprints_run_side_by_side_unless_after_orders_them() {
    let meet = |own: &str, other: &str| {
        format!("touch {own}.up; {}; touch {own}.done", until(&format!("{other}.up")))
    };
    let plan = [
        sprint("ship", &["api", "web"], 1, "test -e api.done && test -e web.done", &[("go", "attempts = 1")]),
        sprint("api", &[], 1, &meet("api", "web"), &[("a", "")]),
        sprint("web", &[], 1, &meet("web", "api"), &[("w", "")]),
    ];
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan.concat()));
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &3.into()), "{}", coordinator.stderr());
    nothing_is_left(&mut fleet, &coordinator);
}

#[test]
fn a_task_begins_once_all_it_needs_is_complete_and_its_output_is_kept() {
    let tasks = [
        ("third", "needs = [\"first\", \"second\"]"),
        ("second", "needs = [\"first\"]"),
        ("first", "input = 'say $HOME'"),
    ];
    let script = "echo {task} >> order; printf '%s\n' \"$LIFECYCLE_TASK_INPUT\"";
    let (fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 3, script, &tasks)));
    let mut coordinator = stage.coordinator(&fleet);
    assert_eq!(finish(&mut coordinator).0, Some(0));
    assert_eq!(stage.lines("order"), ["first", "second", "third"]);
    assert_eq!(stage.lines("runs/shop/api/first.log"), ["say $HOME"]);
}

#[test]
fn a_task_that_needs_a_failed_one_fails_unrun_and_the_sprint_completes_with_exit_1() {
    let tasks = [
        ("bad", "attempts = 2"),
        ("next", "needs = [\"bad\"]"),
        ("last", "needs = [\"next\"]"),
        ("good", ""),
    ];
    let script = "echo {task} >> begun; test {task} != bad";
    let plan = sprint("api", &[], 1, script, &tasks) + &sprint("ship", &["api"], 1, script, &[("go", "")]);
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&plan));
    let mut coordinator = stage.coordinator(&fleet);
    let (code, summary) = finish(&mut coordinator);
    assert_eq!(code, Some(1));
    for (id, state, attempts, detail) in [
        ("bad", "failed", 2, "exit 1"),
        ("next", "failed", 0, "needs bad, which failed"),
        ("last", "failed", 0, "needs next, which failed"),
        ("good", "completed", 1, "exit 0"),
        ("go", "failed", 0, "not run: sprint shop.api failed"),
    ] {
        let task = task(&summary, id);
        assert_eq!(
            (&task["state"], &task["attempts"], &task["detail"]),
            (&state.into(), &attempts.into(), &detail.into())
        );
    }
    let mut begun = stage.lines("begun");
    begun.sort();
    assert_eq!(begun, ["bad", "bad", "good"]);
    nothing_is_left(&mut fleet, &coordinator);
}
