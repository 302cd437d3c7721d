//! Reads a plan from its file, and reports what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use lifecycle_core::sprint::plan::Plan;

/// Why a plan cannot be run; nothing was started. Displays one line per problem, each with the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRefused {
    /// The file as it was named.
    pub path: PathBuf,
    /// The problems, in the order of the file; at least one.
    pub problems: Vec<String>,
}

/// A plan, and the text that says it.
#[derive(Debug, Clone)]
pub struct PlanFile {
    /// What the text says.
    pub plan: Plan,
    /// The text.
    pub text: String,
}

impl fmt::Display for PlanRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {problem}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanRefused {}

/// Reads and checks a plan.
///
/// # Errors
/// [`PlanRefused`] when the file cannot be read, or with every mistake in it.
pub fn read(path: &Path) -> Result<PlanFile, PlanRefused> {
    let refused = |problems| PlanRefused { path: path.to_owned(), problems };
    let text = std::fs::read_to_string(path).map_err(|error| refused(vec![unreadable(&error)]))?;
    parse(path, text)
}

/// The same for a text that was read elsewhere; `path` is what errors call it.
///
/// # Errors
/// [`PlanRefused`] with every mistake in it.
pub fn parse(path: &Path, text: String) -> Result<PlanFile, PlanRefused> {
    let refused = |problems| PlanRefused { path: path.to_owned(), problems };
    let plan = Plan::parse(&text);
    let plan = plan.map_err(|errors| refused(errors.problems().iter().map(ToString::to_string).collect()))?;
    Ok(PlanFile { plan, text })
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file: name a plan, such as plan.toml".into(),
        std::io::ErrorKind::InvalidData => "this is not UTF-8 text, so it is no plan".into(),
        _ => format!("this plan cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_one_line_that_names_it() {
        let error = read(Path::new("no/such.toml")).unwrap_err().to_string();
        assert_eq!(error, "no/such.toml: there is no such file: name a plan, such as plan.toml");
    }

    #[test]
    fn the_example_that_is_shipped_is_a_plan() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/first-sprint.toml");
        assert_eq!(read(&path).unwrap().plan.sprints.len(), 1);
    }

    #[test]
    fn every_mistake_is_a_line_with_the_files_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, "[epic]\nid = \"é\"\n[[sprint]]\nid = \"a b\"\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.problems.len() > 1, "{error}");
        assert!(error.to_string().lines().all(|line| line.starts_with(path.to_str().unwrap())), "{error}");
    }
}
