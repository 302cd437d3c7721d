//! What tasks have really done, as they wrote it down themselves.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use crate::epic_plan::EpicPlan;

/// Who ran a task, in which run: `resume.a-1 run 2`.
type Runs = BTreeMap<String, Vec<String>>;

/// By task, the runs that began it and those that finished it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) begun: Runs,
    pub(crate) done: Runs,
}

impl Effects {
    pub(crate) fn read(plan: &EpicPlan) -> Result<Self> {
        let mut effects = Self::default();
        for line in fs::read_to_string(plan.effects())?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, task, agent, run] = words[..] else {
                anyhow::bail!("an effect that cannot be read: {line:?}");
            };
            let runs = match what {
                "begun" => Some(&mut effects.begun),
                "done" => Some(&mut effects.done),
                _ => None,
            };
            let runs = runs.with_context(|| format!("an effect that cannot be read: {line:?}"))?;
            runs.entry(task.to_owned()).or_default().push(format!("{agent} run {run}"));
        }
        Ok(effects)
    }
}
