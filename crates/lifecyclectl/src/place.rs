//! Where a sprint or a task is: `EPIC/SPRINT`, `EPIC/SPRINT/TASK`; and what is known of it.

use std::str::FromStr;

use anyhow::{anyhow, bail};
use lifecycle_core::sprint::plan::{Plan, SprintPlan, TaskPlan};
use lifecycle_core::wire::epic_record::EpicRecord;
use lifecycle_core::wire::ids::{EpicId, SprintId, SprintName, TaskId};
use lifecycle_redis::{NotDone, OperatorStore, SprintOf};

/// A sprint, as it is written on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SprintPlace {
    pub(crate) epic: EpicId,
    pub(crate) name: SprintName,
    pub(crate) id: SprintId,
}

/// A task, as it is written on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskPlace {
    pub(crate) sprint: SprintPlace,
    pub(crate) task: TaskId,
}

/// An epic, or one sprint of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EpicOrSprint {
    Epic(EpicId),
    Sprint(SprintPlace),
}

impl FromStr for SprintPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [epic, name] => sprint_of(epic, name),
            _ => Err("write EPIC/SPRINT".into()),
        }
    }
}

impl FromStr for TaskPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [epic, name, task] => {
                let task = task.parse().map_err(|invalid| format!("{invalid}"))?;
                Ok(Self { sprint: sprint_of(epic, name)?, task })
            }
            _ => Err("write EPIC/SPRINT/TASK".into()),
        }
    }
}

impl FromStr for EpicOrSprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [epic] => epic.parse().map(Self::Epic).map_err(|invalid| format!("{invalid}")),
            [epic, name] => sprint_of(epic, name).map(Self::Sprint),
            _ => Err("write EPIC, or EPIC/SPRINT".into()),
        }
    }
}

/// The sprint's id in the store, `<epic>.<name>`, is accepted for its name.
fn sprint_of(epic: &str, name: &str) -> Result<SprintPlace, String> {
    let epic: EpicId = epic.parse().map_err(|invalid| format!("{invalid}"))?;
    let name = name.strip_prefix(&format!("{epic}.")).unwrap_or(name);
    let name: SprintName = name.parse().map_err(|invalid| format!("{invalid}"))?;
    let id = epic.sprint(&name).map_err(|invalid| format!("{invalid}"))?;
    Ok(SprintPlace { epic, name, id })
}

impl SprintPlace {
    pub(crate) fn of(&self) -> SprintOf<'_> {
        SprintOf { epic: &self.epic, sprint: &self.id }
    }

    /// The sprint as it is planned, with the tasks that were added while it runs.
    pub(crate) async fn plan(&self, store: &OperatorStore) -> anyhow::Result<SprintPlan> {
        let plan = plan_of(&epic(store, &self.epic).await?)?;
        let names: Vec<String> = plan.sprints.iter().map(|sprint| sprint.name.to_string()).collect();
        let Some(sprint) = plan.sprints.into_iter().find(|sprint| sprint.id == self.id) else {
            bail!("epic {} has no sprint {}: it has {}", self.epic, self.name, names.join(", "));
        };
        with_added(store, sprint).await
    }

    /// The error for something that was not done.
    pub(crate) fn refusal(&self, not_done: &NotDone) -> anyhow::Error {
        let Self { epic, name, .. } = self;
        match not_done {
            NotDone::NoEpic => no_epic(epic),
            NotDone::SprintOver => anyhow!("sprint {name} of epic {epic} has ended: nothing was done"),
            NotDone::SprintClosed => {
                anyhow!("sprint {name} of epic {epic} is closed, so no task is added: nothing was done")
            }
            NotDone::Conflict(id) => {
                anyhow!(
                    "there is a task {id} already, with another content: nothing was done; choose another id"
                )
            }
            NotDone::InState(state) => anyhow!("it is {state}: nothing was done"),
            NotDone::Already => anyhow!("it is so already"),
            NotDone::Held(agent) => anyhow!(
                "{agent} has not ended the work on it yet: nothing was done; try again, or see what it does (lifecyclectl inspect {agent})"
            ),
        }
    }
}

impl TaskPlace {
    /// The task as it is planned.
    pub(crate) async fn plan(&self, store: &OperatorStore) -> anyhow::Result<(SprintPlan, TaskPlan)> {
        let sprint = self.sprint.plan(store).await?;
        match sprint.tasks.iter().find(|task| task.id == self.task).cloned() {
            Some(task) => Ok((sprint, task)),
            None => bail!(
                "sprint {} of epic {} has no task {}: `lifecyclectl task list {}/{}` shows those it has",
                self.sprint.name,
                self.sprint.epic,
                self.task,
                self.sprint.epic,
                self.sprint.name
            ),
        }
    }
}

/// The record of an epic that is at work or waits.
pub(crate) async fn epic(store: &OperatorStore, epic: &EpicId) -> anyhow::Result<EpicRecord> {
    store.epic(epic).await?.ok_or_else(|| no_epic(epic))
}

fn no_epic(epic: &EpicId) -> anyhow::Error {
    anyhow!(
        "there is no epic {epic} at work or waiting: nothing was done; lifecyclectl epics lists those that there are"
    )
}

pub(crate) fn plan_of(record: &EpicRecord) -> anyhow::Result<Plan> {
    Plan::parse(&record.plan).map_err(|_| {
        anyhow!("the epic's plan cannot be read by this version of lifecyclectl: nothing was done")
    })
}

/// The sprint, with the tasks that were added to it.
pub(crate) async fn with_added(store: &OperatorStore, sprint: SprintPlan) -> anyhow::Result<SprintPlan> {
    let added = store.added_tasks(&sprint.id).await?;
    Ok(sprint.with_added(added))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sprint_is_named_by_its_epic_and_its_name_or_its_id() {
        let place: SprintPlace = "shop/api".parse().unwrap();
        assert_eq!((place.epic.as_str(), place.id.as_str()), ("shop", "shop.api"));
        assert_eq!("shop/shop.api".parse::<SprintPlace>().unwrap(), place);
        assert_eq!("shop/api/login".parse::<TaskPlace>().unwrap().task.as_str(), "login");
        for wrong in ["", "shop", "shop/", "/api", "shop/a b", "shop/api/login"] {
            assert!(wrong.parse::<SprintPlace>().is_err(), "{wrong:?}");
        }
    }
}
