//! Checks that what ARCHITECTURE.md says is absent is absent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lifecycle_tests::command::{cargo, output, workspace};
use serde_json::Value;

/// Crates that read a clock, a socket, the environment or randomness.
const IMPURE_CRATES: &[&str] = &[
    "async-std",
    "chrono",
    "figment",
    "fred",
    "getrandom",
    "mio",
    "rand",
    "redis",
    "rustix",
    "socket2",
    "time",
    "tokio",
    "tracing",
];

/// The same in the standard library, and the crates by the names used in code.
const IMPURE_WORDS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "env::var",
    "File::open",
    "Instant::now",
    "SystemTime::now",
    "RandomState",
    "TcpStream",
    "UnixStream",
    "tokio::",
    "fred::",
    "rand::",
];

/// `lifecycle-core` decides from data and a `now` argument alone: neither its code nor its dependencies reach the world.
pub(crate) fn core_is_pure() -> Result<()> {
    let mut found: Vec<String> = dependencies("lifecycle-core")?
        .iter()
        .filter(|name| IMPURE_CRATES.contains(&name.as_str()))
        .map(|name| format!("it depends on {name}"))
        .collect();
    let mut files = Vec::new();
    rust_files(&workspace().join("crates/lifecycle-core/src"), &mut files)?;
    for file in files {
        let text = fs::read_to_string(&file)?;
        found
            .extend(impure_lines(&text).map(|(line, word)| format!("{}:{line} uses {word}", file.display())));
    }
    found.sort();
    found.dedup();
    if !found.is_empty() {
        bail!("lifecycle-core is not pure: {}", found.join("; "));
    }
    Ok(())
}

/// Roles that others may embed, and the crates that those use.
const LIBRARIES: &[&str] = &["agent-sdk", "sweeper", "coordinator"];

/// An embedder of a role gets no command line with it.
pub(crate) fn libraries_have_no_command_line() -> Result<()> {
    for library in LIBRARIES {
        if let Some(name) = dependencies(library)?.iter().find(|name| name.starts_with("clap")) {
            bail!("{library} without its default features depends on {name}");
        }
    }
    Ok(())
}

/// Names of all crates that a package of ours is built with when no feature of it is asked for.
fn dependencies(package: &str) -> Result<Vec<String>> {
    let args = ["tree", "-p", package, "--no-default-features", "-e", "normal", "--prefix", "none"];
    let tree = output(cargo(args))?;
    Ok(tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// The one package outside `lifecycle-redis` that may depend on its client, and the one file in it that may use it: the
/// baseline of `cargo xtask bench` must use the same client as the product and must not be a part of it.
const BENCH: &str = "lifecycle-bench";
const BASELINE: &str = "tests/bench/costs/original.rs";

/// Only `lifecycle-redis` talks to Redis. No other package of ours depends on the client, but for the benchmark.
pub(crate) fn one_crate_talks_to_redis() -> Result<()> {
    let metadata = output(cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata wrote no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let talkers: Vec<String> = packages.iter().flat_map(talks).collect();
    if talkers != ["lifecycle-redis"] {
        bail!("only lifecycle-redis may depend on fred, but these do: {}", talkers.join(", "));
    }
    let baseline = workspace().join(BASELINE);
    let mut files = Vec::new();
    rust_files(&workspace().join("tests/bench"), &mut files)?;
    for file in files.into_iter().filter(|file| *file != baseline) {
        let text = fs::read_to_string(&file)?;
        if text.lines().any(|line| names(line, "fred::")) {
            bail!("{} uses fred, which is for {BASELINE} alone", file.display());
        }
    }
    Ok(())
}

/// The package's name if it depends on the client; the benchmark's dependency does not count.
fn talks(package: &Value) -> Option<String> {
    let name = package["name"].as_str()?;
    let mut dependencies = package["dependencies"].as_array()?.iter();
    let talks = name != BENCH && dependencies.any(|dependency| dependency["name"] == "fred");
    talks.then(|| name.to_owned())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Line numbers and words. Comments are not looked at.
fn impure_lines(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let code = line.split("//").next().unwrap_or_default();
        let word = IMPURE_WORDS.iter().find(|word| names(code, word))?;
        Some((index + 1, *word))
    })
}

/// Whether `word` stands in `code` as a name of its own: `rand::` is not in `operand::`.
fn names(code: &str, word: &str) -> bool {
    let inside_a_name = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| !inside_a_name(code.get(..at).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BENCH, impure_lines, talks};

    #[test]
    fn a_clock_in_code_is_found_and_one_in_a_comment_is_not() {
        let text = "// not Instant::now()\nlet now = Instant::now(); // really\nlet x = operand::value;\n";
        assert_eq!(impure_lines(text).collect::<Vec<_>>(), [(2, "Instant::now")]);
    }

    #[test]
    fn the_client_may_be_a_dependency_of_the_benchmark_alone() {
        let package = |name| json!({ "name": name, "dependencies": [{ "name": "fred", "kind": "dev" }] });
        assert_eq!(talks(&package(BENCH)), None);
        assert_eq!(talks(&package("xtask")), Some("xtask".to_owned()));
        assert_eq!(talks(&package("sweeper")), Some("sweeper".to_owned()));
    }
}
