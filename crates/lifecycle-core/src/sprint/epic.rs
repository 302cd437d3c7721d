//! Which sprints of an epic may start, and which never will.
//!
//! A sprint starts once everything in its `after` is complete; sprints that do not wait for each other run side by
//! side. A sprint that waits for a failed one is not run, because its tasks were planned on work that is not there.

use crate::sprint::plan::Plan;
use crate::wire::ids::SprintId;
use crate::wire::sprint_record::SprintOutcome;

/// Where a sprint is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not started.
    Waiting,
    /// It is at work, or its end is under way.
    Running,
    /// It is over.
    Over(SprintOutcome),
}

/// What to do with a sprint that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SprintStep {
    /// Start it.
    Start(SprintId),
    /// It will not run.
    Skip {
        /// The sprint.
        sprint: SprintId,
        /// Why, as the record of each of its tasks will say.
        why: String,
    },
}

/// What to do now, in the order of the plan. `phase` tells where each sprint is.
#[must_use]
pub fn due(plan: &Plan, phase: impl Fn(&SprintId) -> Phase) -> Vec<SprintStep> {
    let waiting = plan.sprints.iter().filter(|sprint| phase(&sprint.id) == Phase::Waiting);
    waiting
        .filter_map(|sprint| {
            let broken = sprint.after.iter().find_map(|before| match phase(before) {
                Phase::Over(SprintOutcome::Completed) | Phase::Waiting | Phase::Running => None,
                Phase::Over(SprintOutcome::NotRun) => Some(format!("not run: sprint {before} was not run")),
                Phase::Over(outcome) => Some(match outcome {
                    SprintOutcome::Interrupted => format!("not run: sprint {before} was interrupted"),
                    _ => format!("not run: sprint {before} failed"),
                }),
            });
            if let Some(why) = broken {
                return Some(SprintStep::Skip { sprint: sprint.id.clone(), why });
            }
            let all =
                sprint.after.iter().all(|before| phase(before) == Phase::Over(SprintOutcome::Completed));
            all.then(|| SprintStep::Start(sprint.id.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let sprint = |id: &str, after: &str| {
            format!(
                "[[sprint]]\nid = \"{id}\"\nafter = [{after}]\n[[sprint.agent]]\nid = \"{id}-agent\"\n\
                 command = [\"true\"]\n[[sprint.task]]\nid = \"t\"\n"
            )
        };
        let text = [
            "[epic]\nid = \"e\"\n".to_string(),
            sprint("api", ""),
            sprint("docs", ""),
            sprint("web", "\"api\", \"docs\""),
            sprint("ship", "\"web\""),
        ];
        Plan::parse(&text.concat()).unwrap()
    }

    fn due_with(phases: &[(&str, Phase)]) -> Vec<SprintStep> {
        due(&plan(), |id| {
            phases
                .iter()
                .find(|(name, _)| id.as_str() == format!("e.{name}"))
                .map_or(Phase::Waiting, |(_, phase)| *phase)
        })
    }

    fn start(id: &str) -> SprintStep {
        SprintStep::Start(SprintId::new(format!("e.{id}")).unwrap())
    }

    fn skip(id: &str, why: &str) -> SprintStep {
        SprintStep::Skip { sprint: SprintId::new(format!("e.{id}")).unwrap(), why: why.into() }
    }

    const DONE: Phase = Phase::Over(SprintOutcome::Completed);

    #[test]
    fn sprints_that_wait_for_nobody_start_together() {
        assert_eq!(due_with(&[]), [start("api"), start("docs")]);
    }

    #[test]
    fn a_sprint_starts_once_all_it_comes_after_are_complete() {
        assert_eq!(due_with(&[("api", DONE), ("docs", Phase::Running)]), []);
        assert_eq!(due_with(&[("api", DONE), ("docs", DONE)]), [start("web")]);
    }

    #[test]
    fn what_comes_after_a_failed_sprint_is_not_run_and_says_why() {
        let failed = ("api", Phase::Over(SprintOutcome::Failed));
        assert_eq!(
            due_with(&[failed, ("docs", Phase::Running)]),
            [skip("web", "not run: sprint e.api failed")]
        );
        let not_run = ("web", Phase::Over(SprintOutcome::NotRun));
        let due = due_with(&[failed, ("docs", DONE), not_run]);
        assert_eq!(due, [skip("ship", "not run: sprint e.web was not run")]);
    }
}
