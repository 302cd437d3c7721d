//! The sprint that is run while containers fail.

use std::fmt::Write as _;

/// The epic, and with it the coordinator's id and the folder of its output.
pub(crate) const EPIC: &str = "compose-test";
/// Its only sprint.
pub(crate) const SPRINT: &str = "across-containers";
/// How many agents work.
pub(crate) const AGENTS: usize = 6;
/// What a task prints as the last thing it does.
pub(crate) const LAST_WORD: &str = "done";
/// The file that ends the waiting tasks.
pub(crate) const FINISH_FILE: &str = "/runs/curtain";

/// Tasks that take two seconds each.
const WORK: usize = 40;
/// Tasks that are in hand from the beginning until [`FINISH_FILE`] is there, so that the sprint outlasts every fault.
const WAIT: usize = 2;
/// Tasks that begin only after the last fault.
const LAST: usize = 4;

/// Every task's id.
pub(crate) fn tasks() -> Vec<String> {
    let named =
        |kind: &'static str, count: usize| (1..=count).map(move |number| format!("{kind}-{number:02}"));
    named("wait", WAIT).chain(named("work", WORK)).chain(named("last", LAST)).collect()
}

/// The text of the plan. Each attempt leaves a process behind that has left its parent and its session. With `-e` a task whose
/// `sleep` is ended prints no last word.
pub(crate) fn text() -> String {
    let mut plan = format!(
        "[epic]\nid = \"{EPIC}\"\n\n[[sprint]]\nid = \"{SPRINT}\"\n\n[[sprint.agent]]\nid = \"agent\"\ncount = {AGENTS}\n\
         command = [\"sh\", \"-ec\", '''\nsetsid sleep 600 &\n\
         case \"$1\" in wait-*) until [ -e {FINISH_FILE} ]; do sleep 0.2; done ;; *) sleep 2 ;; esac\n\
         echo {LAST_WORD}\n''', \"agent\", \"{{task}}\"]\n"
    );
    let needs = (1..=WAIT).map(|number| format!("\"wait-{number:02}\"")).collect::<Vec<_>>().join(", ");
    for task in tasks() {
        let needs = if task.starts_with("last") { format!("needs = [{needs}]\n") } else { String::new() };
        let _ = write!(plan, "\n[[sprint.task]]\nid = \"{task}\"\n{needs}attempts = 5\n");
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_one_that_a_coordinator_takes() {
        let plan = lifecycle_core::sprint::plan::Plan::parse(&text()).unwrap();
        assert_eq!(plan.epic.to_string(), EPIC);
        assert_eq!(plan.sprints[0].agents.len(), AGENTS);
        assert_eq!(plan.sprints[0].tasks.len(), tasks().len());
    }
}
