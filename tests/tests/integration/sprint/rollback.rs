//! A running sprint whose store comes back as it was some time ago.

use std::time::Duration;

use super::{SPRINT, Stage, finish, nothing_is_left, sprint, task};
use crate::fleet::Fleet;

#[test]
fn tasks_that_were_completed_or_handed_out_since_the_snapshot_run_once_all_the_same() {
    let script = "echo {task} >> begun; until [ -e {task}.gate ]; do sleep 0.02; done";
    let ids = ["a", "b", "c", "d", "e", "f"];
    let stage = Stage::new(&sprint("api", &[], 2, script, &ids.map(|id| (id, ""))));
    let mut fleet = Fleet::with_lease(Duration::from_secs(5));
    let _sweeper = fleet.sweeper();
    let mut coordinator = stage.coordinator(&fleet);
    stage.wait_for_lines("begun", 2);
    fleet.redis(&["SAVE"]);
    for (gate, begun) in [("a.gate", 3), ("b.gate", 4)] {
        stage.open(gate);
        stage.wait_for_lines("begun", begun);
    }
    fleet.restart();
    coordinator.wait_for_line(|line| line.contains("the store went back in time"), SPRINT).unwrap();
    ids.iter().for_each(|id| stage.open(&format!("{id}.gate")));
    let (code, summary) = finish(&mut coordinator);
    assert_eq!((code, &summary["tasksCompleted"]), (Some(0), &6.into()), "{}", coordinator.stderr());
    let mut begun = stage.lines("begun");
    begun.sort();
    assert_eq!(begun, ids, "{}", coordinator.stderr());
    for id in ids {
        let done = task(&summary, id);
        assert_eq!((&done["attempts"], &done["crashes"]), (&1.into(), &0.into()), "{id}");
    }
    nothing_is_left(&mut fleet, &coordinator);
}
