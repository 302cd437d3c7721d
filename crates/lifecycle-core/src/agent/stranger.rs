//! Which command lines are of an agent of another host program, or of a server that such a program starts for its tools.
//!
//! A name proves nothing: what is recognised here is shown to a person, and ended only on that person's word for each.

/// Agents that people run in a terminal.
const AGENTS: [&str; 8] = ["claude", "codex", "gemini", "aider", "goose", "opencode", "cursor-agent", "amp"];
/// Programs that run a script or a package: what they run is named by a later word.
const RUNNERS: [&str; 9] = ["node", "npx", "npm", "uvx", "uv", "bun", "bunx", "python", "python3"];
/// Those that servers for tools (MCP) are commonly started with.
const WRAPPERS: [&str; 6] = ["node", "npx", "npm", "uvx", "bun", "bunx"];

/// What kind of agent's process this is, by the words of its command; `None` for any other command.
#[must_use]
pub fn recognise(words: &[String]) -> Option<&'static str> {
    let (first, rest) = words.split_first()?;
    let program = name(first);
    if let Some(agent) = agent(program) {
        return Some(agent);
    }
    if !RUNNERS.contains(&program) {
        return None;
    }
    // `npm exec` runs a package as npx does; other words of npm build and install.
    let is_wrapper =
        WRAPPERS.contains(&program) && (program != "npm" || rest.iter().any(|word| word == "exec"));
    if is_wrapper && rest.iter().any(|word| is_of_a_tool_server(word)) {
        return Some("mcp");
    }
    let script = rest.iter().find(|word| !word.starts_with('-'))?;
    agent(name(script))
}

fn agent(program: &str) -> Option<&'static str> {
    AGENTS.into_iter().find(|agent| *agent == program)
}

/// The program's name, without its folder and the ending of a script.
fn name(word: &str) -> &str {
    // A program may write its title over its words: all of them are then in the first.
    let file = word.split_whitespace().next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    [".js", ".mjs", ".cjs", ".py"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file)
}

/// `mcp` as a word of its own: `mcp-server-git`, `@x/server-mcp`, `my_mcp`, and not `mcpherson`; or written out.
fn is_of_a_tool_server(word: &str) -> bool {
    let parts = word.split(|letter: char| !letter.is_ascii_alphanumeric());
    parts
        .into_iter()
        .any(|part| part.eq_ignore_ascii_case("mcp") || part.eq_ignore_ascii_case("modelcontextprotocol"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(line: &str) -> Option<&'static str> {
        recognise(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn agents_are_known_by_their_program_or_the_script_that_is_run() {
        for (line, kind) in [
            ("claude", "claude"),
            ("/usr/local/bin/codex --full-auto", "codex"),
            ("node /usr/bin/gemini -p x", "gemini"),
            ("node --no-warnings /opt/claude.js", "claude"),
            ("python3 /home/me/.local/bin/aider", "aider"),
            ("cursor-agent", "cursor-agent"),
            ("npx -y mcp-server-git", "mcp"),
            ("npm exec @modelcontextprotocol/server-filesystem", "mcp"),
            ("uvx mcp-server-fetch", "mcp"),
            ("node /opt/my_mcp/index.js", "mcp"),
        ] {
            assert_eq!(recognised(line), Some(kind), "{line}");
        }
        assert_eq!(recognise(&["claude --resume".into()]), Some("claude"), "it wrote its title there");
    }

    #[test]
    fn other_commands_are_not() {
        for line in [
            "",
            "sh -c claude",
            "vim claude",
            "node server.js",
            "npm install mcp-server",
            "grep mcp",
            "npx mcpherson",
            "claude-desktop",
            "python3 -m http.server",
            "amplify",
        ] {
            assert_eq!(recognised(line), None, "{line}");
        }
        assert_eq!(recognise(&[]), None);
    }
}
