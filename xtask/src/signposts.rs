//! ARCHITECTURE.md leads from what happens, from what holds and from each row of the original design to code and tests. A
//! signpost that points nowhere is worse than none, so every one is followed.
//!
//! In the tables of the sections [`SECTIONS`], `` `path::word` `` in backticks says that the file is there and has the word
//! in it, and `` `path` `` that the file is there; `` `path/{one,other}.rs` `` says it of each. Paths begin at the top of
//! the repository; those in the last column at the integration tests, unless they begin there too. What has a blank in its
//! path is a command and no signpost.

use std::fs;

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::command::workspace;

const SECTIONS: [&str; 3] = [
    "## Where to look first",
    "## What holds, and where it is tested",
    "## From the original design to the code",
];
const TESTS: &str = "tests/tests/integration";

/// Follows every signpost and names all that lead nowhere.
pub(crate) fn lead_somewhere() -> Result<()> {
    let text =
        fs::read_to_string(workspace().join("ARCHITECTURE.md")).context("ARCHITECTURE.md cannot be read")?;
    let mut lost = Vec::new();
    for section in SECTIONS {
        let signposts = signposts(&text, section);
        if signposts.is_empty() {
            bail!("ARCHITECTURE.md has no table under `{section}`");
        }
        lost.extend(signposts.iter().filter_map(|signpost| follow(signpost).err()));
    }
    if !lost.is_empty() {
        bail!("ARCHITECTURE.md leads nowhere: {}", lost.join("; "));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Signpost<'a> {
    line: usize,
    /// Whether it stands in the last column, where tests are.
    is_test: bool,
    path: String,
    word: Option<&'a str>,
}

/// What stands in backticks in the columns after the first.
fn signposts<'a>(text: &'a str, section: &str) -> Vec<Signpost<'a>> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("## ") {
            inside = line == section;
        }
        if !inside || !line.starts_with('|') {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        for (column, cell) in cells.iter().enumerate().skip(1) {
            let is_test = column + 1 == cells.len();
            for quoted in cell.split('`').skip(1).step_by(2) {
                let (path, word) = match quoted.split_once("::") {
                    Some((path, word)) => (path, Some(word)),
                    None => (quoted, None),
                };
                let paths = each(path).into_iter().filter(|path| !path.contains(' '));
                found.extend(paths.map(|path| Signpost { line: index + 1, is_test, path, word }));
            }
        }
    }
    found
}

/// The paths that one with `{one,other}` in it stands for.
fn each(path: &str) -> Vec<String> {
    let parts = path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![path.into()],
    }
}

fn follow(signpost: &Signpost<'_>) -> Result<(), String> {
    let Signpost { line, is_test, path, word } = signpost;
    let root = workspace();
    let file =
        if *is_test && !root.join(path).exists() { root.join(TESTS).join(path) } else { root.join(path) };
    if file.is_dir() && word.is_none() {
        return Ok(());
    }
    let text = fs::read_to_string(&file).map_err(|_| format!("line {line}: there is no {path}"))?;
    match word {
        Some(word) if !text.contains(word) => Err(format!("line {line}: {path} has no {word}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signposts_are_read_from_their_section_alone_and_a_lost_one_is_named() {
        let section = SECTIONS[2];
        let text = format!(
            "# A\n| `x` | `nowhere.rs` |\n{section}\n| class | code | test |\n|---|---|---|\n| `SADD` | `xtask/src/main.rs::Cli` | `main.rs`, `agent.rs::no_such_test` |\n## B\n| a | `nowhere.rs` |\n"
        );
        let found = signposts(&text, section);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(follow(&found[0]), Ok(()));
        assert_eq!(follow(&found[1]), Ok(()));
        assert_eq!(follow(&found[2]), Err("line 6: agent.rs has no no_such_test".into()));
    }
    #[test]
    fn each_of_several_files_in_one_signpost_is_followed_and_a_command_is_not() {
        let text = "## S\n| a | `xtask/src/{main,nowhere}.rs::mod ci` and then | `cargo xtask ci` |\n";
        let found = signposts(text, "## S");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(follow(&found[0]), Ok(()));
        assert_eq!(follow(&found[1]), Err("line 2: there is no xtask/src/nowhere.rs".into()));
    }
}
