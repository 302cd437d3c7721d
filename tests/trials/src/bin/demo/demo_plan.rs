//! The plan of a demo: its tasks, and which agents are killed when.

use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Name of the epic.
pub(crate) const EPIC: &str = "demo";
/// Name of its only sprint.
pub(crate) const SPRINT: &str = "survive";
/// Crashes that each task may survive: more than there are kills.
const CRASHES: u32 = 100;

/// The agents, tasks and victims of one demo.
#[derive(Debug)]
pub(crate) struct DemoPlan {
    /// Agents at work.
    pub(crate) agents: u16,
    /// Tasks by id, with how long each takes, in tenths of a second.
    pub(crate) tasks: Vec<(String, u32)>,
    /// Who is killed, and how long after the beginning of a task.
    pub(crate) victims: Vec<(String, Duration)>,
}

impl DemoPlan {
    pub(crate) fn draw(agents: u16, tasks: u16, crash: f64, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut ids: Vec<String> = (1..=agents).map(|number| agent(agents, number)).collect();
        ids.shuffle(&mut random);
        // Somebody always works on an agent's task when it is killed, so there is no point in more victims than tasks.
        let victims = (f64::from(agents) * crash).round().min(f64::from(tasks));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 200.
        ids.truncate(victims as usize);
        Self {
            agents,
            tasks: (1..=tasks)
                .map(|number| (format!("task-{number:02}"), random.random_range(6..=14)))
                .collect(),
            victims: ids
                .into_iter()
                .map(|id| (id, Duration::from_millis(random.random_range(100..400))))
                .collect(),
        }
    }

    /// The text of the plan. Each task works in steps and leaves a process behind that has left its parent, its session and
    /// its process group, as careless commands do.
    pub(crate) fn text(&self) -> String {
        let mut plan = format!(
            "[epic]\nid = \"{EPIC}\"\n\n[[sprint]]\nid = \"{SPRINT}\"\n\n[[sprint.agent]]\nid = \"agent\"\ncount = {}\n\
             command = [\"sh\", \"-c\", '''\n\
             setsid sleep 600 &\n\
             for step in $(seq \"$1\"); do echo \"step $step\" | cksum; sleep 0.1; done\n\
             ''', \"{{task}}\", \"{{input}}\"]\n",
            self.agents
        );
        for (task, tenths) in &self.tasks {
            let _ = write!(
                plan,
                "\n[[sprint.task]]\nid = \"{task}\"\ninput = \"{tenths}\"\nmax_crashes = {CRASHES}\n"
            );
        }
        plan
    }
}

/// As the plan expands `count`, in the epic: a single agent keeps its name.
fn agent(agents: u16, number: u16) -> String {
    if agents == 1 { format!("{EPIC}.agent") } else { format!("{EPIC}.agent-{number}") }
}
