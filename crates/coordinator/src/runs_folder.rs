//! The folder that the output of the tasks goes to: whether it can be written is known before anything is started,
//! not task by task.

use std::fs;
use std::path::{Path, PathBuf};

use lifecycle_core::settings::Settings;
use lifecycle_core::sprint::plan::Plan;
use rustix::fs::{Access, access};

/// The folder of the agents' own logs in that of a sprint.
pub(crate) const AGENT_LOGS: &str = "agents";

/// One line if the plan's agents could not write their output. Nothing is created.
#[must_use]
pub fn problem(settings: &Settings, plan: &Plan) -> Option<String> {
    let runs = &settings.coordinator.runs_dir;
    let epic = runs.join(plan.epic.as_str());
    let mut agents = plan.sprints.iter().map(|sprint| epic.join(sprint.name.as_str()).join(AGENT_LOGS));
    let (folder, why) = agents.find_map(|folder| refusal(&folder))?;
    Some(format!(
        "the output of the tasks cannot be written below {}: {why}; put that right, or set coordinator.runs_dir",
        folder.display()
    ))
}

/// The first folder on the way that stands against creating and writing `folder`, and why. Links are left to those who
/// open the files: they follow none below `coordinator.runs_dir`.
fn refusal(folder: &Path) -> Option<(PathBuf, String)> {
    let there = folder.ancestors().find(|path| path.symlink_metadata().is_ok());
    // Of a relative path the last ancestor is empty, and stands for the folder we are in.
    let there = there.unwrap_or(Path::new("."));
    let why = match fs::metadata(there) {
        Err(error) => error.to_string(),
        Ok(kind) if !kind.is_dir() => "it is no folder".to_owned(),
        Ok(_) => access(there, Access::WRITE_OK | Access::EXEC_OK).err()?.to_string(),
    };
    Some((there.to_owned(), why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused(runs: &Path) -> Option<String> {
        refusal(&runs.join("shop/api/agents")).map(|(folder, why)| format!("{}: {why}", folder.display()))
    }

    #[test]
    fn a_folder_that_is_there_or_can_be_made_is_fine_and_is_not_made() {
        let home = tempfile::tempdir().unwrap();
        let runs = home.path().join("a/b");
        assert_eq!(refused(&runs), None);
        assert!(!home.path().join("a").exists());
        fs::create_dir_all(runs.join("shop/api/agents")).unwrap();
        assert_eq!(refused(&runs), None);
        symlink(&runs, home.path().join("link")).unwrap();
        assert_eq!(refused(&home.path().join("link")), None, "the folder that was set may be a link");
        assert_eq!(refusal(Path::new("no-such/shop")), None, "a relative path");
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let home = tempfile::tempdir().unwrap();
        let said = |name: &str| refused(&home.path().join(name)).unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        assert!(said("file").ends_with("/file: it is no folder"), "{}", said("file"));
        symlink("nowhere", home.path().join("broken")).unwrap();
        assert!(said("broken").contains("/broken: No such file"), "{}", said("broken"));
    }
}
