//! The plan of the epic, and the two files that its tasks use: where they write what they have done, and how long they are
//! to take.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lifecycle_tests::server::Server;

/// Name of the epic.
pub(crate) const EPIC: &str = "resume";
/// Its only sprint, and what its agents are called in the plan.
const SPRINT: &str = "s";
const AGENT: &str = "a";
/// Crashes that each task may survive: the trial decides how many there are.
const CRASHES: u32 = 100;

/// What a task does. The first line is written before the work and the second one after it, each by one `write` to a file
/// that is opened for appending.
const WORK: &str = "\
echo \"begun $1 $LIFECYCLE_AGENT_ID $LIFECYCLE_TASK_ATTEMPT\" >> \"$3\"
read pace < \"$4\"
ms=$((pace * $2 / 100))
sleep \"$((ms / 1000)).$(printf %03d $((ms % 1000)))\"
echo \"done $1 $LIFECYCLE_AGENT_ID $LIFECYCLE_TASK_ATTEMPT\" >> \"$3\"
";

/// The plan on disk.
#[derive(Debug)]
pub(crate) struct EpicPlan {
    /// The folder that coordinators run in, with `plan.toml`.
    pub(crate) folder: PathBuf,
    /// The ids of all agents, as the store has them.
    pub(crate) agents: Vec<String>,
    /// The ids of all tasks.
    pub(crate) tasks: Vec<String>,
}

impl EpicPlan {
    /// Writes the plan into the server's folder, which goes with the server.
    pub(crate) fn write(server: &Server, agents: u16, tasks: u32) -> Result<Self> {
        let folder = server.folder().join(EPIC);
        fs::create_dir_all(&folder)?;
        let name = |number: u16| {
            if agents == 1 { format!("{EPIC}.{AGENT}") } else { format!("{EPIC}.{AGENT}-{number}") }
        };
        let plan = Self {
            folder,
            agents: (1..=agents).map(name).collect(),
            tasks: (1..=tasks).map(|number| format!("task-{number:03}")).collect(),
        };
        fs::write(plan.folder.join("plan.toml"), plan.text())?;
        fs::write(plan.effects(), "")?;
        Ok(plan)
    }

    /// The file that tasks write to.
    pub(crate) fn effects(&self) -> PathBuf {
        self.folder.join("effects")
    }

    /// From now on tasks take about so long: half to one and a half times.
    pub(crate) fn set_pace(&self, pace: Duration) -> Result<()> {
        // Renamed into its place, because tasks read it at any moment.
        let new = self.folder.join("pace.new");
        fs::write(&new, format!("{}\n", pace.as_millis()))?;
        Ok(fs::rename(new, self.pace())?)
    }

    fn pace(&self) -> PathBuf {
        self.folder.join("pace")
    }

    fn text(&self) -> String {
        let (effects, pace) = (self.effects(), self.pace());
        let mut text = format!(
            "[epic]\nid = \"{EPIC}\"\n\n[[sprint]]\nid = \"{SPRINT}\"\n\n[[sprint.agent]]\nid = \"{AGENT}\"\n\
             count = {}\ncommand = [\"sh\", \"-c\", '''\n{WORK}''', \"{{task}}\", \"{{task}}\", \"{{input}}\", '{}', '{}']\n",
            self.agents.len(),
            effects.display(),
            pace.display(),
        );
        for (number, task) in self.tasks.iter().enumerate() {
            // Spread evenly over 50 to 150 %, and the same for a task whenever it is run.
            let percent = 50 + number * 37 % 101;
            let _ = write!(
                text,
                "\n[[sprint.task]]\nid = \"{task}\"\ninput = \"{percent}\"\nmax_crashes = {CRASHES}\n"
            );
        }
        text
    }
}
